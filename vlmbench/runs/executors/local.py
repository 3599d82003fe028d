"""Worker processes, one per device: started, watched, restarted with what is left."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from vlmbench.backends.devices import MUST_BE_GPU
from vlmbench.errors import VlmbenchError
from vlmbench.runs.executors.worker import EXIT_DISK, EXIT_MISTAKE
from vlmbench.runs.job import Job
from vlmbench.runs.plan import Item

MAX_RESTARTS = 3
"""Times in a row that a worker may die without having answered a single sample more."""

POLL_S = 0.1

STDERR_BYTES = 1 << 16
"""Of a worker's stderr, read at once."""


@dataclass(slots=True)
class _Worker:
    name: str
    items: Sequence[Item]
    process: subprocess.Popen[str]
    stderr: IO[bytes]
    fruitless_deaths: int = 0
    num_read: int = 0
    """Bytes of stderr that were read for `_hand_on`."""


@dataclass(slots=True)
class Outcome:
    """How the workers ended."""

    stopped_early: bool = False
    problems: list[str] = field(default_factory=list)
    """One line for each worker that could not finish."""

    mistake: str = ""
    """The user's mistake that a worker found, such as a model that is not there."""


def supervise(
    job: Job,
    shares: Sequence[Sequence[Item]],
    *,
    environments: Sequence[Mapping[str, str]],
    lock_fds: Sequence[int],
    seen: Mapping[str, set[str]],
    watch: Callable[[], bool],
) -> Outcome:
    """Run every share in a process of its own until all are done or given up.

    A worker that dies (a signal, an abort in a driver) is started again with what it has left, as
    long as it gets on. `watch` is called ten times a second; True stops all workers. Whatever
    happens, also an exception such as KeyboardInterrupt, no worker outlives this call.
    """
    outcome = Outcome()
    running: list[_Worker] = []
    told: set[str] = set()
    try:
        for number, items in enumerate(shares):
            if items:
                running.append(_start(job, str(number), items, environments[number], lock_fds))
        while running:
            time.sleep(POLL_S)
            for worker in running:
                _hand_on(worker, told)
            ended = [worker for worker in running if worker.process.poll() is not None]
            if watch():
                outcome.stopped_early = True
                break
            for worker in ended:
                _hand_on(worker, told)
                running.remove(worker)
                successor = _succeed(job, worker, environments, lock_fds, seen, outcome)
                if successor is not None:
                    running.append(successor)
            if outcome.mistake:
                break
    finally:
        for worker in running:
            worker.process.kill()  # every response that it had is in the log
        for worker in running:
            worker.process.wait()
            _close(worker)
    return outcome


def _start(
    job: Job,
    name: str,
    items: Sequence[Item],
    environment: Mapping[str, str],
    lock_fds: Sequence[int],
) -> _Worker:
    stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the worker has ended
    process = subprocess.Popen(
        [sys.executable, "-m", "vlmbench.runs.executors.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        text=True,
        env={**os.environ, **environment},
        pass_fds=lock_fds,
        start_new_session=True,  # Ctrl-C is the parent's to handle
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it died at once: the poll finds it
        process.stdin.write(job.to_json(name, items) + "\n")
        process.stdin.flush()
    return _Worker(name, items, process, stderr)


def _succeed(
    job: Job,
    worker: _Worker,
    environments: Sequence[Mapping[str, str]],
    lock_fds: Sequence[int],
    seen: Mapping[str, set[str]],
    outcome: Outcome,
) -> _Worker | None:
    """What follows a worker that has ended: nothing, a problem, or another with what is left."""
    code = worker.process.returncode
    last_words = _close(worker)
    if code == 0:
        return None
    if code == EXIT_MISTAKE:
        outcome.mistake = last_words
        return None
    if code == EXIT_DISK:
        outcome.problems.append(last_words)
        return None
    left = [item for item in worker.items if item.id not in seen.get(item.task, ())]
    if not left:
        return None
    deaths = worker.fruitless_deaths + 1 if len(left) == len(worker.items) else 1
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    if deaths > MAX_RESTARTS:
        outcome.problems.append(
            f"worker {worker.name} died {deaths} times without an answer ({how}); "
            f"{len(left):,} samples not run" + (f"; it said: {last_words}" if last_words else "")
        )
        return None
    print(
        f"vlmbench: worker {worker.name} died ({how}); {len(left):,} samples left, going on",
        file=sys.stderr,
    )
    successor = _start(job, worker.name, left, environments[int(worker.name)], lock_fds)
    successor.fruitless_deaths = deaths
    return successor


def _hand_on(worker: _Worker, told: set[str]) -> None:
    """Print what a worker has for the user: its lines that start so, each once for all workers."""
    # not read(): the worker writes at the same place of the file
    block = os.pread(worker.stderr.fileno(), STDERR_BYTES, worker.num_read)
    if len(block) < STDERR_BYTES:
        block = block[: block.rfind(b"\n") + 1]
    worker.num_read += len(block)
    for line in block.decode(errors="replace").splitlines():
        if line.startswith("vlmbench: ") and line not in told:
            told.add(line)
            print(line, file=sys.stderr)


def _close(worker: _Worker) -> str:
    """Close the worker's pipes; its last line of stderr."""
    worker.stderr.seek(0)
    text = worker.stderr.read().decode(errors="replace").strip()
    worker.stderr.close()
    if worker.process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            worker.process.stdin.close()
    return text.splitlines()[-1] if text else ""


def environments(num_workers: int, use_gpus: bool | None) -> list[dict[str, str]]:
    """What each worker sees of the machine; `use_gpus` None: the only worker sees all of it.

    Raises: VlmbenchError where CUDA_VISIBLE_DEVICES names too few devices.
    """
    if use_gpus:
        return _on_gpus(num_workers)
    if use_gpus is None and num_workers == 1:
        return [{}]
    return _on_cpu(num_workers)


def _on_cpu(num_workers: int) -> list[dict[str, str]]:
    """Each gets its share of the threads, and no device."""
    threads = str(max(1, len(os.sched_getaffinity(0)) // num_workers))
    return [
        {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "CUDA_VISIBLE_DEVICES": ""}
        for _ in range(num_workers)
    ]


def _on_gpus(num_workers: int) -> list[dict[str, str]]:
    """Each sees one, in the order of CUDA_VISIBLE_DEVICES."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(number) for number in range(num_workers)]
    if visible is not None:
        names = [name for name in visible.split(",") if name]
    if len(names) < num_workers:
        raise VlmbenchError(
            f"CUDA_VISIBLE_DEVICES is {visible!r}, {len(names)} of the {num_workers} GPUs asked for"
        )
    return [
        {"CUDA_VISIBLE_DEVICES": names[number], MUST_BE_GPU: "1"} for number in range(num_workers)
    ]
