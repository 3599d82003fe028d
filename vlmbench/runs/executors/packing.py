"""Leases made parcels in a thread, for workers that are sent their requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

from vlmbench.runs.dispatch import Lease
from vlmbench.runs.executors import parcels
from vlmbench.runs.runner import ask
from vlmbench.task.binding import BoundTask

MAX_PARCELS = 16
"""Parcels packed and not yet taken, of all workers: memory at the driver, and in its store."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A parcel that is ready to be sent."""

    worker: str
    content: bytes
    lease: int
    number: int
    """Its place among those of the lease."""

    is_last: bool


class Packing:
    """Gives each worker the next parcel of its lease once it has taken the one before.

    A worker never waits for an answer to be sent more, only for itself to ask: a backend that
    fills a window before it answers cannot block.
    """

    def __init__(self, sources: Sequence[BoundTask]) -> None:
        self._sources = sources
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="packing")
        self._leases: dict[str, tuple[int, Iterator[Packed]]] = {}
        self._wanting: deque[str] = deque()
        self._futures: dict[str, Future[Packed | None]] = {}
        self._on_their_way: set[str] = set()

    @property
    def is_busy(self) -> bool:
        """True while a parcel is being packed, or ready."""
        return bool(self._futures)

    def begin(self, worker: str, lease: Lease) -> None:
        self._leases[worker] = lease.number, self._parcels(worker, lease)
        self._on_their_way.discard(worker)
        self._want(worker)

    def taken(self, worker: str) -> None:
        """The worker has begun with its parcel."""
        self._on_their_way.discard(worker)
        self._want(worker)

    def stop(self, worker: str) -> None:
        """The worker is gone."""
        self._leases.pop(worker, None)
        self._on_their_way.discard(worker)
        if worker in self._wanting:
            self._wanting.remove(worker)

    def packed(self) -> list[Packed]:
        """Parcels that are ready; they count as on their way from now on."""
        found: list[Packed] = []
        for worker, future in list(self._futures.items()):
            if not future.done():
                continue
            del self._futures[worker]
            parcel = future.result()
            lease, _ = self._leases.get(worker, (None, None))
            if parcel is not None and parcel.lease == lease:
                found.append(parcel)
                self._on_their_way.add(worker)
        self._pack()
        return found

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _want(self, worker: str) -> None:
        if worker in self._leases and worker not in self._wanting:
            self._wanting.append(worker)
        self._pack()

    def _pack(self) -> None:
        while self._wanting and len(self._futures) + len(self._on_their_way) < MAX_PARCELS:
            worker = self._wanting[0]
            if worker in self._futures:
                return  # of its lease before; soon done
            self._wanting.popleft()
            _, following = self._leases[worker]
            self._futures[worker] = self._thread.submit(next, following, None)

    def _parcels(self, worker: str, lease: Lease) -> Iterator[Packed]:
        contents = parcels.packed(ask(self._sources, lease.items))
        content, numbers = next(contents), count()
        for following in contents:
            yield Packed(worker, content, lease.number, next(numbers), False)
            content = following
        yield Packed(worker, content, lease.number, next(numbers), True)
