"""Bounds against published tables, against scipy, and against their stated error rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from validation import statistics


@pytest.mark.parametrize(("n", "lower"), [(59, 0.9505), (58, 0.9497), (5, 0.5493), (1, 0.05)])
def test_rates_without_failure(n: int, lower: float) -> None:
    assert statistics.proportion(n, n).lower == pytest.approx(lower, abs=1e-4)
    assert statistics.proportion(n, n).upper == 1


@given(n=st.integers(1, 300), data=st.data())
def test_rates_agree_with_scipy(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    rate = statistics.proportion(k, n)
    # The two-sided interval at 90 % has the one-sided bounds at 95 %.
    exact = stats.binomtest(k, n).proportion_ci(confidence_level=0.90, method="exact")
    assert rate.lower == pytest.approx(exact.low, abs=1e-9)
    assert rate.upper == pytest.approx(exact.high, abs=1e-9)


@pytest.mark.parametrize(("k", "n", "more"), [(0, 0, 59), (59, 59, 0), (58, 58, 1), (0, 1, 92)])
def test_needed_cycles(k: int, n: int, more: int) -> None:
    assert statistics.successes_needed(k, n, 0.95) == more


def test_nonparametric_bounds() -> None:
    assert statistics.proven_content(5) == pytest.approx(0.549, abs=1e-3)
    assert statistics.proven_content(59) == pytest.approx(0.9505, abs=1e-4)
    assert statistics.zero_count_upper(1000) == pytest.approx(3 / 1000, rel=5e-3)


@pytest.mark.parametrize(("n", "k"), [(4, 5.144), (5, 4.203), (10, 2.911), (30, 2.220)])
def test_tolerance_factors_equal_published_tables(n: int, k: float) -> None:
    """Hahn and Meeker, Statistical Intervals, table A.12d: one-sided, 95 % / 95 %."""
    assert statistics.tolerance_factor(n) == pytest.approx(k, abs=2e-3)


def test_geometric_mean_is_symmetric() -> None:
    gain = statistics.geometric_mean([2.0, 2.5, 3.0])
    loss = statistics.geometric_mean([1 / 2.0, 1 / 2.5, 1 / 3.0])
    assert gain.point == pytest.approx(1 / loss.point)
    assert gain.lower == pytest.approx(1 / loss.upper)


def test_one_value_bounds_nothing() -> None:
    assert statistics.mean([3.0]).upper == math.inf
    assert statistics.geometric_mean([3.0]).lower == 0


def test_trend_finds_a_slope_and_ignores_a_step() -> None:
    times = [2.0 * n for n in range(150)]
    noise = np.random.default_rng(5).normal(0, 1, 150)
    climbing = statistics.trend(
        times, [0.5 * t + e for t, e in zip(times, noise, strict=True)], block=10
    )
    assert climbing.point == pytest.approx(0.5, abs=0.02)
    assert 0.45 < climbing.lower < climbing.point < climbing.upper < 0.55
    stepped = [(100.0 if t > 200 else 0.0) + e for t, e in zip(times, noise, strict=True)]
    assert statistics.trend(times, stepped, block=10).lower < 0.1


@given(seed=st.integers(0, 10**6), count=st.integers(3, 60))
def test_slopes_agree_with_scipy(seed: int, count: int) -> None:
    dice = np.random.default_rng(seed)
    x, y = np.cumsum(dice.uniform(0.1, 1, count)), dice.normal(0, 1, count)
    ours, theirs = statistics.slope(x, y), stats.theilslopes(y, x, alpha=0.90)
    assert ours.point == pytest.approx(theirs.slope, abs=1e-12)
    # Ours allow for correlation, so they are never narrower.
    assert ours.lower <= theirs.low_slope + 1e-12
    assert ours.upper >= theirs.high_slope - 1e-12


def test_availability_of_two_days_without_outage() -> None:
    found = statistics.availability([], 48 * 3600, unseen_s=120)
    assert 86400 / found.between.lower == pytest.approx(1.5, abs=0.01)  # outages a day
    assert found.repair is None
    assert found.share.lower == pytest.approx(0.9979, abs=1e-4)
    assert statistics.availability([], 3600, unseen_s=120).share.lower < 0.95


@given(lengths=st.lists(st.floats(1, 1e4), max_size=8), hours=st.floats(10, 1000))
def test_more_watching_is_exactly_enough(lengths: list[float], hours: float) -> None:
    watched = 3600 * hours + sum(lengths)
    now = statistics.availability(lengths, watched, unseen_s=120)
    assert now.share.lower <= now.observed <= now.share.upper
    more = statistics.more_watching(lengths, watched, 0.99, unseen_s=120)
    then = statistics.availability(lengths, watched + more, unseen_s=120).share.lower
    assert then >= 0.99 - 1e-9
    assert more == 0 or then == pytest.approx(0.99)


@given(data=st.data())
def test_values_needed_is_exactly_enough(data: st.DataObject) -> None:
    """As many more values with the same mean and spread move the bound, one less does not."""
    count = data.draw(st.integers(3, 10))
    spread = data.draw(st.floats(0.05, 0.3))
    values = [1 + spread * (-1) ** n for n in range(count)]
    more = statistics.values_needed(values, 0.95, above=True)
    if more is None:
        assert float(np.mean(values)) <= 0.95 or spread > 0.2
        return
    deviation = float(np.std(values, ddof=1))

    def lower(n: int) -> float:
        return float(np.mean(values)) - stats.t.ppf(0.95, n - 1) * deviation / math.sqrt(n)

    assert lower(count + more) >= 0.95 - 1e-12
    assert more == 1 or lower(count + more - 1) < 0.95


def test_unreachable_target_has_no_forecast() -> None:
    assert statistics.values_needed([1.0, 1.2], 2.0, above=True) is None
    assert statistics.values_needed([1.0], 0.5, above=True) is None
    assert statistics.more_for_tolerance([100.0, 140.0], 120.0) is None
    durations = np.log([9.0, 40.0, 12.0])
    more = statistics.more_for_tolerance([9.0, 40.0, 12.0], 120.0)
    assert more is not None

    def bound(count: int) -> float:
        return float(durations.mean() + statistics.tolerance_factor(count) * durations.std(ddof=1))

    assert bound(3 + more) < math.log(120) <= bound(2 + more)


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf]])
def test_bounds_refuse_empty_or_nan_values(bad: list[float]) -> None:
    for bound in (statistics.mean, statistics.geometric_mean, statistics.tolerance_upper):
        with pytest.raises(ValueError, match="value"):
            bound(bad)


def test_impossible_arguments_are_refused() -> None:
    for ask in (
        lambda: statistics.proportion(2, 1),
        lambda: statistics.proportion(0, 0),
        lambda: statistics.zero_count_upper(0),
        lambda: statistics.geometric_mean([0.0, 1.0]),
        lambda: statistics.tolerance_upper([0.0, 1.0]),
        lambda: statistics.tolerance_factor(1),
        lambda: statistics.successes_needed(0, 0, 1.0),
        lambda: statistics.trend([1.0], [1.0], block=1),
        lambda: statistics.trend([1.0, 2.0], [1.0], block=1),
        lambda: statistics.availability([], 0.0, unseen_s=1.0),
        lambda: statistics.availability([10.0], 10.0, unseen_s=1.0),
        lambda: statistics.availability([-1.0], 10.0, unseen_s=1.0),
        lambda: statistics.availability([], math.nan, unseen_s=1.0),
    ):
        with pytest.raises(ValueError, match=r".+"):
            ask()
