"""The two commands of the README, for two nodes in one namespace; part of `scripts/chaos_ray`.

tests/scripts runs the launcher with a stand-in for ray.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    "VLMBENCH_CHAOS" not in os.environ, reason="it takes a minute or more: scripts/chaos_ray"
)

ROOT = Path(__file__).parents[3]
TASKS = "vqav2,textvqa,docvqa,mmmu,mathvista,mmbench"


def commands() -> list[list[str]]:
    """Those of the README, for the tests' backend and tasks, joined where the first one says."""
    readme = (ROOT / "README.md").read_text("utf-8")
    lines = re.findall(r"^scripts/launch_ray\.sh .*", readme, re.MULTILINE)
    assert len(lines) == 2
    stand_ins = {"idefics2:HuggingFaceM4/idefics2-8b": "parrot:0.25", "vqav2,docvqa": TASKS}
    return [[stand_ins.get(word, word) for word in shlex.split(line)] for line in lines]


def test_two_commands_run_on_two_machines(
    started: Any, reference: Mapping[str, bytes], in_machine: tuple[str, ...], tmp_path: Path
) -> None:
    programs = tmp_path / "checkout" / "bin"
    programs.mkdir(parents=True)
    shutil.copytree(ROOT / "scripts", tmp_path / "checkout" / "scripts")
    for program, module in {"vlmbench": "vlmbench", "ray": "ray.scripts.scripts"}.items():
        (programs / program).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        (programs / program).chmod(0o755)
    own = socket.gethostbyname(socket.gethostname())
    subprocess.run([*in_machine, "ip", "addr", "add", f"{own}/32", "dev", "lo"], check=False)
    with tempfile.TemporaryDirectory(prefix="ray-") as files:
        environment = started.environment | {
            "PATH": f"{programs}:{started.environment['PATH']}",
            "RAY_TMPDIR": files,
            "HOME": files,
            "RAY_raylet_start_wait_time_s": "180",
        }
        [first, *asked], join = commands()
        given = ["--data-dir", str(started.data_dir), "--batch-size", "1"]
        with subprocess.Popen(
            [*in_machine, first, *asked, *given],
            cwd=tmp_path / "checkout",
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        ) as run:
            assert run.stderr is not None
            said = ""
            while "other machines join by" not in said:
                line = run.stderr.readline()
                assert line, said
                said += line
            head = said.split()[-1]
            with subprocess.Popen(
                [*in_machine, *(word.replace("HEAD:6379", head) for word in join)],
                cwd=tmp_path / "checkout",
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as other:
                said += run.communicate(timeout=600)[1]
                other.terminate()
    assert run.returncode == 0, said
    folder = tmp_path / "checkout" / "runs" / "mine"
    assert {path.name: path.read_bytes() for path in folder.glob("scores-*")} == reference
