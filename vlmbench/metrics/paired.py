"""Paired comparison of two runs: difference, interval, p value, minimum detectable effect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlmbench.metrics.intervals import Floats, estimate, precision, t_quantile, two_sided_p

POWER = 0.8
ADDED = 0.5
"""Pairs in favour of each side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The difference of two means of values in [0, 1]: b's less a's."""

    a: float
    b: float
    low: float
    high: float
    p: float
    """Two-sided p value; below 0.05 exactly where the 95 % interval excludes 0."""

    n: int
    num_clusters: int
    num_up: int
    """Samples on which b scores more than a."""

    num_down: int
    standard_error: float
    degrees: float
    """Degrees of freedom of the standard error."""

    detectable: float
    """Minimum detectable effect: the difference found (p < 0.05) at 80 % power."""

    detectable_unpaired: float
    """The same for two runs on different samples, as many each."""

    @property
    def value(self) -> float:
        return self.b - self.a


def difference(
    a: Floats, b: Floats, clusters: NDArray[np.int64], confidence: float = 0.95
) -> Difference:
    """The paired difference of b and a; samples of one cluster (one picture) are not independent.

    The variance is the cluster-robust one of the paired differences (as in `intervals.estimate`),
    from which follows the effective number of independent pairs. To these, half a pair in
    favour of each side is added (Agresti and Min, 2005, add half to every cell): the plain interval
    has no width where nothing differs, and is too narrow where little does. t is taken for few
    clusters. The p value is that of the same statistic; with many flips and no clusters it comes
    near McNemar's.

    In simulation (`scripts/interval_coverage.py`) it covers the truth 94 to 96 times in 100 from
    about ten flips on, with clusters and fractional values too; with fewer flips more often.

    Raises: ValueError where there are no values.
    """
    n = len(a)
    if n == 0:
        raise ValueError("no values: a difference needs at least one pair")
    before, after, gained = estimate(a, clusters), estimate(b, clusters), b - a
    value = math.fsum(gained) / n
    known = precision(gained, clusters)
    square = math.fsum(gained * gained) / n
    spread = square - value * value
    size = spread / known.variance if known.variance > 1e-12 * square else known.num_clusters
    total = size + 2 * ADDED
    centre = size * value / total
    error = math.sqrt(((size * square + 2 * ADDED) / total - centre**2) / total)
    low, high, p, detectable, unpaired = -1.0, 1.0, 1.0, 1.0, 1.0
    if known.degrees:
        t = t_quantile((1 + confidence) / 2, known.degrees)
        low = max(-1.0, min(centre - t * error, value))
        high = min(1.0, max(centre + t * error, value))
        p = two_sided_p(centre / error, known.degrees)
        needed = t + t_quantile(POWER, known.degrees)
        detectable = needed * error
        unpaired = needed / t * math.hypot(after.high - after.low, before.high - before.low) / 2
    return Difference(
        a=before.mean,
        b=after.mean,
        low=low,
        high=high,
        p=p,
        n=n,
        num_clusters=known.num_clusters,
        num_up=int((gained > 0).sum()),
        num_down=int((gained < 0).sum()),
        standard_error=error,
        degrees=known.degrees,
        detectable=min(1.0, detectable),
        detectable_unpaired=min(1.0, unpaired),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanDifference:
    """The mean of several tasks' differences, each task counting the same."""

    a: float
    b: float
    low: float
    high: float
    p: float
    detectable: float

    @property
    def value(self) -> float:
        return self.b - self.a


def mean_difference(parts: Sequence[Difference], confidence: float = 0.95) -> MeanDifference:
    """Mean over tasks with no samples in common, with Satterthwaite's (1946) degrees of freedom.

    Raises: ValueError where there are no tasks.
    """
    if not parts:
        raise ValueError("no tasks: a mean needs at least one")
    number = len(parts)
    a = math.fsum(part.a for part in parts) / number
    b = math.fsum(part.b for part in parts) / number
    if not all(part.degrees for part in parts):
        return MeanDifference(a=a, b=b, low=-1.0, high=1.0, p=1.0, detectable=1.0)
    variances = [part.standard_error**2 for part in parts]
    fourth = math.fsum(v * v / part.degrees for v, part in zip(variances, parts, strict=True))
    degrees = math.fsum(variances) ** 2 / fourth
    error = math.sqrt(math.fsum(variances)) / number
    t = t_quantile((1 + confidence) / 2, degrees)
    return MeanDifference(
        a=a,
        b=b,
        low=max(-1.0, b - a - t * error),
        high=min(1.0, b - a + t * error),
        p=two_sided_p((b - a) / error, degrees),
        detectable=min(1.0, (t + t_quantile(POWER, degrees)) * error),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for multiple comparisons (Holm, 1979): family-wise error rate 0.05."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = least
    return adjusted
