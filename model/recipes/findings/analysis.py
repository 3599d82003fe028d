"""What finished arms say: means, effects, and what is scored without looking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from . import arm_files
from .arm_files import ArmResult
from .arms import ARMS, REFERENCE, equal_flops
from .comparisons import GROUPS, Comparison, Group, Shown
from .effects import Effect, Floats, Stability, Verdict, effect, stability, verdict
from .evaluation import Item, majority

COMMONEST = "the commonest answer"


@dataclass(frozen=True, slots=True)
class Laboratory:
    """All finished arms of one size, and what their scores are of."""

    results: dict[tuple[str, int], ArmResult]
    questions: dict[str, tuple[Item, ...]]

    @classmethod
    def open(cls, folder: Path, size: str) -> Laboratory:
        """Raises: ValueError where there is nothing yet, or a file is no arm's."""
        questions = arm_files.read_questions(folder)
        return cls(arm_files.read_all(folder / "arms", size), questions)

    def of(self, arm: str) -> list[ArmResult]:
        """An arm's results, seed by seed."""
        return [found for (name, _), found in sorted(self.results.items()) if name == arm]

    def seeds(self, *arms: str) -> list[int]:
        """Seeds with which all these arms are finished."""
        every = [{seed for name, seed in self.results if name == arm} for arm in arms]
        return sorted(set.intersection(*every))

    def scores(self, shown: Shown, group: Group, seeds: Sequence[int]) -> Floats:
        """Test-part scores [seeds, questions]."""
        chosen = self.chosen("test", group)
        rows = [self.results[shown.arm, seed].test[shown.how] for seed in seeds]
        return np.array(rows, np.float64)[:, chosen]

    def chosen(self, part: str, group: Group) -> list[int]:
        """Which of the part's questions are of the group."""
        fits = GROUPS[group]
        return [index for index, item in enumerate(self.questions[part]) if fits(item)]

    def pictures(self, part: str, group: Group) -> list[int]:
        """Picture of each question of the group."""
        return [self.questions[part][index].picture for index in self.chosen(part, group)]

    def validated(self, arm: str) -> float:
        """Mean of the validation part at the end of training, in percent: it may choose rates."""
        rows = [result.validation[-1].scores for result in self.of(arm)]
        return float(np.mean(rows))

    def mean(self, shown: Shown, group: Group) -> float:
        """Mean of all seeds, in %."""
        return float(self.scores(shown, group, self.seeds(shown.arm)).mean())


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison with what came of it."""

    comparison: Comparison
    equal_samples: Effect
    equal_flops: Effect | None
    """None: the arms cost about the same, or none was trained at the FLOPs of the other yet."""

    @property
    def verdict(self) -> Verdict | None:
        """None where the paper saw no difference."""
        sign = self.comparison.papers_sign
        return verdict(self.equal_samples, sign) if sign else None


def compared(laboratory: Laboratory, comparison: Comparison) -> Compared | None:
    """None where the two arms have no finished seed in common."""
    found = _effect(laboratory, comparison.a, comparison.b, comparison.group)
    if found is None:
        return None
    return Compared(comparison, found, _at_equal_flops(laboratory, comparison))


def _effect(laboratory: Laboratory, a: Shown, b: Shown, group: Group) -> Effect | None:
    seeds = laboratory.seeds(a.arm, b.arm)
    if not seeds:
        return None
    return effect(
        laboratory.scores(a, group, seeds),
        laboratory.scores(b, group, seeds),
        laboratory.pictures("test", group),
    )


def _at_equal_flops(laboratory: Laboratory, comparison: Comparison) -> Effect | None:
    """Effect between arms of which the dearer was trained again at the cheaper one's FLOPs."""
    a, b = (replace(shown, arm=equal_flops(shown.arm)) for shown in (comparison.a, comparison.b))
    if (a, b) == (comparison.a, comparison.b) or a.arm == b.arm:
        return None
    return _effect(laboratory, a, b, comparison.group)


def arm_stability(result: ArmResult) -> Stability:
    return stability([loss for _, loss, _ in result.curve], is_finite=result.is_finite)


def chance(laboratory: Laboratory, group: Group) -> dict[str, float]:
    """Scores without the right picture, of the reference arm, and of the commonest answers."""
    items = laboratory.questions["test"]
    chosen = laboratory.chosen("test", group)
    commonest = majority(items)
    levels = {COMMONEST: 100 * float(np.mean([commonest[i] for i in chosen]))}
    controls = {"blank": "a blank picture", "other": "another's picture"}
    for how, name in controls.items():
        rows = [np.array(result.test[how])[chosen] for result in laboratory.of(REFERENCE)]
        if rows:
            levels[name] = float(np.mean(rows))
    return levels


def finished(laboratory: Laboratory) -> list[str]:
    """Names of arms with a finished seed, in their order."""
    return [name for name in ARMS if laboratory.seeds(name)]
