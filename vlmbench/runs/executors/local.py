"""Worker processes on this machine, one for each device."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from vlmbench.errors import VlmbenchError
from vlmbench.runs.dispatch import Lease
from vlmbench.runs.executors import worker as child
from vlmbench.runs.executors.protocol import (
    Answered,
    Event,
    Finished,
    Joined,
    Lost,
    Measured,
    Mistake,
    Noticed,
    Used,
)
from vlmbench.runs.job import Job, lease_to_json

MAX_FALSE_STARTS = 3
"""Times in a row that a worker may die before it joins; then it is not started again."""

READ_BYTES = 1 << 20

GOODBYE_S = 60.0
"""An idle worker has this long to say what it used, and to free its device."""


@dataclass(slots=True, eq=False)
class _Worker:
    name: str
    process: subprocess.Popen[bytes]
    stderr: IO[bytes]
    false_starts: int
    """Failed starts of its name in a row."""

    unread: bytes = b""
    """The beginning of a frame whose end is not there yet."""


class LocalWorkers:
    """An `Executor` of processes; a lost one is replaced under its name, on its device."""

    def __init__(self, job: Job, environments: Sequence[Mapping[str, str]]) -> None:
        """`environments`: what each worker sees of the machine, one each."""
        self._job = job
        self._environments = {str(n): given for n, given in enumerate(environments)}
        self._workers: dict[str, _Worker] = {}
        self._selector = selectors.DefaultSelector()
        try:
            for name in self._environments:
                self._start(name, false_starts=0)
        except BaseException:
            self.close(is_at_once=True)
            raise

    @property
    def num_expected(self) -> int:
        return len(self._workers)

    def wait(self, timeout_s: float) -> Sequence[Event]:
        events: list[Event] = []
        for key, _ in self._selector.select(timeout_s):
            worker: _Worker = key.data
            events += self._read(worker)
            if worker.name not in self._workers:
                events += self._buried(worker, is_replaced=True)
        return events

    def give(self, worker: str, lease: Lease) -> None:
        self._tell(self._workers[worker], lease_to_json(lease) + "\n")

    def drop(self, worker: str) -> None:
        self._workers[worker].process.kill()

    def close(self, *, is_at_once: bool) -> Sequence[Event]:
        events: list[Event] = []
        for worker in self._workers.values():
            if is_at_once:
                worker.process.kill()  # every response that it had told is in the log
            else:
                self._tell(worker, child.END)
        deadline = time.monotonic() + GOODBYE_S
        while self._workers:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                for worker in self._workers.values():
                    worker.process.kill()
            for key, _ in self._selector.select(max(left_s, 1.0)):
                gone: _Worker = key.data
                events += self._read(gone)
                if gone.name not in self._workers:
                    events += self._buried(gone, is_replaced=False)
        self._selector.close()
        return events

    def _start(self, name: str, false_starts: int) -> None:
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the worker has ended
        process = subprocess.Popen(
            [sys.executable, "-m", child.__name__, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            bufsize=0,
            env={**os.environ, **self._environments[name]},
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )
        worker = _Worker(name, process, stderr, false_starts)
        self._workers[name] = worker
        assert process.stdout is not None
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)
        self._tell(worker, self._job.to_json() + "\n")

    def _tell(self, worker: _Worker, text: str) -> None:
        assert worker.process.stdin is not None
        rest = memoryview(text.encode())
        with contextlib.suppress(BrokenPipeError):  # it died: the end of its stdout tells
            while rest:
                rest = rest[worker.process.stdin.write(rest) or 0 :]

    def _read(self, worker: _Worker) -> Iterator[Event]:
        """Events of what a worker wrote; at its end it is no longer among the workers."""
        assert worker.process.stdout is not None
        content = os.read(worker.process.stdout.fileno(), READ_BYTES)
        if not content:
            del self._workers[worker.name]
            return
        *frames, worker.unread = (worker.unread + content).split(b"\n")
        for frame in frames:
            what, line = frame[:1], frame[1:] + b"\n"
            if what == child.ANSWERED:
                yield Answered(worker.name, line)
            elif what == child.JOINED:
                worker.false_starts = 0
                yield Joined(worker.name)
            elif what == child.FINISHED:
                yield Finished(worker.name)
            elif what == child.MEASURED:
                yield Measured(worker.name, line)
            elif what == child.NOTICED:
                yield Noticed(worker.name, line.decode().rstrip("\n"))
            else:
                assert what == child.USED
                yield Used(worker.name, line)

    def _buried(self, worker: _Worker, *, is_replaced: bool) -> Iterator[Event]:
        """The last event of a worker whose stdout has ended, and its replacement."""
        assert worker.process.stdout is not None and worker.process.stdin is not None
        self._selector.unregister(worker.process.stdout)
        worker.process.stdout.close()
        code = worker.process.wait()  # first: an end of its stdin would have a code of its own
        with contextlib.suppress(BrokenPipeError):
            worker.process.stdin.close()
        worker.stderr.seek(0)
        lines = worker.stderr.read().decode(errors="replace").strip().splitlines()
        worker.stderr.close()
        last_words = lines[-1] if lines else ""
        if code == child.EXIT_MISTAKE:
            yield Mistake(last_words)
        elif is_replaced:
            yield Lost(
                worker.name, f"signal {-code}" if code < 0 else f"exit code {code}", last_words
            )
            if worker.false_starts < MAX_FALSE_STARTS:
                self._start(worker.name, worker.false_starts + 1)


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
    return [{"CUDA_VISIBLE_DEVICES": names[number]} for number in range(num_workers)]
