"""Statistics of a portfolio, against pandas formulas and an account that the test keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ga.analysis import statistics
from ga.analysis.accounts import accounts_of, constant
from ga.analysis.benchmark import benchmarks, best_constant, report_of
from ga.analysis.holdout import PARTS, measure_performance, positions, ranges
from ga.analysis.periods import monthly_returns, rolling_sharpe, rolling_window
from ga.backtest.simulation import Costs
from ga.evaluation.settings import Settings
from ga.families import FAMILIES
from ga.operators import Purpose, keyed, random_genome
from ga.sources import synthetic

RETURNS = arrays(np.float64, st.integers(2, 200), elements=st.floats(-0.5, 0.5))


@pytest.fixture(scope="module")
def market():
    return synthetic(assets=2, bars=1500, seed=3)


@pytest.fixture(scope="module")
def genome():
    return random_genome(FAMILIES["bollinger_bands"], keyed(1, Purpose.AUDIT, 0, 0))


@given(RETURNS, st.floats(1.0, 10_000.0))
def test_cagr_and_volatility_equal_pandas(returns, per_year):
    series = pd.Series(returns)
    years = len(series) / per_year
    growth = np.exp(min(np.log1p(series).sum() / years, 700.0))
    assert statistics.cagr(returns, per_year) == pytest.approx(growth - 1.0, rel=1e-9, abs=1e-12)
    expected = series.std() * np.sqrt(per_year)
    assert statistics.volatility(returns, per_year) == pytest.approx(expected, abs=1e-9)


def test_cagr_of_total_loss_is_minus_one():
    assert statistics.cagr(np.array([0.1, -1.0, 0.0]), 252.0) == -1.0


@given(RETURNS)
def test_drawdown_equals_pandas(returns):
    curve = pd.concat([pd.Series([1.0]), (1.0 + pd.Series(returns)).cumprod()], ignore_index=True)
    cut = len(curve) // 2
    parts = [(1, cut + 1), (cut + 1, len(curve))] if cut else [(1, len(curve))]
    expected = 0.0
    for start, stop in parts:
        part = curve[start - 1 : stop]
        expected = max(expected, float((1.0 - part / part.cummax()).max()))
    found = statistics.max_drawdown(curve.to_numpy(), parts)
    assert found == pytest.approx(expected, abs=1e-12)


def kept(market, settings, genome):
    """Plain Python: equity, traded value and positions of one account for each asset."""
    targets = positions(market, genome)
    fee, slippage = settings.costs.fee, settings.costs.slippage
    equity = np.ones(targets.shape)
    traded, held = np.zeros(targets.shape), np.zeros(targets.shape)
    fills = np.zeros(targets.shape)
    for asset in range(targets.shape[1]):
        cash, units, before = 1.0, 0.0, 0.0
        for t in range(market.bars):
            price = market.open[asset, t]
            if t:
                if market.funding is not None:
                    cash -= units * price * market.funding[asset, t]
                if targets[t - 1, asset] != before:
                    before = targets[t - 1, asset]
                    change = before * (cash + units * price) / price - units
                    paid = price * (1 + slippage if change > 0 else 1 - slippage)
                    if change > 0:
                        change = min(change, max(cash, 0.0) / (paid * (1 + fee)))
                    cash -= change * paid + abs(change) * paid * fee
                    units += change
                    traded[t, asset], fills[t, asset] = abs(change) * price, 1
            equity[t, asset] = cash + units * market.close[asset, t]
            held[t, asset] = units
    return equity, traded, held, fills


def test_turnover_and_exposure_equal_plain_account(market, genome):
    settings = Settings()
    equity, traded, held, fills = kept(market, settings, genome)
    assert equity.min() > 0.0
    assert fills.sum() > 20
    frame = pd.DataFrame({"equity": equity.sum(axis=1), "traded": traded.sum(axis=1)})
    share = frame["traded"] / frame["equity"].shift(fill_value=2.0)
    curve = pd.Series(equity.mean(axis=1))
    returns = curve.pct_change().fillna(curve.iloc[0] - 1.0)
    found = report_of(market, settings, genome)
    for part in PARTS:
        parts = [(a, b) for name, _, a, b in ranges(market, settings) if name == part]
        bars = np.concatenate([np.arange(*one) for one in parts])
        one = found.parts[part]
        per_year = market.bars_per_year
        assert one.bars == len(bars)
        assert one.turnover == pytest.approx(share[bars].sum() / len(bars) * per_year, rel=1e-9)
        assert one.exposure == pytest.approx((held[bars] != 0).mean(), rel=1e-12)
        assert one.trades == fills[bars].sum()
        growth = (1 + returns[bars]).prod() ** (per_year / len(bars)) - 1
        assert one.cagr == pytest.approx(growth, rel=1e-9)
        assert one.volatility == pytest.approx(returns[bars].std() * per_year**0.5, rel=1e-9)


def test_sharpe_ratio_is_that_of_measured_folds(market, genome):
    settings = Settings()
    (performance,) = measure_performance(market, settings, [genome])
    found = report_of(market, settings, genome)
    assert found.measured == performance.measured
    for part in PARTS:
        assert found.parts[part].sharpe == performance.sharpe(part)


def test_round_trip_in_a_year_has_turnover_two():
    market = synthetic(assets=1, bars=400, seed=1)
    flat = np.full((1, 400), 100.0)
    market = replace(
        market, open=flat, high=flat.copy(), low=flat.copy(), close=flat.copy(), funding=None,
        times=market.times.copy(), volume=market.volume.copy(),
    )  # fmt: skip
    settings = Settings(costs=Costs(fee=0.0, slippage=0.0))
    held = constant(market, settings, 1.0)
    closed = np.zeros_like(held.traded)
    closed[1], closed[300] = 1.0, 1.0
    both = replace(held, traded=closed)
    assert statistics.turnover(both, [(0, 400)], 400.0) == pytest.approx(2.0)


@pytest.mark.parametrize("drift", [0.002, -0.002])
def test_best_constant_position_follows_the_drift(market, drift):
    trend = np.exp(drift * np.arange(market.bars))
    prices = {n: getattr(market, n) * trend for n in ("open", "high", "low", "close")}
    moved = replace(
        market, times=market.times.copy(), volume=market.volume.copy(), funding=None, **prices
    )
    best = best_constant(moved, Settings())
    assert best * drift > 0.0


def test_best_constant_position_uses_no_hold_out(market):
    settings = Settings()
    seen = int(market.bars * 0.8)
    prices = {n: getattr(market, n).copy() for n in ("open", "high", "low", "close")}
    for array in prices.values():
        array[:, seen:] *= np.exp(0.01 * np.arange(market.bars - seen))
    moved = replace(
        market, times=market.times.copy(), volume=market.volume.copy(), funding=None, **prices
    )
    still = replace(
        market, times=market.times.copy(), volume=market.volume.copy(), funding=None,
        **{n: getattr(market, n).copy() for n in prices},
    )  # fmt: skip
    assert best_constant(moved, settings) == best_constant(still, settings)
    one, two = (benchmarks(m, settings)[0].report.parts["hold-out"].cagr for m in (moved, still))
    assert one > two


def test_constant_position_is_best_of_all_tried(market):
    settings = Settings()
    best = best_constant(market, settings)
    by_position = {}
    for step in range(-10, 11):
        curves = constant(market, settings, step / 10).equity
        ratios = []
        for part, _, start, stop in ranges(market, settings):
            if part == PARTS[0]:
                for asset in range(2):
                    changes = pd.Series(curves[:, asset]).pct_change()[start:stop]
                    ratios.append(changes.mean() / changes.std() if changes.std() > 0 else 0.0)
        by_position[step / 10] = np.mean(ratios)
    assert by_position[best] == pytest.approx(max(by_position.values()), rel=1e-9)


def test_buy_and_hold_pays_the_costs(market):
    settings = Settings(costs=Costs(fee=0.01, slippage=0.0))
    free = constant(replace(market, times=market.times.copy(), funding=None, **{
        n: getattr(market, n).copy() for n in ("open", "high", "low", "close", "volume")
    }), settings, 1.0)  # fmt: skip
    expected = market.close[:, -1] / market.open[:, 1] / 1.01
    np.testing.assert_allclose(free.equity[-1], expected, rtol=1e-12)
    assert free.fills.sum() == 2


@example(np.array([0.375, 0.0, 2e-6]), 2)
@given(RETURNS, st.integers(2, 50))
def test_rolling_sharpe_equals_pandas(returns, window):
    rolling = pd.Series(returns).rolling(window)
    spread = np.array([part.std() for part in rolling])
    average = np.array([part.mean() for part in rolling])
    found = rolling_sharpe(returns, window, 252.0)
    assert np.isnan(found[: window - 1]).all()
    moved = spread > 1e-6
    moved[: window - 1] = False
    expected = average[moved] / spread[moved] * 252.0**0.5
    np.testing.assert_allclose(found[moved], expected, rtol=1e-9, atol=1e-9)


def test_rolling_window_is_half_year_or_quarter():
    assert rolling_window(10_000, 252.0) == 126
    assert rolling_window(200, 252.0) == 50
    assert rolling_window(5, 252.0) == 2


def test_monthly_returns_equal_pandas(market, genome):
    curve = accounts_of(market, Settings(), genome).curve
    series = pd.Series(curve, index=pd.DatetimeIndex(market.times))
    last = series.resample("ME").last()
    expected = last / last.shift(fill_value=1.0) - 1.0
    found = monthly_returns(market.times, curve)
    assert list(found) == [(when.year, when.month) for when in expected.index]
    np.testing.assert_allclose(list(found.values()), expected.to_numpy(), rtol=1e-12)
    whole = np.prod([1.0 + value for value in found.values()])
    assert whole == pytest.approx(curve[-1], rel=1e-12)
