"""`vlmbench run` in processes of its own, on a backend that another package brings."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

BACKEND = '''
"""A backend from elsewhere: answers from the prompt alone, slowly, and dies where it is told to."""

import os
import signal
import time
import zlib
from itertools import islice
from pathlib import Path

from vlmbench.backends.settings import LocalSettings as Settings
from vlmbench.schema import Probe, Response

ANSWERS = ("yes", "no", "A", "(B)", "2", "The answer is C", "0.5", "", "red car", "D")


def open(argument, settings):
    return Parrot(argument, settings.batch_size)


class Parrot:
    def __init__(self, argument, batch_size):
        delay, _, self.deadly = argument.partition("/")
        self.delay, self.batch_size = float(delay), batch_size
        self.num_answers = 0

    def generate(self, requests):
        requests = iter(requests)
        while batch := list(islice(requests, self.batch_size)):
            time.sleep(self.delay)
            for request in reversed(batch):
                yield self.answer(request)
                self.kill()

    def kill(self):
        """PARROT_KILLS, such as "parent 5": at the fifth answer, once."""
        whom, _, at = os.environ.get("PARROT_KILLS", "nobody 0").partition(" ")
        self.num_answers += 1
        if self.num_answers != int(at):
            return
        try:
            (Path(os.environ["PARROT_FLAGS"]) / f"kill-{os.environ['PARROT_KILL_ID']}").touch(
                exist_ok=False
            )
        except FileExistsError:
            return
        os.kill(os.getppid() if whom == "parent" else os.getpid(), signal.SIGKILL)

    def answer(self, request):
        if self.deadly and self.deadly in request.id:
            flag = Path(os.environ["PARROT_FLAGS"]) / request.id.replace("/", "-")
            if not flag.exists() or "PARROT_DIES_AGAIN" in os.environ:
                flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        text = "".join(p for m in request.messages for p in m.content if isinstance(p, str))
        if "PARROT_FAILS" in os.environ and os.environ["PARROT_FAILS"] in request.id:
            return Response(id=request.id, text=None, finish_reason="error", error="ValueError: no")
        number = zlib.crc32(f"{request.id} {text}".encode()) % len(ANSWERS)
        return Response(
            id=request.id, text=ANSWERS[number], finish_reason="stop", generated_tokens=1
        )

    def probe(self):
        return Probe(model="parrot")

    def close(self):
        pass
'''

TASKS = "vqav2,textvqa,docvqa,mmmu,mathvista,mmbench"


class Runs:
    """Starts `vlmbench run` on local copies of all six tasks."""

    prefix: Sequence[str] = ()
    """Command that starts the command: one that enters a network namespace."""

    def __init__(self, folder: Path, data_dir: Path) -> None:
        self.folder, self.data_dir = folder, data_dir
        site = folder / "site"
        package = site / "parrot-1.0.dist-info"
        package.mkdir(parents=True)
        (site / "parrot.py").write_text(BACKEND)
        (package / "METADATA").write_text("Metadata-Version: 2.1\nName: parrot\nVersion: 1.0\n")
        (package / "entry_points.txt").write_text("[vlmbench.backends]\nparrot = parrot\n")
        self.environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(site), *_python_path()]),
            "PARROT_FLAGS": str(folder),
            "HF_DATASETS_CACHE": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
        }

    def start(
        self, out: str, *flags: str, max_file_bytes: int | None = None, **environment: str
    ) -> subprocess.Popen[str]:
        command = [
            *self.prefix,
            sys.executable,
            "-m",
            "vlmbench",
            "run",
            "--out",
            str(self.folder / out),
        ]
        command += ["--data-dir", str(self.data_dir), *flags]
        command += [] if "--latency" in flags else ["--no-latency"]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment | environment,
            preexec_fn=partial(_limit_files, max_file_bytes) if max_file_bytes else None,
        )

    def finish(self, out: str, *flags: str, **environment: Any) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        with self.start(out, *flags, **environment) as process:
            stdout, stderr = process.communicate(timeout=300)
        return process.returncode, stdout, stderr

    def parrot(self, out: str, *flags: str, tasks: str = TASKS, **environment: str) -> str:
        """Run to the end without a mistake or failure; stdout."""
        given = ("--model", "parrot:0", "--tasks", tasks)
        code, stdout, stderr = self.finish(out, *given, *flags, **environment)
        assert code == 0, stderr
        return stdout

    def scores(self, out: str) -> dict[str, bytes]:
        """The scores files of a run by name."""
        return {path.name: path.read_bytes() for path in (self.folder / out).glob("scores-*")}

    def records(self, out: str, *, torn: bool = False) -> list[dict[str, Any]]:
        """Every logged line; a line that is no JSON fails the test, but for a `torn` last one."""
        files = sorted((self.folder / out).glob("responses-*.jsonl"))
        lines = [line for file in files for line in file.read_bytes().splitlines(keepends=True)]
        return [json.loads(line) for line in lines if not torn or line.endswith(b"\n")]

    def manifest(self, out: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / out / "run.json").read_text())
        return found


def _python_path() -> list[str]:
    return [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]


def _limit_files(num_bytes: int) -> None:
    """Make writes fail in their middle, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, hub_copies: Path) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"), hub_copies)


@pytest.fixture(scope="module")
def reference(started: Runs) -> dict[str, bytes]:
    """Scores of one undisturbed worker."""
    started.parrot("reference")
    return started.scores("reference")


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """A function that returns when its condition holds, and fails after some minutes."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 240
        while not condition():
            assert time.monotonic() < deadline, "it did not come about"
            time.sleep(0.01)

    return wait
