"""Paired differences: against scipy and statsmodels, and what must hold whatever the data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmbench.metrics import intervals
from vlmbench.metrics.intervals import Floats, estimate, precision
from vlmbench.metrics.paired import Difference, difference, holm, mean_difference


def drawn(n: int, flips: float, seed: int = 0) -> tuple[Floats, Floats]:
    """Two models with 0 or 1 on n samples, of which they differ on a share."""
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 2, n).astype(float)
    return a, np.where(rng.random(n) < flips, 1 - a, a)


def test_the_variance_is_that_of_statsmodels_for_equal_clusters() -> None:
    import statsmodels.api as sm

    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(40), 5)
    values = rng.random(40)[clusters] * rng.random(200)
    fitted = sm.OLS(values, np.ones(200)).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False}
    )
    expected = fitted.bse[0] ** 2 * 40 / 39
    found = precision(values, clusters)
    assert found.variance == pytest.approx(expected, rel=1e-9)
    assert found.degrees == pytest.approx(39)
    assert found.num_clusters == 40


def test_unequal_clusters_leave_fewer_degrees_of_freedom() -> None:
    values = np.random.default_rng(0).random(40)
    sizes = [1] * 10 + [30]
    found = precision(values, np.repeat(np.arange(11), sizes))
    assert 1 <= found.degrees < 3
    assert precision(values, np.arange(40)).degrees == pytest.approx(39)


def test_many_flips_give_mcnemars_p_and_the_paired_t_tests_interval() -> None:
    from scipy import stats
    from statsmodels.stats.contingency_tables import mcnemar

    a, b = drawn(20_000, 0.1, seed=3)
    b[:40] = 1
    found = difference(a, b, np.arange(20_000))
    table = [[int(((a == x) & (b == y)).sum()) for y in (0, 1)] for x in (0, 1)]
    assert (found.num_up, found.num_down) == (table[0][1], table[1][0])
    assert found.p == pytest.approx(mcnemar(table, exact=False, correction=False).pvalue, rel=0.01)
    paired = stats.ttest_rel(b, a)
    assert found.p == pytest.approx(paired.pvalue, rel=0.01)
    interval = paired.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-5)


@pytest.mark.parametrize("n", [50, 400, 3000])
def test_detectable_differences_have_the_power_that_statsmodels_computes(n: int) -> None:
    from statsmodels.stats.power import TTestIndPower, TTestPower

    a, b = drawn(n, 0.3)
    found = difference(a, b, np.arange(n))
    paired = TTestPower().power(found.detectable / found.standard_error / math.sqrt(n), n, 0.05)
    assert paired == pytest.approx(0.8, abs=0.01)
    apart = math.sqrt((a.var() + b.var()) / 2)
    unpaired = TTestIndPower().power(found.detectable_unpaired / apart, n, 0.05)
    assert unpaired == pytest.approx(0.8, abs=0.025)  # Wilson's interval is a little narrower


def test_a_detectable_difference_is_found_four_times_in_five() -> None:
    """2,000 pairs of runs that differ by what 200 pairs of equal ones said they could see."""
    rng, n = np.random.default_rng(5), 400

    def pair(gain: float) -> Difference:
        draws = rng.random(n)
        a = np.where(draws > 0.9 + gain / 2, 1.0, 0.0)
        return difference(a, np.where(draws < 0.1 + gain / 2, 1.0, 0.0), np.arange(n))

    seen = float(np.mean([pair(0).detectable for _ in range(200)]))
    found = np.mean([pair(seen).p < 0.05 for _ in range(2000)])
    assert found == pytest.approx(0.8, abs=0.03)  # its standard error is 0.009


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 6)), min_size=1, max_size=40
    )
)
def test_the_interval_holds_the_difference_and_p_agrees_with_it(
    rows: list[tuple[float, float, int]],
) -> None:
    a, b, clusters = (np.array(column) for column in zip(*rows, strict=True))
    found, back = difference(a, b, clusters), difference(b, a, clusters)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low), abs=1e-9)
    assert back.p == pytest.approx(found.p)
    if abs(found.p - 0.05) > 1e-3 and 0 not in (found.low, found.high):
        assert (found.p < 0.05) == (not found.low <= 0 <= found.high)


@pytest.mark.parametrize("n", [2, 30, 1000])
def test_no_flips_leave_room_for_doubt(n: int) -> None:
    ones = np.ones(n)
    found = difference(ones, ones, np.arange(n))
    assert (found.value, found.p) == (0, 1)
    assert found.high == -found.low > 1 / n
    assert found.detectable > 0 and found.detectable_unpaired > 0


def test_repeating_every_sample_of_a_picture_adds_no_certainty() -> None:
    a, b = drawn(100, 0.3)
    once = difference(a, b, np.arange(100))
    fivefold = difference(np.repeat(a, 5), np.repeat(b, 5), np.repeat(np.arange(100), 5))
    assert (fivefold.low, fivefold.high, fivefold.p) == pytest.approx((once.low, once.high, once.p))


def test_one_cluster_says_nothing() -> None:
    found = difference(np.zeros(3), np.ones(3), np.zeros(3, dtype=np.int64))
    assert (found.low, found.high, found.p, found.detectable) == (-1, 1, 1, 1)
    assert mean_difference([found, found]).p == 1


def test_no_values_are_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        difference(np.array([]), np.array([]), np.array([], dtype=np.int64))
    with pytest.raises(ValueError, match="no tasks"):
        mean_difference([])


def test_a_mean_of_tasks_is_as_sure_as_welchs_test() -> None:
    """Halves of two tasks' differences are a Welch test of one against the other's opposite."""
    from scipy import stats

    pairs = [drawn(300, 0.4, seed=1), drawn(80, 0.2, seed=2)]
    pairs[0][1][:20] = 1
    parts = [difference(a, b, np.arange(len(a))) for a, b in pairs]
    first, second = (b - a for a, b in pairs)
    welch = stats.ttest_ind(first, -second, equal_var=False)
    found = mean_difference(parts)
    assert found.value == pytest.approx((first.mean() + second.mean()) / 2)
    assert found.p == pytest.approx(welch.pvalue, rel=0.1)
    interval = welch.confidence_interval()
    assert found.low == pytest.approx(interval.low / 2, abs=0.002)
    assert found.high == pytest.approx(interval.high / 2, abs=0.002)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holms_values_are_statsmodels(p_values: list[float]) -> None:
    from statsmodels.stats.multitest import multipletests

    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


@pytest.mark.parametrize("degrees", [1, 1.3, 2, 3, 7.5, 9.99, 10, 30, 263, 1e4, 1e7])
def test_students_t_is_scipys(degrees: float) -> None:
    from scipy import stats

    for t in (1e-9, 1e-3, 0.1, 0.5, 1, 1.7, 1.96, 2.5, 4, 8, 20):
        expected = 2 * stats.t.sf(t, degrees)
        assert intervals.two_sided_p(t, degrees) == pytest.approx(expected, rel=1e-6)
    for probability in (0.8, 0.95, 0.975, 0.995):
        expected = stats.t.ppf(probability, degrees)
        assert intervals.t_quantile(probability, degrees) == pytest.approx(expected, rel=1e-4)
    assert intervals.two_sided_p(0, degrees) == 1


def test_the_difference_is_surer_than_two_intervals_apart() -> None:
    a, b = drawn(500, 0.05)
    found: Difference = difference(a, b, np.arange(500))
    both = [estimate(x, np.arange(500)) for x in (a, b)]
    apart = math.hypot(*(one.high - one.low for one in both)) / 2
    assert found.high - found.low < apart
    assert found.detectable < 0.5 * found.detectable_unpaired
