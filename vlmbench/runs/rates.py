"""How long samples take, from the log of a run of a part of them: a pilot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder.manifest import read_manifest
from vlmbench.runs.folder.responses import records
from vlmbench.runs.folder.usage import sessions
from vlmbench.runs.plan import Item

ASSUMED_LOAD_S = 60.0
"""Until a worker is ready, where no pilot tells: a model of 8B parameters from a local disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What a worker like the pilot's takes."""

    seconds_a_cost: Mapping[str, float]
    """`TASK@SPLIT` to seconds for a unit of `Item.cost`: costs order samples, but are no seconds,
    and what they are worth differs between tasks."""

    load_s: float
    """From the start of a run to its first worker's being ready."""

    num_samples: int
    """Answers that these are from; 0: assumed."""

    def __call__(self, item: Item) -> float:
        return item.cost * self.seconds_a_cost[item.task]


def assumed(seconds: float, items: Sequence[Item]) -> Rates:
    """Rates at which the mean sample takes so long, a dear one longer; nothing was measured."""
    mean = sum(item.cost for item in items) / len(items)
    tasks = {item.task for item in items}
    return Rates(
        seconds_a_cost=dict.fromkeys(tasks, seconds / mean), load_s=ASSUMED_LOAD_S, num_samples=0
    )


def measured(pilot: Path, items: Sequence[Item]) -> Rates:
    """Rates by task, from the times between a worker's answers in the pilot's log.

    Raises: VlmbenchError where the pilot has no such times of a task of `items`.
    """
    costs = {(item.task, item.id): item.cost for item in items}
    started = sorted((session.worker, session.started) for session in sessions(pilot))
    seconds: dict[str, float] = defaultdict(float)
    cost: dict[str, float] = defaultdict(float)
    num_samples = 0
    for worker, times in _answers(pilot).items():
        starts = [start for name, start in started if name == worker]
        for (before, _), (now, key) in zip([(0.0, None), *times], times, strict=False):
            # a session that began since the last answer: what came before was no work
            since = max([before, *(start for start in starts if start <= now)])
            if since and key in costs:
                seconds[key[0]] += now - since
                cost[key[0]] += costs[key]
                num_samples += 1
    _check(pilot, {item.task for item in items}, seconds)
    begun = read_manifest(pilot).started
    first = min(start for _, start in started)
    load_s = first - datetime.fromisoformat(begun).timestamp() if begun else 0.0
    return Rates(
        seconds_a_cost={task: seconds[task] / cost[task] for task in seconds},
        load_s=max(0.0, load_s),
        num_samples=num_samples,
    )


def _answers(pilot: Path) -> dict[str, list[tuple[float, tuple[str, str]]]]:
    """Each worker's answers by time: when, and to which sample."""
    found: dict[str, list[tuple[float, tuple[str, str]]]] = defaultdict(list)
    for record in records(pilot):
        if record.time and record.worker:
            found[record.worker].append((record.time, (record.task, record.id)))
    for times in found.values():
        times.sort()
    return found


def _check(pilot: Path, tasks: Collection[str], seconds: Mapping[str, float]) -> None:
    missing = sorted(task for task in tasks if not seconds.get(task))
    if missing:
        raise VlmbenchError(
            f"{pilot} has no times of {', '.join(missing)}: run some samples of each task first, "
            "such as `vlmbench run ... --limit 200 --out runs/pilot`, on a worker of the kind that "
            "you would rent"
        )
