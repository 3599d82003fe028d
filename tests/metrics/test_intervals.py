"""Intervals: known values, invariances, and coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmbench.metrics.intervals import estimate, t_quantile


def test_independent_samples_get_wilsons_interval() -> None:
    """81 of 263, the example of Newcombe (1998), table I: 0.2553 to 0.3662."""
    values = np.array([1.0] * 81 + [0.0] * 182)
    found = estimate(values, np.arange(263))
    assert found.mean == pytest.approx(81 / 263)
    # Newcombe's z is a t with 262 degrees here, and n / (n - 1) widens it a little
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=1e-3)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_equal_values_leave_room_for_doubt(value: float) -> None:
    found = estimate(np.full(50, value), np.arange(50))
    assert found.mean == value
    assert found.high - found.low == pytest.approx(0.07, abs=0.02)  # z^2 / (n + z^2)


def test_repeating_every_sample_of_a_picture_narrows_nothing() -> None:
    rng = np.random.default_rng(0)
    once = rng.integers(0, 2, 200).astype(float)
    single = estimate(once, np.arange(200))
    fivefold = estimate(np.repeat(once, 5), np.repeat(np.arange(200), 5))
    assert (fivefold.low, fivefold.high) == pytest.approx((single.low, single.high))
    ignored = estimate(np.repeat(once, 5), np.arange(1000))
    assert ignored.high - ignored.low < 0.6 * (single.high - single.low)


def test_one_cluster_says_nothing() -> None:
    found = estimate(np.array([1.0, 0.0, 1.0]), np.zeros(3, dtype=np.int64))
    assert (found.low, found.high, found.num_clusters) == (0.0, 1.0, 1)


def test_no_values_are_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        estimate(np.array([]), np.array([], dtype=np.int64))


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 5)), min_size=1, max_size=40), st.randoms()
)
def test_the_interval_holds_the_mean_and_order_is_nothing(
    pairs: list[tuple[float, int]], random: object
) -> None:
    values, clusters = np.array([v for v, _ in pairs]), np.array([c for _, c in pairs])
    found = estimate(values, clusters)
    assert 0 <= found.low <= found.mean <= found.high <= 1
    turned = estimate(values[::-1], clusters[::-1])
    assert (turned.mean, turned.low, turned.high) == pytest.approx(
        (found.mean, found.low, found.high), abs=1e-9
    )


# Student's t, two-sided 95 %, as printed in any table
T_TABLE = {1: 12.7062, 2: 4.3027, 3: 3.1824, 5: 2.5706, 10: 2.2281, 30: 2.0423, 120: 1.9799}


@pytest.mark.parametrize(("degrees", "expected"), T_TABLE.items())
def test_t_quantiles_are_those_of_the_tables(degrees: int, expected: float) -> None:
    assert t_quantile(0.975, degrees) == pytest.approx(expected, rel=5e-3 if degrees == 3 else 1e-3)


@pytest.mark.parametrize("accuracy", [0.5, 0.75, 0.92])
@pytest.mark.parametrize("per_picture", [1, 5])
def test_intervals_cover_the_truth_95_times_in_100(accuracy: float, per_picture: int) -> None:
    """Pictures are hard or easy, so that samples of one agree; 4,000 benchmarks of 200 pictures."""
    rng = np.random.default_rng(1)
    num_pictures, trials, spread = 200, 4000, 8.0
    clusters = np.repeat(np.arange(num_pictures), per_picture)
    covered = 0
    for _ in range(trials):
        ease = rng.beta(accuracy * spread, (1 - accuracy) * spread, num_pictures)
        values = (rng.random(len(clusters)) < ease[clusters]).astype(float)
        found = estimate(values, clusters)
        covered += found.low <= accuracy <= found.high
    # 4,000 trials have a standard error of 0.34 points
    assert 0.94 <= covered / trials <= 0.96
