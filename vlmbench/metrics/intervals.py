"""Means with cluster-robust 95 % intervals, and Student's t distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MIN_EXPANDED = 10
"""Degrees of freedom from which `t_quantile` uses a series."""

MAX_TERMS = 10_000
"""Most terms of the continued fraction; about sqrt(degrees of freedom) are needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean of values in [0, 1] and its interval."""

    mean: float
    low: float
    high: float
    n: int
    num_clusters: int


def estimate(values: Floats, clusters: NDArray[np.int64], confidence: float = 0.95) -> Estimate:
    """The mean and its interval; samples of one cluster (one picture) are not independent.

    The variance of the mean is the cluster-robust one (see `precision`), from which follows the
    size that an independent sample of equal precision would have; the interval is Wilson's (1927)
    at that size, with a t quantile for few clusters. So it stays within [0, 1] and has a width
    where all values are equal (Korn and Graubard, 1998, do so with Clopper and Pearson's).

    In simulation (`scripts/interval_coverage.py`) it covers the truth 94 to 96 times in 100 for
    yes/no and VQA scores, clustered or not, from about 50 clusters on; above 96 for 10 to 30
    samples; 92 to 94 where few clusters hold all errors (50 that agree strongly, at 0.9 and more).

    Raises: ValueError where there are no values.
    """
    n = len(values)
    if n == 0:
        raise ValueError("no values: a mean needs at least one")
    mean = math.fsum(values) / n
    found = precision(values, clusters)
    variance, num_clusters = found.variance, found.num_clusters
    if num_clusters == 1:
        return Estimate(mean=mean, low=0.0, high=1.0, n=n, num_clusters=1)
    spread = mean * (1 - mean)
    size = spread / variance if variance > 1e-12 * spread and spread > 0 else float(num_clusters)
    t = t_quantile((1 + confidence) / 2, found.degrees)
    centre = (mean + t * t / (2 * size)) / (1 + t * t / size)
    half = t / (1 + t * t / size) * math.sqrt(spread / size + t * t / (4 * size**2))
    low, high = max(0.0, min(centre - half, mean)), min(1.0, max(centre + half, mean))
    return Estimate(mean=mean, low=low, high=high, n=n, num_clusters=num_clusters)


def mean_interval(parts: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    """The mean of several estimates (value, low, high) of independent samples, and its interval.

    MOVER (Zou and Donner, 2008): it is as uneven as theirs, and of one estimate its own.

    Raises: ValueError where there are none.
    """
    if not parts:
        raise ValueError("no estimates: a mean needs at least one")
    mean = math.fsum(value for value, _, _ in parts) / len(parts)
    low = math.hypot(*(value - low for value, low, _ in parts)) / len(parts)
    high = math.hypot(*(high - value for value, _, high in parts)) / len(parts)
    return mean, mean - low, mean + high


@dataclass(frozen=True, slots=True)
class Precision:
    """The variance of a mean."""

    variance: float
    degrees: float
    """Degrees of freedom of the variance; 0 for a single cluster."""

    num_clusters: int


def precision(values: Floats, clusters: NDArray[np.int64]) -> Precision:
    """The cluster-robust variance of the mean and its degrees of freedom.

    Liang and Zeger's (1986) sum of squared cluster sums, each over one less its share of the
    samples (Bell and McCaffrey, 2002); for equal clusters that is the factor G / (G - 1). The
    degrees are Satterthwaite's, with a cluster's sum varying as its size to the power 1.5: between
    1, where samples of a cluster are independent, and 2, where they all agree.
    """
    _, cluster_index = np.unique(clusters, return_inverse=True)
    sizes = np.bincount(cluster_index)
    if len(sizes) == 1:
        return Precision(math.inf, 0.0, 1)
    n = len(values)
    sums = np.bincount(cluster_index, weights=values - math.fsum(values) / n)
    weights = sizes**1.5
    degrees = float(weights.sum() ** 2 / (weights @ weights)) - 1
    variance = float((sums * sums / (1 - sizes / n)).sum()) / n**2
    return Precision(variance, max(1.0, degrees), len(sizes))


def t_quantile(probability: float, degrees: float) -> float:
    """Student's t quantile of a probability above 1/2, within 0.01 % for 80 to 99 %.

    By Fisher and Cornish's (1960) expansion; below 10 degrees, where that errs, by bisection.
    """
    if degrees < MIN_EXPANDED:
        return _bisected(2 * (1 - probability), degrees)
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / degrees ** (i + 1) for i, term in enumerate(terms))


def _bisected(p: float, degrees: float) -> float:
    """The inverse of `two_sided_p`, by bisection."""
    low, high = 0.0, 1.0
    while two_sided_p(high, degrees) > p:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        if two_sided_p(middle, degrees) > p:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def two_sided_p(t: float, degrees: float) -> float:
    """Student's t: the probability of a value at least as far from 0 as t, on either side."""
    whole = degrees + t * t
    far = t * t / whole
    return _incomplete_beta(degrees / whole, far, degrees / 2, 0.5) if far > 0 else 1.0


def _incomplete_beta(x: float, y: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction.

    y is 1 - x. Source: DLMF 8.17.22, evaluated by Lentz's (1976) method.
    """
    if x > (a + 1) / (a + b + 2):  # there it converges slowly, and the other tail quickly
        return 1 - _incomplete_beta(y, x, b, a)
    tiny = 1e-300
    fraction, numerator, denominator = 1.0, 1.0, 0.0
    for index in range(MAX_TERMS):
        m = index // 2
        if index == 0:
            term = 1.0
        elif index % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        denominator = 1 / (1 + term * denominator or tiny)
        numerator = 1 + term / numerator or tiny
        fraction *= numerator * denominator
        if abs(numerator * denominator - 1) < 1e-15:
            break
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return math.exp(a * math.log(x) + b * math.log(y) - log_beta) / a * (fraction - 1)
