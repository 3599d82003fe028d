"""GO, NO-GO or INCONCLUSIVE: candidate against baseline, by paired non-inferiority intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vlmbench.errors import VlmbenchError
from vlmbench.metrics import noninferiority as test
from vlmbench.metrics.noninferiority import Answer, Bounds
from vlmbench.metrics.paired import Difference, MeanDifference, difference, mean_difference
from vlmbench.reports.compare import costs
from vlmbench.reports.compare.comparison import common_tasks, setup_warnings
from vlmbench.reports.gate.pairs import Pairs, pairs
from vlmbench.runs.folder.finished import FinishedRun, FinishedTask
from vlmbench.schema import Profile

Kind = Literal["drop", "gain", "latency"]

Both = tuple[FinishedTask, FinishedTask]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a candidate has to keep to."""

    max_drop: float = 1.0
    """Points that no task may lose, at most."""

    min_gain: float | None = None
    """Points that the mean over the tasks has to gain, at least."""

    max_latency_ratio: float | None = None
    """Most of the candidate's single-stream latency over the baseline's, in each task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One question that decides. Points of percent; of latency, ratios."""

    kind: Kind
    name: str
    """`TASK@SPLIT`, or "mean of 3"."""

    answer: Answer
    limit: float
    """The least difference, or the most of a ratio."""

    value: float | None
    """Over the pairs that both runs answered; None: there are none."""

    low: float | None
    """One-sided confidence limits; a failed sample counts as the worst in one, the best in the
    other."""

    high: float | None
    n: int
    """Pairs that both runs answered."""

    num_failed: int = 0
    """Pairs of which one run failed."""

    num_left_out: int = 0
    """Samples that one run alone was asked, or on which both failed."""

    more: int | None = None
    """Further pairs that decide at 80 % power, if the value stays as found; None: it is decided,
    or no such number is of use."""

    left: int | None = None
    """Pairs that the split has beyond those that were asked; None: more than one split."""

    reason: str = ""
    """Why it is not decided, where that is not for the number of samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    baseline: FinishedRun
    candidate: FinishedRun
    profile: Profile
    limits: Limits
    answer: Answer
    criteria: tuple[Criterion, ...]
    warnings: tuple[str, ...]


def decide(
    baseline: FinishedRun,
    candidate: FinishedRun,
    limits: Limits,
    names: Sequence[str] = (),
    profile: Profile = "official",
) -> Decision:
    """The decision on the tasks of the baseline; `names` are `TASK` or `TASK@SPLIT`, none: all.

    Each criterion is tested at 5 % for GO, and at 5 % over their number for NO-GO. In simulation
    (`scripts/gate_error_rates.py`), at the limit itself, 4 to 6 of 100 answers are a wrong GO or
    NO-GO from about 50 flips on.

    Raises: VlmbenchError where the runs are one, lack a task, or differ in data, in a task's
    version or in how responses were read.
    """
    if baseline.folder.resolve() == candidate.folder.resolve():
        raise VlmbenchError(
            f"baseline and candidate are one run, {baseline.folder}; name two folders"
        )
    both, warnings = common_tasks(baseline, candidate, names, profile)
    decided = {a.name for a, _ in both}
    lacking = [
        task.name
        for task in baseline.only(names).tasks
        if profile in task.summaries and task.name not in decided
    ]
    if lacking:
        raise VlmbenchError(
            f"the candidate has no {profile} scores of the baseline's {', '.join(lacking)}; run "
            "it, or name the tasks that decide: --tasks TASK@SPLIT,..."
        )
    for a, b in both:
        _check(a, b)
    num = len(both) * (1 + (limits.max_latency_ratio is not None)) + (limits.min_gain is not None)
    found = [pairs(a, b, profile) for a, b in both]
    criteria = [_drop(*one, of, limits, num) for one, of in zip(both, found, strict=True)]
    if limits.min_gain is not None:
        criteria.append(_gain(both, found, limits.min_gain, num))
    if limits.max_latency_ratio is not None:
        criteria += [_latency(*one, limits.max_latency_ratio, num) for one in both]
    return Decision(
        baseline=baseline,
        candidate=candidate,
        profile=profile,
        limits=limits,
        answer=test.overall([one.answer for one in criteria]),
        criteria=tuple(criteria),
        warnings=(*warnings, *setup_warnings(baseline, candidate, both)),
    )


def _check(a: FinishedTask, b: FinishedTask) -> None:
    """Raises: VlmbenchError where the scores of two runs on a task mean different things."""
    prints = {a.data.fingerprint, b.data.fingerprint} - {""}  # unknown: imported
    what = "other rows (its data was changed or re-made)" if len(prints) > 1 else ""
    what = "another task version" if a.version != b.version else what
    if what:
        raise VlmbenchError(
            f"{a.name} has {what} in the candidate than in the baseline; run both on the same"
        )
    if a.reading != b.reading:
        raise VlmbenchError(
            f"the responses to {a.name} were read differently in the two runs; give the command of "
            "one of them again with the other's --final-answer: it asks nothing anew"
        )


def _drop(a: FinishedTask, b: FinishedTask, of: Pairs, limits: Limits, num: int) -> Criterion:
    n = int(of.is_known.sum())
    asked = n + int((~of.is_known).sum()) + of.num_failed_in_both
    left = math.floor(asked * max(0, b.num_rows - b.num_selected) / max(1, b.num_selected))
    parts = _differences([of], num)
    return _points("drop", a.name, 0 - limits.max_drop, [of], parts, num, left, _missing([(a, b)]))


def _gain(both: Sequence[Both], found: Sequence[Pairs], least: float, num: int) -> Criterion:
    name = both[0][0].name if len(both) == 1 else f"mean of {len(both)}"
    return _points("gain", name, least, found, _differences(found, num), num, None, _missing(both))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Differences:
    """Of each task: pairs as they are, and failures as the worst and the best they can be."""

    known: list[Difference]
    worst: list[Difference]
    best: list[Difference]
    known_no_go: list[Difference]


def _differences(found: Sequence[Pairs], num: int) -> _Differences | None:
    """None where a task has no pair that both runs answered."""
    if not all(one.is_known.any() for one in found):
        return None
    go, no_go = test.go_confidence(), test.no_go_confidence(num)
    known = [
        (one.baseline[one.is_known], one.candidate[one.is_known], one.clusters[one.is_known])
        for one in found
    ]
    return _Differences(
        known=[difference(*one, go) for one in known],
        known_no_go=[difference(*one, no_go) for one in known],
        worst=[difference(*one.filled(1.0, 0.0), one.clusters, go) for one in found],
        best=[difference(*one.filled(0.0, 1.0), one.clusters, no_go) for one in found],
    )


def _points(
    kind: Kind,
    name: str,
    limit: float,
    found: Sequence[Pairs],
    parts: _Differences | None,
    num: int,
    left: int | None,
    missing: str,
) -> Criterion:
    """A criterion on the mean difference over tasks, in points of percent."""
    n = sum(int(one.is_known.sum()) for one in found)
    num_failed = sum(int((~one.is_known).sum()) for one in found)
    num_left_out = sum(one.num_alone + one.num_failed_in_both for one in found)
    if parts is None:
        reason = "no sample is scored in both runs"
        return Criterion(
            kind=kind,
            name=name,
            answer="INCONCLUSIVE",
            limit=limit,
            n=n,
            num_failed=num_failed,
            num_left_out=num_left_out,
            value=None,
            low=None,
            high=None,
            reason=reason,
        )
    go, no_go = test.go_confidence(), test.no_go_confidence(num)
    known = _mean(parts.known, go)
    variances = [one.standard_error**2 for one in parts.known]
    bounds = Bounds(
        value=known.value,
        low=known.low,
        high=_mean(parts.known_no_go, no_go).high,
        standard_error=math.sqrt(math.fsum(variances)) / len(variances),
        degrees=min(one.degrees for one in parts.known),
    )
    low = min(bounds.low, _mean(parts.worst, go).low)
    high = max(bounds.high, _mean(parts.best, no_go).high)
    answer = test.answer(low, high, limit / 100)
    reason, more = "", None
    if answer == "INCONCLUSIVE":
        if test.answer(bounds.low, bounds.high, limit / 100) != answer:
            reason = f"{num_failed:,} samples failed in one run; ask them again"
        else:
            needed = test.samples_needed(bounds, limit / 100, n, num)
            more = None if needed is None else max(1, needed - n)
    if answer == "GO" and missing:
        answer, reason = "INCONCLUSIVE", missing
    return Criterion(
        kind=kind,
        name=name,
        answer=answer,
        limit=limit,
        n=n,
        num_failed=num_failed,
        num_left_out=num_left_out,
        value=100 * bounds.value,
        low=100 * low,
        high=100 * high,
        more=more,
        left=left,
        reason=reason,
    )


def _mean(parts: Sequence[Difference], confidence: float) -> Difference | MeanDifference:
    return parts[0] if len(parts) == 1 else mean_difference(parts, confidence)


def _missing(both: Sequence[Both]) -> str:
    """What of the tasks was not run, with the way out; empty: nothing."""
    for label, index in (("baseline", 0), ("candidate", 1)):
        num = sum(one[index].num_missing for one in both)
        if num:
            return f"{num:,} samples were not run in the {label}; its command goes on with them"
    return ""


def _latency(a: FinishedTask, b: FinishedTask, most: float, num: int) -> Criterion:
    """The geometric mean of paired ratios of single-stream latency.

    On the scale of their logarithms, turned round: there, too, more is better.
    """
    logs, reason = costs.paired_latency(a, b)
    n = len(logs)
    if n < costs.FEWEST:
        reason = reason or f"{n} samples were timed in both runs; {costs.FEWEST} are the least"
        return Criterion(
            kind="latency",
            name=a.name,
            answer="INCONCLUSIVE",
            limit=most,
            n=n,
            value=None,
            low=None,
            high=None,
            reason=reason,
        )
    bounds = test.mean_of(-np.array(logs), num)
    answer = test.answer(bounds.low, bounds.high, -math.log(most))
    more = None
    if answer == "INCONCLUSIVE":
        needed = test.samples_needed(bounds, -math.log(most), n, num)
        more = None if needed is None else max(1, needed - n)
    return Criterion(
        kind="latency",
        name=a.name,
        answer=answer,
        limit=most,
        n=n,
        value=math.exp(-bounds.value),
        low=math.exp(-bounds.high),
        high=math.exp(-bounds.low),
        more=more,
    )
