"""How far apart two arms are: paired by question and by seed, with an interval over both.

The variance of a mean difference is clustered two ways, by picture and by seed (Cameron, Gelbach
and Miller, 2011): what pictures share and what trainings share. The part that both count, that of a
picture in one training, is taken off once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vlmbench.metrics.intervals import precision, t_quantile, two_sided_p

Floats = NDArray[np.float64]
Verdict = Literal["same sign, resolved", "same sign, not resolved", "other sign"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A difference of two means in points, b's less a's."""

    value: float
    low: float
    high: float
    p: float
    a: float
    b: float
    num_seeds: int
    num_questions: int

    @property
    def is_resolved(self) -> bool:
        """True if the 95 % interval leaves out 0; of one seed, whose luck is unknown, never."""
        return self.num_seeds > 1 and not self.low <= 0 <= self.high


def effect(a: Floats, b: Floats, pictures: Sequence[int], confidence: float = 0.95) -> Effect:
    """Compares scores [seeds, questions] in percent of two arms on the same questions.

    Seed by seed the arms saw the same samples in the same order. Degrees of freedom are
    Satterthwaite's, of the two sums of variances; one seed has none, and its interval is that of
    the questions alone.

    Raises: ValueError where the shapes differ or there is nothing to compare.
    """
    if a.shape != b.shape or a.ndim != 2 or not a.size or a.shape[1] != len(pictures):
        raise ValueError(f"scores {a.shape} and {b.shape} of {len(pictures)} questions")
    num_seeds, num_questions = a.shape
    gained = (b - a).ravel() / 100
    of_pictures: NDArray[Any] = np.tile(np.asarray(pictures, np.int64), num_seeds)
    of_seeds = np.repeat(np.arange(num_seeds), num_questions)
    by_picture = precision(gained, of_pictures)
    variance, degrees = by_picture.variance, by_picture.degrees
    if num_seeds > 1:
        by_seed = precision(gained, of_seeds)
        of_both = of_seeds * (of_pictures.max() + 1) + of_pictures
        parts = by_picture.variance + by_seed.variance
        variance = max(
            parts - precision(gained, of_both).variance, by_picture.variance, by_seed.variance
        )
        squares = (by_picture.variance**2 / by_picture.degrees) + (
            by_seed.variance**2 / by_seed.degrees
        )
        degrees = parts**2 / squares if squares else by_picture.degrees
    value = math.fsum(gained) / len(gained)
    error = math.sqrt(variance)
    half = t_quantile((1 + confidence) / 2, degrees) * error
    p = two_sided_p(value / error, degrees) if error else float(value == 0)
    return Effect(
        value=100 * value,
        low=100 * (value - half),
        high=100 * (value + half),
        p=p,
        a=float(a.mean()),
        b=float(b.mean()),
        num_seeds=num_seeds,
        num_questions=num_questions,
    )


def verdict(found: Effect, papers: float) -> Verdict:
    """Verdict on an effect: its sign against the paper's, and if its interval leaves out 0."""
    if found.value * papers <= 0:
        return "other sign"
    return "same sign, resolved" if found.is_resolved else "same sign, not resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """How smoothly a training went."""

    num_spikes: int
    """Points of the loss curve more than `SPIKE` above the lowest mean so far."""
    is_diverged: bool
    """True: training ended in a spike or in parameters that are no numbers."""


SPIKE = 0.5
"""Nats a token."""

WINDOW = 3
"""Points of a loss curve that are averaged."""


def stability(losses: Sequence[float], *, is_finite: bool) -> Stability:
    """Read off a loss curve."""
    lowest, spikes, is_high = math.inf, 0, False
    for end in range(WINDOW, len(losses) + 1):
        mean = sum(losses[end - WINDOW : end]) / WINDOW
        is_high = not mean <= lowest + SPIKE
        spikes += is_high
        lowest = min(lowest, mean) if mean == mean else lowest
    return Stability(num_spikes=spikes, is_diverged=is_high or not is_finite)
