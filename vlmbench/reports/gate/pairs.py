"""The samples of a task that both runs were asked, also those that failed in one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlmbench.metrics.intervals import Floats
from vlmbench.runs.folder.finished import FinishedTask
from vlmbench.schema import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Scores of baseline and candidate on the same samples, in [0, 1]; NaN: that run failed."""

    baseline: Floats
    candidate: Floats
    clusters: NDArray[np.int64]
    num_failed_in_both: int
    """Left out, as they favour neither."""

    num_alone: int
    """Samples that one run alone was asked; left out too."""

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """True of pairs that both runs have answered."""
        known: NDArray[np.bool_] = ~(np.isnan(self.baseline) | np.isnan(self.candidate))
        return known

    def filled(self, baseline: float, candidate: float) -> tuple[Floats, Floats]:
        """The scores with these in place of failures."""
        return (
            np.nan_to_num(self.baseline, nan=baseline),
            np.nan_to_num(self.candidate, nan=candidate),
        )


def pairs(baseline: FinishedTask, candidate: FinishedTask, profile: Profile) -> Pairs:
    """Where options are rotated, the unit is the question with all its rotations."""
    of_a, of_b = (_units(task, profile) for task in (baseline, candidate))
    both = [key for key in of_b if key in of_a]
    kept = [key for key in both if (of_a[key][0], of_b[key][0]) != (None, None)]
    numbers: dict[str, int] = {}
    return Pairs(
        baseline=_column([of_a[key][0] for key in kept]),
        candidate=_column([of_b[key][0] for key in kept]),
        clusters=np.array(
            [numbers.setdefault(of_b[key][1], len(numbers)) for key in kept], dtype=np.int64
        ),
        num_failed_in_both=len(both) - len(kept),
        num_alone=len(of_a) + len(of_b) - 2 * len(both),
    )


def _units(task: FinishedTask, profile: Profile) -> dict[str, tuple[float | None, str]]:
    """Unit to its score, None where it failed, and its cluster."""
    found: dict[str, tuple[float | None, str]] = {}
    for record in task.scores():
        value = record.profiles.get(profile)
        key = record.cluster if record.is_circular else str(record.id)
        if value is not None:
            found[key] = value, record.cluster
        else:  # a rotation, whose question has its value on another row, or a failure
            found.setdefault(key, (None, record.cluster))
    return found


def _column(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
