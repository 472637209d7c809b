"""Bounds against published tables, against scipy, and against their stated error rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from validation import statistics

RUNS = 10_000


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
def test_cycles_that_are_still_needed(k: int, n: int, more: int) -> None:
    assert statistics.more_successes(k, n, 0.95) == more


def test_bounds_without_assumptions() -> None:
    assert statistics.proven_content(5) == pytest.approx(0.549, abs=1e-3)
    assert statistics.proven_content(59) == pytest.approx(0.9505, abs=1e-4)
    assert statistics.zero_count_upper(1000) == pytest.approx(3 / 1000, rel=5e-3)


@pytest.mark.parametrize(("n", "k"), [(4, 5.144), (5, 4.203), (10, 2.911), (30, 2.220)])
def test_tolerance_factors_of_the_tables(n: int, k: float) -> None:
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


def _share_wrong(wrong: np.ndarray) -> float:
    return float(np.mean(wrong))


def test_error_rate_of_mean_bounds() -> None:
    """A bound at 95 % is on the wrong side in 5 % of repetitions (standard error 0.2 %)."""
    data = np.random.default_rng(1).normal(10, 3, (RUNS, 4))
    uppers = np.array([statistics.mean(row).upper for row in data.tolist()])
    assert _share_wrong(uppers < 10) == pytest.approx(0.05, abs=0.008)


def test_error_rate_of_speedup_bounds() -> None:
    noise = np.random.default_rng(2).normal(math.log(2), 0.14, (RUNS, 4))
    lowers = np.array([statistics.geometric_mean(row).lower for row in np.exp(noise).tolist()])
    assert _share_wrong(lowers > 2) == pytest.approx(0.05, abs=0.008)


def test_error_rate_of_tolerance_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    factor = statistics.tolerance_factor(5)
    monkeypatch.setattr(statistics, "tolerance_factor", lambda *_, **__: factor)
    data = np.random.default_rng(3).lognormal(2, 0.4, (RUNS, 5))
    truth = math.exp(2 + 0.4 * float(stats.norm.ppf(0.95)))
    bounds = np.array([statistics.tolerance_upper(row) for row in data.tolist()])
    assert _share_wrong(bounds < truth) == pytest.approx(0.05, abs=0.008)


@pytest.mark.parametrize("rate", [0.8, 0.95, 0.99])
def test_error_rate_of_rates(rate: float) -> None:
    """Exact bounds are conservative: wrong in at most 5 % of repetitions."""
    n = 60
    lowers = [statistics.proportion(k, n).lower for k in range(n + 1)]
    counts = np.random.default_rng(4).binomial(n, rate, RUNS)
    assert _share_wrong(np.array([lowers[k] for k in counts]) > rate) <= 0.058


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


def test_error_rate_of_trends() -> None:
    dice = np.random.default_rng(6)
    times = [2.0 * n for n in range(100)]
    wrong = [
        statistics.trend(times, dice.normal(0, 1, 100).tolist(), block=10).lower > 0
        for _ in range(400)
    ]
    assert sum(wrong) / 400 <= 0.08


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf]])
def test_no_bound_of_nothing_or_of_nan(bad: list[float]) -> None:
    for bound in (statistics.mean, statistics.geometric_mean, statistics.tolerance_upper):
        with pytest.raises(ValueError, match="value"):
            bound(bad)


def test_impossible_questions() -> None:
    for ask in (
        lambda: statistics.proportion(2, 1),
        lambda: statistics.proportion(0, 0),
        lambda: statistics.zero_count_upper(0),
        lambda: statistics.geometric_mean([0.0, 1.0]),
        lambda: statistics.tolerance_upper([0.0, 1.0]),
        lambda: statistics.tolerance_factor(1),
        lambda: statistics.more_successes(0, 0, 1.0),
        lambda: statistics.trend([1.0], [1.0], block=1),
        lambda: statistics.trend([1.0, 2.0], [1.0], block=1),
    ):
        with pytest.raises(ValueError, match=r".+"):
            ask()
