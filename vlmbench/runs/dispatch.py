"""Which samples a worker is given next. It knows of no process, file or score."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vlmbench.runs.plan import Item, Timed, groups_of

MIN_LEASE = 32
"""Samples of a lease at least, where each worker gets several: fewer fill no batch."""

PIECES = 8
"""Into which the rest of a lost lease is cut, so that a deadly sample is soon alone."""

MAX_LONE_LOSSES = 3
"""A sample that was lost so many times while it was alone is not asked again."""

Key = tuple[str, str]
"""`TASK@SPLIT` and the sample's id."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Samples that one worker has to itself until it has answered them or is lost."""

    number: int
    items: tuple[Item, ...]
    timed: Timed | None = None
    """Not to be answered, but to be measured one at a time; `items` is empty."""


class Dispatcher:
    """Hands samples out: large leases first and ever smaller ones (guided self-scheduling).

    Samples that share pictures stay in one lease, so that a picture is encoded once; the dearest
    groups go first, so that no worker ends on a long one alone. What a lost worker answered
    stays; the rest is handed out again behind all else, in smaller pieces.
    Source: Polychronopoulos and Kuck, 1987, "Guided self-scheduling".
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self._fresh = deque(groups_of(items))
        self._cost = sum(item.cost for group in self._fresh for item in group)
        self._num_items = sum(map(len, self._fresh))
        self._again: deque[tuple[Item, ...]] = deque()
        self._open: dict[int, dict[Key, Item]] = {}
        self._lone_losses: dict[Key, int] = {}
        self._num_leases = 0

    @property
    def num_left(self) -> int:
        """Samples that are not answered."""
        waiting = sum(map(len, self._fresh)) + sum(map(len, self._again))
        return waiting + sum(map(len, self._open.values()))

    @property
    def is_done(self) -> bool:
        """True if nothing is left to hand out or to wait for."""
        return not (self._fresh or self._again or self._open)

    def lease(self, num_workers: int) -> Lease | None:
        """The next samples for one of `num_workers`, those that are yet to come counted too.

        None: all is handed out; a lost worker may bring some back.
        """
        items = self._next_fresh(num_workers) if self._fresh else ()
        if not items and self._again:
            items = self._again.popleft()
        if not items:
            return None
        self._num_leases += 1
        self._open[self._num_leases] = {(item.task, item.id): item for item in items}
        return Lease(self._num_leases, tuple(items))

    def _next_fresh(self, num_workers: int) -> Sequence[Item]:
        """Half of a worker's fair share of what is left; for an only worker, all of it."""
        share = self._cost / (2 * num_workers)
        least = min(MIN_LEASE, self._num_items // (4 * num_workers))
        items: list[Item] = []
        cost = 0.0
        while self._fresh and (cost < share or len(items) < least or num_workers == 1):
            group = self._fresh.popleft()
            cost += sum(item.cost for item in group)
            items += group
        self._cost -= cost
        return items

    def answered(self, lease: Lease, task: str, id: str) -> bool:
        """True for the first response to a sample of the lease: only that one counts."""
        return self._open.get(lease.number, {}).pop((task, id), None) is not None

    def finished(self, lease: Lease) -> None:
        """The worker is done with the lease; samples without a response are handed out again."""
        if rest := self._open.pop(lease.number):
            self._again.append(tuple(rest.values()))

    def lost(self, lease: Lease, *, is_with_machine: bool = False) -> Item | None:
        """The worker is gone: its rest is handed out again.

        `is_with_machine`: no sample can be the reason, as the whole machine is gone.

        A sample that is given up, since it was alone each time that its worker was lost; else None.
        """
        rest = tuple(self._open.pop(lease.number).values())
        if len(rest) == 1 and not is_with_machine:
            key = rest[0].task, rest[0].id
            self._lone_losses[key] = self._lone_losses.get(key, 0) + 1
            if self._lone_losses[key] >= MAX_LONE_LOSSES:
                return rest[0]
            self._again.appendleft(rest)  # again at once: its fate is known before the next one's
            return None
        size = -(-len(rest) // PIECES)
        self._again += (rest[start : start + size] for start in range(0, len(rest), size or 1))
        return None
