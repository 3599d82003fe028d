"""Processes that train together: their exit code, and that none is left behind."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from idefics2.train.processes import run_together

WAITING = "import os, signal; print(os.getpid(), flush=True); signal.pause()"

LAUNCHER = f"""
from idefics2.train.processes import run_together
run_together(['-c', {WAITING!r}], 2)
"""


def test_the_exit_code_is_that_of_the_process_that_fails_and_the_others_end() -> None:
    fails = "import os, signal\nif os.environ['RANK'] == '1': os._exit(2)\nsignal.pause()"
    assert run_together(["-c", fails], 3) == 2


def test_every_process_knows_its_rank_and_the_number_of_all() -> None:
    script = "import os, sys; sys.exit(int(os.environ['RANK']) >= int(os.environ['WORLD_SIZE']))"
    assert run_together(["-c", script], 2) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems leave children alone")
def test_processes_end_with_a_launcher_that_is_killed() -> None:
    """Their end of the pipe then closes, for which `communicate` waits."""
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER], stdout=subprocess.PIPE, text=True)
    assert launcher.stdout is not None
    started = [launcher.stdout.readline() for _ in range(2)]
    assert all(line.strip().isdigit() for line in started)
    launcher.send_signal(signal.SIGKILL)
    launcher.communicate(timeout=60)


def test_an_interrupt_of_the_launcher_ends_all_processes() -> None:
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert launcher.stdout is not None
    started = [launcher.stdout.readline() for _ in range(2)]
    assert all(line.strip().isdigit() for line in started)
    launcher.send_signal(signal.SIGINT)  # to the launcher alone: it ends the others
    launcher.communicate(timeout=60)
    assert launcher.returncode != 0
