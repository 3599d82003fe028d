"""Scores of predictions, and their summary, in bounded memory."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from vlmbench.metrics import mmbench
from vlmbench.metrics.final_answer import Found
from vlmbench.metrics.intervals import Estimate, Floats, estimate
from vlmbench.schema import FINAL_ANSWERS, FinalAnswer, Prediction, Profile, Sample, Verdict
from vlmbench.task import rotations
from vlmbench.task.answer_marks import AnswerMarks
from vlmbench.task.reading import Reading
from vlmbench.task.task import Task

DEFAULT = Reading()

PLACES = 6
"""Decimals of scores by other readings: fewer than the order of their sums can move."""


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
    found: Found | None = None
    """The text that was scored, where that is not the response as it is."""

    others: Mapping[FinalAnswer, Score] = field(default_factory=dict)
    """The scores that other ways to read the response give, where they read another text."""

    is_marked: bool = False
    """True: the response has tags, boxes or the like around its answer."""

    is_cut_off: bool = False
    is_empty: bool = False

    def value(self, profile: Profile) -> float | None:
        """The value that counts in the headline; None: failed, or a rotation but the main row."""
        if self.is_circular:
            return None if self.circular is None else self.circular[profile]
        return self.verdicts[profile].value if self.verdicts else None


def score(
    task: Task,
    pairs: Iterable[tuple[Sample, Prediction]],
    reading: Reading = DEFAULT,
    group_sizes: Mapping[str, int] | None = None,
) -> Iterator[Score]:
    """Scores in the order of the pairs, each as soon as it is known.

    Rows of a circular group wait for each other, so a task with rotations is held in memory.
    `group_sizes`: how many rows the data set has of each, complete when all pairs have been read;
    None: the rows themselves must tell whether a group is whole.
    """
    waiting: list[tuple[Sample, Score]] = []
    for sample, prediction in pairs:
        scored = _score_one(task, sample, prediction, reading)
        if sample.circular_group:
            waiting.append((sample, scored))
        else:
            yield scored
    if waiting:
        yield from _circular(waiting, group_sizes)


def _score_one(task: Task, sample: Sample, prediction: Prediction, reading: Reading) -> Score:
    failed = prediction.response is None and not prediction.is_final
    scored = Score(
        id=prediction.id,
        cluster=sample.circular_group or sample.image_group,
        verdicts={},
        error=(prediction.error or "no response") if failed else "",
        is_circular=bool(sample.circular_group),
        breakdown=sample.breakdown,
        is_cut_off=prediction.is_cut_off,
    )
    if failed:
        return scored
    try:
        if prediction.is_final:
            return replace(scored, verdicts=reading.verdicts(task, sample, prediction))
        return _judged(scored, task, sample, prediction, reading)
    except Exception as problem:  # the sample boundary: one answer must not cost all others
        return replace(scored, error=f"{UNSCORED}{type(problem).__name__}: {problem}")


def _judged(
    scored: Score, task: Task, sample: Sample, prediction: Prediction, reading: Reading
) -> Score:
    """The score with its verdicts. Raises: whatever the scorer does."""
    response = prediction.response or ""
    found = reading.found(sample, prediction)
    ways = reading.others(sample, prediction, found)
    scored = replace(
        scored,
        verdicts=reading.verdicts(task, sample, prediction, found),
        found=None if found.text == response else found,
        is_marked=any(one.is_marked for one in (found, *ways.values())),
        is_empty=not response.strip(),
    )
    return _with_others(scored, task, sample, prediction, reading, ways) if ways else scored


def _with_others(
    scored: Score,
    task: Task,
    sample: Sample,
    prediction: Prediction,
    reading: Reading,
    ways: Mapping[FinalAnswer, Found],
) -> Score:
    """The score with those of other ways to read the response."""
    others = {}
    is_moved = False
    for way, found in ways.items():
        other = replace(reading, final_answer=way)
        verdicts = other.verdicts(task, sample, prediction, found)
        is_moved |= any(verdicts[p].value != own.value for p, own in scored.verdicts.items())
        others[way] = replace(scored, verdicts=verdicts)
    return replace(scored, others=others, is_marked=scored.is_marked or is_moved)


UNSCORED = "cannot be scored: "
"""How the error of a sample begins that was answered, and whose answer no rule could score."""


def _circular(
    waiting: list[tuple[Sample, Score]], group_sizes: Mapping[str, int] | None
) -> Iterator[Score]:
    """The scores with each group's value on its main row, also for other ways to read them."""
    ways = {way for _, scored in waiting for way in scored.others}
    read_otherwise = {
        way: _grouped(
            [(sample, scored.others.get(way, scored)) for sample, scored in waiting], group_sizes
        )
        for way in sorted(ways)
    }
    for scored in _grouped(waiting, group_sizes):
        others = {way: next(scores) for way, scores in read_otherwise.items()}
        yield replace(scored, others=others)


def _grouped(
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
        self._moved = {(way, p): [0.0, 0] for way in FINAL_ANSWERS for p in self._profiles}
        self._marked = self._cut_off = self._empty = 0
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
        self._marked += score.is_marked
        self._cut_off += score.is_cut_off
        self._empty += score.is_empty
        for way, other in score.others.items():
            self._move(way, score, other)
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

    def _move(self, way: FinalAnswer, score: Score, other: Score) -> None:
        """Add what another way to read the response changes in the values' sum and number."""
        for profile in self._profiles:
            moved = self._moved[way, profile]
            for value, sign in ((other.value(profile), 1), (score.value(profile), -1)):
                if value is not None:
                    moved[0] += sign * value
                    moved[1] += sign

    def answer_marks(self) -> AnswerMarks:
        """What the responses are like, and the score of each way to read them."""
        scores: dict[FinalAnswer, dict[Profile, float]] = {way: {} for way in FINAL_ANSWERS}
        for (way, profile), (total, number) in self._moved.items():
            values = np.array(self._values[profile])
            counted = values[~np.isnan(values)]
            if len(counted) + number > 0:
                mean = (math.fsum(counted) + total) / (len(counted) + number)
                scores[way][profile] = round(100 * mean, PLACES)
        return AnswerMarks(
            num_responses=len(self._clusters),
            num_marked=self._marked,
            num_cut_off=self._cut_off,
            num_empty=self._empty,
            scores=scores,
        )

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
