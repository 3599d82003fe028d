"""What a worker has for the user reaches the terminal, once for all workers."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import pytest

from vlmbench.runs.executors import local


def test_lines_for_the_user_are_handed_on_once_and_others_are_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told: set[str] = set()
    words = "vlmbench: the server refuses temperature\nWarning: of a library\nvlmbench: bare\n"
    for _ in range(2):
        with tempfile.TemporaryFile() as stderr:
            code = f"import sys; sys.stderr.write({words!r} + 'vlmbench: torn')"
            process = subprocess.Popen([sys.executable, "-c", code], stderr=stderr, text=True)
            process.wait()
            worker = local._Worker("0", [], process, stderr)
            local._hand_on(worker, told)
            local._hand_on(worker, told)
    assert capsys.readouterr().err == ("vlmbench: the server refuses temperature\nvlmbench: bare\n")
