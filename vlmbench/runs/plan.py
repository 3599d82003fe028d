"""Which sample runs on which worker, and in which order. Pure Python, the same on every machine."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vlmbench.runs.folder.costs import Place
from vlmbench.schema import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One sample to run."""

    task: str
    """`TASK@SPLIT`."""

    index: int
    """The row's number in the split."""

    id: str
    image_group: str
    cost: float
    """Predicted, in any unit that is the same for all items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What a worker is to measure: requests of one task, one at a time."""

    task: str
    warmups: tuple[Item, ...]
    items: tuple[Item, ...]
    """In the order in which they are asked; the first ones may be measured already."""

    least: int
    """So many are measured however long it takes."""

    seconds: float | None
    """Then as many as fit in this time, all together; None: all."""

    done: Mapping[str, float] = field(default_factory=dict)
    """Ids of samples that were measured earlier, to their latencies."""

    done_at: Place | None = None
    """Where they were: at another place they are measured again."""

    is_again: bool = False
    """True: of a server, which may keep what it was asked, and has seen all of these."""

    num_idle_workers: int = 0
    is_fresh: bool = False
    """True: the worker was asked nothing before, so that its peak memory is of single requests."""


def assign(items: Iterable[Item], num_workers: int) -> list[list[Item]]:
    """Items of each worker, in the order in which it runs them.

    Groups of `groups_of` go to the least loaded worker, dearest first (Graham's
    longest-processing-time rule), so that no worker ends on a long one alone.

    Raises: ValueError for less than one worker.
    """
    if num_workers < 1:
        raise ValueError(f"num_workers is {num_workers}, must be at least 1")
    shares: list[list[Item]] = [[] for _ in range(num_workers)]
    loads = [(0.0, worker) for worker in range(num_workers)]
    for group in groups_of(items):
        load, worker = heapq.heappop(loads)
        shares[worker] += group
        heapq.heappush(loads, (load + _cost(group), worker))
    return shares


def groups_of(items: Iterable[Item]) -> list[list[Item]]:
    """Samples that share pictures together, so that a picture is encoded once; dearest group first.

    Costs within a fifth of each other count as equal, and are in the order of the data, which is
    read faster so.
    """
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        groups.setdefault((item.task, item.image_group), []).append(item)
    for group in groups.values():
        group.sort(key=lambda item: item.index)
    return sorted(groups.values(), key=lambda group: (-_step(_cost(group)), _first(group)))


def _step(cost: float) -> int:
    return round(math.log(max(cost, 1e-9), 1.2))


def _cost(group: Sequence[Item]) -> float:
    return sum(item.cost for item in group)


def _first(group: Sequence[Item]) -> tuple[str, int]:
    return min((item.task, item.index) for item in group)


TOKENS_A_SAMPLE = 40
"""Template, instruction and a short answer: what every sample costs beside its own text."""

MAX_SIDE = 980

PATCH = 14
"""Idefics2's; other encoders differ by a factor, which does not matter for balance."""


class Costs:
    """A sample's cost, in about tokens: its text's, and that of pictures not seen before."""

    def __init__(self, *, sees_pictures: bool) -> None:
        self._sees_pictures = sees_pictures
        self._seen: set[str] = set()

    def __call__(self, sample: Sample) -> float:
        cost = TOKENS_A_SAMPLE + len(sample.question) / 4
        if self._sees_pictures and sample.image_group not in self._seen:
            self._seen.add(sample.image_group)
            cost += sum(patches(*picture.size) for picture in sample.images.values())
        return cost


def patches(width: int, height: int) -> float:
    """Patches of a picture after it is shrunk to the longest side that the encoder takes."""
    scale = min(1.0, MAX_SIDE / max(width, height, 1))
    return width * height * scale * scale / PATCH**2
