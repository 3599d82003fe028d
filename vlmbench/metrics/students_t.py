"""Student's t distribution: tails and quantiles."""

from __future__ import annotations

import math
from statistics import NormalDist

MIN_EXPANDED = 10
MAX_TERMS = 10_000
"""Of the continued fraction: it converges in some square root of the degrees of freedom."""


def t_quantile(probability: float, degrees: float) -> float:
    """The quantile of a probability above 1/2, within 0.01 % for 80 to 99 %.

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
    """The t whose two-sided p this is."""
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
    """The probability of a value at least so far from 0, on either side."""
    whole = degrees + t * t
    far = t * t / whole
    return _incomplete_beta(degrees / whole, far, degrees / 2, 0.5) if far > 0 else 1.0


def _incomplete_beta(x: float, y: float, a: float, b: float) -> float:
    """Regularised, I_x(a, b) where y is 1 - x, by its continued fraction (DLMF 8.17.22).

    Evaluated forwards, in Lentz's (1976) way.
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
