"""Worker processes on this machine, one for each device."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vlmbench.errors import VlmbenchError
from vlmbench.runs.dispatch import Lease
from vlmbench.runs.executors import worker as child
from vlmbench.runs.executors.child import Child, Reader, Taken
from vlmbench.runs.executors.opening import Opening
from vlmbench.runs.executors.protocol import Event, Joined, Lost, Mistake
from vlmbench.runs.job import Job, lease_to_json

MAX_FALSE_STARTS = 3
"""Times in a row that a worker may die before it joins; then it is not started again."""

GOODBYE_S = 60.0
"""An idle worker has this long to say what it used, and to free its device."""


@dataclass(slots=True, eq=False)
class _Worker:
    name: str
    child: Child
    reader: Reader
    false_starts: int
    """Failed starts of its name in a row."""


class LocalWorkers:
    """An `Executor` of processes; a lost one is replaced under its name, on its device."""

    def __init__(self, job: Job, environments: Sequence[Mapping[str, str]]) -> None:
        """`environments`: what each worker sees of the machine, one each."""
        self._opening = Opening(job=job)
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
        for worker in self._ready(timeout_s):
            events += self._read(worker)
            if worker.name not in self._workers:
                events += self._buried(worker, is_replaced=True)
        return events

    def give(self, worker: str, lease: Lease) -> None:
        self._tell(self._workers[worker], lease_to_json(lease).encode() + b"\n")

    def drop(self, worker: str) -> None:
        self._workers[worker].child.kill()

    def close(self, *, is_at_once: bool) -> Sequence[Event]:
        events: list[Event] = []
        for worker in self._workers.values():
            if is_at_once:
                worker.child.kill()  # every response that it had told is in the log
            else:
                self._tell(worker, child.END)
        deadline = time.monotonic() + GOODBYE_S
        while self._workers:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                for worker in self._workers.values():
                    worker.child.kill()
            for gone in self._ready(max(left_s, 1.0)):
                events += self._read(gone)
                if gone.name not in self._workers:
                    events += self._buried(gone, is_replaced=False)
        self._selector.close()
        return events

    def _start(self, name: str, false_starts: int) -> None:
        environment = {**os.environ, **self._environments[name]}
        started = Child(name, self._opening.to_json(), environment)
        worker = _Worker(name, started, Reader(name), false_starts)
        self._workers[name] = worker
        self._selector.register(started.stdout, selectors.EVENT_READ, worker)
        self._watch_stdin(worker)

    def _tell(self, worker: _Worker, message: bytes) -> None:
        worker.child.tell(message)
        self._watch_stdin(worker)

    def _watch_stdin(self, worker: _Worker) -> None:
        """Have `_ready` send the rest of what a worker is told as its pipe takes it."""
        is_watched = worker.child.stdin in self._selector.get_map()
        is_sent = worker.child.flush()
        if is_watched and is_sent:
            self._selector.unregister(worker.child.stdin)
        elif not is_watched and not is_sent:
            self._selector.register(worker.child.stdin, selectors.EVENT_WRITE, worker)

    def _ready(self, timeout_s: float) -> list[_Worker]:
        """Workers that have written something, or have ended."""
        found: list[_Worker] = []
        for key, _ in self._selector.select(timeout_s):
            if key.fd == key.data.child.stdin:
                self._watch_stdin(key.data)
            else:
                found.append(key.data)
        return found

    def _read(self, worker: _Worker) -> Iterator[Event]:
        """Events of what a worker wrote; at its end it is no longer among the workers."""
        content = worker.child.read()
        if not content:
            del self._workers[worker.name]
        for event in worker.reader.events(content):
            assert not isinstance(event, Taken), "a local worker reads the data itself"
            if isinstance(event, Joined):
                worker.false_starts = 0
            yield event

    def _buried(self, worker: _Worker, *, is_replaced: bool) -> Iterator[Event]:
        """The last event of a worker whose stdout has ended, and its replacement."""
        for fd in (worker.child.stdin, worker.child.stdout):
            if fd in self._selector.get_map():
                self._selector.unregister(fd)
        end = worker.child.buried()
        if end.code == child.EXIT_MISTAKE:
            yield Mistake(end.last_words)
        elif is_replaced:
            yield Lost(worker.name, end.how, end.last_words)
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
