"""Is a value above a limit: yes, no or not known, by one-sided intervals, each of 5 % error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vlmbench.metrics.intervals import Floats, precision, t_quantile
from vlmbench.metrics.paired import POWER

ALPHA = 0.05
"""Rate of a wrong GO, and of a wrong NO-GO, at most."""

MOST = 10_000_000
"""Samples beyond which a number of them says nothing: the value found lies at the limit."""

Answer = Literal["GO", "NO-GO", "INCONCLUSIVE"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """A value with a lower and an upper confidence limit, each one-sided."""

    value: float
    low: float
    """At 5 %: what the value is not below."""

    high: float
    """At 5 % over the number of criteria, so that all of them together err in 5 % at most."""

    standard_error: float
    degrees: float


def go_confidence() -> float:
    """Two-sided confidence of the interval whose lower end decides for GO."""
    return 1 - 2 * ALPHA


def no_go_confidence(num_criteria: int) -> float:
    """The same of the upper end, which decides for NO-GO; one criterion suffices for that."""
    return 1 - 2 * ALPHA / num_criteria


def answer(low: float, high: float, limit: float) -> Answer:
    """GO: the value is above the limit; NO-GO: it is below."""
    if low > limit:
        return "GO"
    return "NO-GO" if high < limit else "INCONCLUSIVE"


def overall(answers: Sequence[Answer]) -> Answer:
    """GO where all are; NO-GO where one is.

    All criteria must hold, so a wrong GO is no likelier than of one of them (intersection-union
    test: Berger, 1982).
    """
    if "NO-GO" in answers:
        return "NO-GO"
    return "GO" if all(one == "GO" for one in answers) else "INCONCLUSIVE"


def mean_of(values: Floats, num_criteria: int) -> Bounds:
    """The mean of independent values, with limits by Student's t."""
    found = precision(values, np.arange(len(values)))
    mean, error = math.fsum(values) / len(values), math.sqrt(found.variance)
    below = t_quantile((1 + go_confidence()) / 2, found.degrees) * error
    above = t_quantile((1 + no_go_confidence(num_criteria)) / 2, found.degrees) * error
    return Bounds(
        value=mean, low=mean - below, high=mean + above, standard_error=error, degrees=found.degrees
    )


def samples_needed(found: Bounds, limit: float, n: int, num_criteria: int) -> int | None:
    """Samples in all, of the same kind, that decide at 80 % power if the value is the one found.

    None: it lies so near the limit that no such number is of use.
    """
    distance = abs(found.value - limit)
    if not found.degrees or not distance:
        return None
    confidence = go_confidence() if found.value > limit else no_go_confidence(num_criteria)
    t = t_quantile((1 + confidence) / 2, found.degrees) + t_quantile(POWER, found.degrees)
    needed = n * (t * found.standard_error / distance) ** 2
    return math.ceil(needed) if needed <= MOST else None
