"""Paired comparison of two finished runs, task by task, on the samples scored in both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vlmbench.data import splits
from vlmbench.errors import VlmbenchError, no_such
from vlmbench.metrics.paired import Difference, MeanDifference, difference, holm, mean_difference
from vlmbench.reports.compare import costs
from vlmbench.reports.compare.costs import CostRatio
from vlmbench.runs.folder.costs import Costs
from vlmbench.runs.folder.finished import FinishedRun, FinishedTask
from vlmbench.runs.folder.manifest import as_builtins
from vlmbench.schema import Json, Profile
from vlmbench.task.loading import parse_spec

Kind = Literal["flips", "wrong", "right"]
"""Kinds of samples: the runs' scores differ, both are zero, both are full."""

KINDS: tuple[Kind, ...] = ("flips", "wrong", "right")

ASKED = {
    "style": "prompt style",
    "style_version": "version of the prompt style",
    "max_new_tokens": "limit of new tokens",
    "seed": "shots' seed",
}
"""Readable names of prompt settings; those not listed (shots, blind, ...) are shown as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskComparison:
    """Two runs compared on one task; scores are those of one profile."""

    name: str
    metric: str
    difference: Difference
    p_adjusted: float
    """p value, adjusted by Holm's method for the number of tasks compared."""

    num_only_a: int
    """Number of samples scored in A alone: failed or not run in B."""

    num_only_b: int
    cost_a: Costs
    cost_b: Costs
    ratios: tuple[CostRatio, ...]
    """B's costs over A's, of each that one of them knows."""

    values: Mapping[str, tuple[float, float]]
    """Sample id to its scores in A and B."""

    def ids(self, kind: Kind) -> list[str]:
        """Ids of the samples of a kind; flips in favour of A come first."""
        if kind != "flips":
            value = float(kind == "right")
            return [id for id, pair in self.values.items() if pair == (value, value)]
        lost = [id for id, (a, b) in self.values.items() if a > b]
        return lost + [id for id, (a, b) in self.values.items() if a < b]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs A and B compared on the tasks that both have."""

    a: FinishedRun
    b: FinishedRun
    profile: Profile
    tasks: tuple[TaskComparison, ...]
    mean: MeanDifference | None
    """Mean difference over tasks, equally weighted; None for a single task."""

    warnings: tuple[str, ...]
    """Reasons why the runs compare less than fully, a line each."""


def compare(
    a: FinishedRun, b: FinishedRun, names: Sequence[str] = (), profile: Profile = "official"
) -> Comparison:
    """Compare tasks that both runs have; `names` are `TASK` or `TASK@SPLIT`, none: all.

    Raises: VlmbenchError where the runs have no task or no sample in common, or lack one of
    `names`, and where the two are one run.
    """
    if a.folder.resolve() == b.folder.resolve():
        raise VlmbenchError(f"A and B are one run, {a.folder}; name two folders")
    pairs, warnings = common_tasks(a, b, names, profile)
    parts, found = [], []
    for task_a, task_b in pairs:
        values, clusters, only_a, only_b = _paired(task_a, task_b, profile)
        if not values:
            warnings.append(f"no sample of {task_a.name} is scored in both runs: it is left out")
            continue
        columns = np.array(list(values.values()), dtype=np.float64)
        found.append(difference(columns[:, 0], columns[:, 1], np.array(clusters, dtype=np.int64)))
        parts.append((task_a, task_b, values, only_a, only_b))
    if not found:
        raise VlmbenchError(
            f"no sample of {', '.join(task.name for task, _ in pairs)} is scored in both "
            f"{a.folder} and {b.folder}; run both on the same samples (--limit, --ids, --where)"
        )
    adjusted = holm([one.p for one in found])
    tasks = tuple(
        TaskComparison(
            name=task_a.name,
            metric=task_a.metric,
            difference=one,
            p_adjusted=p,
            num_only_a=only_a,
            num_only_b=only_b,
            cost_a=task_a.costs,
            cost_b=task_b.costs,
            ratios=costs.ratios(task_a, task_b),
            values=values,
        )
        for (task_a, task_b, values, only_a, only_b), one, p in zip(
            parts, found, adjusted, strict=True
        )
    )
    return Comparison(
        a=a,
        b=b,
        profile=profile,
        tasks=tasks,
        mean=mean_difference(found) if len(found) > 1 else None,
        warnings=(*warnings, *setup_warnings(a, b, pairs)),
    )


def common_tasks(
    a: FinishedRun, b: FinishedRun, names: Sequence[str], profile: Profile
) -> tuple[list[tuple[FinishedTask, FinishedTask]], list[str]]:
    """Pairs of tasks to compare, and a line for each task left out."""
    of_a, of_b = ({task.name: task for task in run.tasks} for run in (a, b))
    known = {*of_a, *of_b} | {name.partition("@")[0] for name in (*of_a, *of_b)}
    for name in names:
        if name not in known:
            raise no_such("task", name, {*of_a, *of_b}, "in these runs")
        if not any(_is_named(task, name) and task in of_b for task in of_a):
            raise _nothing_in_common(of_a, of_b, name)
    wanted = [
        task
        for task in {**of_a, **of_b}
        if not names or any(_is_named(task, name) for name in names)
    ]
    both = [task for task in wanted if task in of_a and task in of_b]
    if not both:
        raise _nothing_in_common(of_a, of_b, "")
    alone = [f"{task} is in {'A' if task in of_a else 'B'} alone" for task in wanted]
    warnings = [line for task, line in zip(wanted, alone, strict=True) if task not in both]
    pairs = []
    for name in both:
        lacking = [run for run, tasks in (("A", of_a), ("B", of_b)) if _lacks(tasks[name], profile)]
        if not lacking:
            pairs.append((of_a[name], of_b[name]))
            warnings += _read_differently(of_a[name], of_b[name])
            continue
        why = f"{name} has no scores by the profile {profile!r} in {' and '.join(lacking)}"
        if names or len(both) == 1:
            raise VlmbenchError(f"{why}: its answers are not public, or its harness has no rules")
        warnings.append(f"{why}, and is left out")
    if not pairs:
        raise VlmbenchError(f"no task has scores by the profile {profile!r} in both runs")
    return pairs, warnings


def _is_named(task: str, name: str) -> bool:
    return name in (task, task.partition("@")[0])


def _read_differently(a: FinishedTask, b: FinishedTask) -> list[str]:
    readings = [task.reading.name or "as they are" for task in (a, b)]
    if readings[0] == readings[1]:
        return []
    return [
        f"{a.name}: the responses of A were read {readings[0]}, those of B {readings[1]}; "
        "--final-answer reads both alike, and asks nothing anew"
    ]


def _lacks(task: FinishedTask, profile: Profile) -> bool:
    return profile not in task.summaries


def _nothing_in_common(of_a: Iterable[str], of_b: Iterable[str], name: str) -> VlmbenchError:
    def listed(tasks: Iterable[str]) -> str:
        return ", ".join(task for task in tasks if not name or _is_named(task, name)) or "none"

    what = f"{name} is not in both runs" if name else "no task is in both runs"
    return VlmbenchError(f"{what} on the same split: A has {listed(of_a)}; B has {listed(of_b)}")


def _paired(
    a: FinishedTask, b: FinishedTask, profile: Profile
) -> tuple[dict[str, tuple[float, float]], list[int], int, int]:
    """Scores by id, the cluster of each, and how many samples only A and only B has scored."""
    of_a = {str(r.id): v for r in a.scores() if (v := r.profiles.get(profile)) is not None}
    values: dict[str, tuple[float, float]] = {}
    clusters: list[int] = []
    numbers: dict[str, int] = {}
    only_b = 0
    for record in b.scores():
        id, value = str(record.id), record.profiles.get(profile)
        if value is None:
            continue
        if id not in of_a:
            only_b += 1
            continue
        values[id] = (of_a[id], value)
        clusters.append(numbers.setdefault(record.cluster, len(numbers)))
    return values, clusters, len(of_a) - len(values), only_b


def setup_warnings(
    a: FinishedRun, b: FinishedRun, pairs: Sequence[tuple[FinishedTask, FinishedTask]]
) -> Iterator[str]:
    """Settings other than the model that differ, and tasks that are incomplete."""
    for part in ("prompt", "generation"):
        old, new = (as_builtins(getattr(run.manifest, part)) for run in (a, b))
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                was, now = (str(found.get(key, "-")) for found in (old, new))
                yield f"the settings differ: {ASKED.get(key, key)} is {was} in A, {now} in B"
    for task_a, task_b in pairs:
        if task_a.version != task_b.version:
            yield (
                f"{task_a.name} has task version {task_a.version} in A and {task_b.version} in B: "
                "their scores may mean different things"
            )
        fingerprints = {task_a.data.fingerprint, task_b.data.fingerprint} - {
            ""
        }  # unknown: imported
        if len(fingerprints) > 1:
            yield f"{task_a.name} has other rows in A than in B (its data was changed or re-made)"
        for label, task in (("A", task_a), ("B", task_b)):
            if task.num_missing:
                yield f"{task.name} is incomplete in {label}: {task.num_missing:,} samples not run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One sample with the responses of both runs."""

    task: str
    id: str
    a: float
    b: float
    response_a: str | None
    response_b: str | None
    parsed_a: Json
    parsed_b: Json
    question: str = ""
    """The question; empty, like `answers`, unless the data set was read."""

    answers: tuple[str, ...] = ()


def listed(comparison: Comparison, kind: Kind) -> Iterator[Listed]:
    """The samples of a kind with the responses of both runs, task by task."""
    for task in comparison.tasks:
        ids = task.ids(kind)
        said = [_responses(run.task(task.name), set(ids)) for run in (comparison.a, comparison.b)]
        for id in ids:
            (response_a, parsed_a), (response_b, parsed_b) = said[0][id], said[1][id]
            yield Listed(
                task=task.name,
                id=id,
                a=task.values[id][0],
                b=task.values[id][1],
                response_a=response_a,
                response_b=response_b,
                parsed_a=parsed_a,
                parsed_b=parsed_b,
            )


def _responses(task: FinishedTask | None, ids: set[str]) -> dict[str, tuple[str | None, Any]]:
    """Response and parsed answer by sample id."""
    assert task is not None
    return {
        str(score.id): (record.response, score.parsed)
        for score, record in zip(task.scores(), task.responses(), strict=True)
        if str(score.id) in ids
    }


def gold(
    task: str, ids: set[str], data_dir: Path | None, tasks_dir: Path | None
) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Question and gold answers by sample id, read from the data set.

    Raises: VlmbenchError where that is not at hand, or lacks a sample.
    """
    found, split, _ = parse_spec(task, tasks_dir)
    samples = (found.read(row) for row in splits.load(found.name, split, data_dir))
    known = {s.id: (s.question, s.answers) for s in samples if s.id in ids}
    if lost := sorted(ids - known.keys()):
        raise VlmbenchError(
            f"the data of {task} has no sample {lost[0]!r}: it is not the data that was run; "
            "give the right one by --data-dir, or leave --gold out"
        )
    return known
