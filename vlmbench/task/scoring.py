"""Scores of predictions, and their summary, in bounded memory."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from vlmbench.metrics import mmbench
from vlmbench.metrics.intervals import Estimate, Floats, estimate
from vlmbench.schema import Prediction, Profile, Sample, Verdict
from vlmbench.task import rotations
from vlmbench.task.task import Task


def _number(cluster: str) -> int:
    """A cluster's number. Unlike `hash` it is the same in every process, so sums have one order."""
    digest = hashlib.blake2b(cluster.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One sample's verdict under every profile of its task."""

    id: str | int | float
    cluster: str
    verdicts: Mapping[Profile, Verdict]
    """Empty: the model failed on the sample, so there is nothing to score."""

    error: str = ""
    circular: Mapping[Profile, float] | None = None
    """Value of a circular group, on its main row; None elsewhere."""

    is_circular: bool = False
    """True where the task rotates options: then only `circular` counts in the headline."""

    lacks_rotations: bool = False
    """True for the main row of a group whose rotations are not all there."""

    breakdown: Mapping[str, tuple[str, ...]]

    def value(self, profile: Profile) -> float | None:
        """The value that counts in the headline; None: failed, or a rotation but the main row."""
        if self.is_circular:
            return None if self.circular is None else self.circular[profile]
        return self.verdicts[profile].value if self.verdicts else None


def score(
    task: Task,
    pairs: Iterable[tuple[Sample, Prediction]],
    group_sizes: Mapping[str, int] | None = None,
) -> Iterator[Score]:
    """Scores in the order of the pairs, each as soon as it is known.

    Rows of a circular group wait for each other, so a task with rotations is held in memory.
    `group_sizes`: how many rows the data set has of each, complete when all pairs have been read;
    None: the rows themselves must tell whether a group is whole.
    """
    waiting: list[tuple[Sample, Score]] = []
    for sample, prediction in pairs:
        scored = _score_one(task, sample, prediction)
        if sample.circular_group:
            waiting.append((sample, scored))
        else:
            yield scored
    if waiting:
        yield from _circular(waiting, group_sizes)


def _score_one(task: Task, sample: Sample, prediction: Prediction) -> Score:
    failed = prediction.response is None and not prediction.is_final
    verdicts: dict[Profile, Verdict] = {}
    if not failed:
        verdicts = {profile: task.score(sample, prediction, profile) for profile in task.profiles}
    return Score(
        id=prediction.id,
        cluster=sample.circular_group or sample.image_group,
        verdicts=verdicts,
        error=(prediction.error or "no response") if failed else "",
        is_circular=bool(sample.circular_group),
        breakdown=sample.breakdown,
    )


def _circular(
    waiting: list[tuple[Sample, Score]], group_sizes: Mapping[str, int] | None
) -> Iterator[Score]:
    """The scores, with each group's value (`mmbench.circular`) on its main row.

    The main row is rotation 0, or the least where that is missing. A group with a failed row has no
    value, unless another row is wrong already: then the value is 0 in any case. One that lacks rows
    has none either way: if only wrong ones counted, the mean would be too low.
    """
    groups: dict[str, list[int]] = {}
    for position, (sample, _) in enumerate(waiting):
        groups.setdefault(sample.circular_group, []).append(position)
    for position, (sample, scored) in enumerate(waiting):
        rows = groups[sample.circular_group]
        main = min(rows, key=lambda row: waiting[row][0].rotation)
        if position != main:
            yield scored
            continue
        members = [waiting[row][1] for row in rows]
        answered = [member.verdicts for member in members if member.verdicts]
        profiles = answered[0].keys() if answered else ()
        values = {p: mmbench.circular(verdicts[p].value for verdicts in answered) for p in profiles}
        if len(answered) < len(members) and any(values.values()):
            values = {}
        reason = "a rotation of this question failed"
        size = group_sizes[sample.circular_group] if group_sizes is not None else None
        lacks_rows = not rotations.is_whole([waiting[row][0] for row in rows], size)
        if lacks_rows:
            values, reason = {}, "not all rotations of this question are there"
        error = scored.error or ("" if values else reason)
        yield replace(scored, circular=values or None, error=error, lacks_rotations=lacks_rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A profile's figures over the samples that were scored."""

    estimate: Estimate | None
    """None: nothing could be scored."""

    num_rows: int
    """Samples with a response or an error; `estimate.n` leaves out failed ones and rotations."""

    failed: int
    unparsed: int
    breakdown: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)


class Tally:
    """Collector of scores in columns: about 60 bytes a sample, whatever the responses' size."""

    def __init__(self, profiles: Iterable[Profile]) -> None:
        self._profiles = tuple(profiles)
        self._values = {profile: array("d") for profile in self._profiles}
        self._vanilla = {profile: array("d") for profile in self._profiles}
        self._clusters = array("q")
        self._unparsed = dict.fromkeys(self._profiles, 0)
        self._is_main = array("b")
        self._members: dict[str, dict[str, array[int]]] = {}
        self.failed = 0
        self.num_rows = 0
        self.num_groups = 0
        """Circular groups, and of these the ones that lack rotations."""

        self.num_partial_groups = 0
        self.is_circular = False

    def add(self, score: Score) -> None:
        self.is_circular |= score.is_circular
        counts = not score.is_circular or score.circular is not None
        self.failed += not score.verdicts
        self.num_rows += 1
        self.num_groups += score.circular is not None or score.lacks_rotations
        self.num_partial_groups += score.lacks_rotations
        if not score.verdicts:
            return
        position = len(self._clusters)
        self._clusters.append(_number(score.cluster))
        self._is_main.append(counts)
        for profile in self._profiles:
            verdict = score.verdicts[profile]
            value = score.value(profile)
            self._values[profile].append(float("nan") if value is None else value)
            if score.is_circular:
                self._vanilla[profile].append(verdict.value)
            self._unparsed[profile] += verdict.parsed is None
        if counts:
            for dimension, keys in score.breakdown.items():
                for key in keys:
                    members = self._members.setdefault(dimension, {})
                    members.setdefault(key, array("q")).append(position)

    def summary(self, profile: Profile) -> Summary:
        values = np.array(self._values[profile])
        clusters = np.array(self._clusters, dtype=np.int64)
        counted = ~np.isnan(values)
        return Summary(
            estimate=estimate(values[counted], clusters[counted]) if counted.any() else None,
            num_rows=self.num_rows,
            failed=self.failed,
            unparsed=self._unparsed[profile],
            breakdown=self._breakdown(profile, values, clusters),
        )

    def _breakdown(
        self, profile: Profile, values: Floats, clusters: NDArray[np.int64]
    ) -> dict[str, dict[str, Estimate]]:
        breakdown: dict[str, dict[str, Estimate]] = {}
        if self.is_circular and len(values):
            vanilla = np.array(self._vanilla[profile])
            main = np.array(self._is_main, dtype=bool)
            breakdown["vanilla"] = {"all rows": estimate(vanilla, clusters)}
            if main.any():
                breakdown["vanilla"]["main rows"] = estimate(vanilla[main], clusters[main])
        for dimension, members in self._members.items():
            breakdown[dimension] = {}
            for key, positions in sorted(members.items()):
                rows = np.array(positions, dtype=np.int64)
                breakdown[dimension][key] = estimate(values[rows], clusters[rows])
        return breakdown
