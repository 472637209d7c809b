"""The backtest against vectorbt, against a slow re-implementation, and against lookahead."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ga.backtest import simulation
from ga.backtest.panel import Panel
from ga.backtest.simulation import Costs
from ga.families import Changes
from ga.market import Market
from ga.sources import synthetic

NONE = np.empty(0)
MEAN, STD, GROWTH, DRAWDOWN, TRADES, EXPOSURE = range(6)


def market_of(open_, close, funding=NONE) -> Market:
    rows = [np.asarray(x, dtype=np.float64)[None, :].copy() for x in (open_, close)]
    return Market(
        name="made",
        assets=("A",),
        times=np.arange(len(close), dtype=np.int64) * 3600 * 10**9,
        open=rows[0],
        high=np.maximum(*rows),
        low=np.minimum(*rows),
        close=rows[1],
        volume=np.zeros_like(rows[0]),
        funding=np.asarray(funding)[None, :].copy() if len(funding) else None,
    )


def run(open_, close, targets, *, funding=NONE, edges=None, fee=0.0, slippage=0.0):
    """Statistics (L, F, 6) of target positions (T, L)."""
    edges = np.array([0, len(close)] if edges is None else edges, dtype=np.int64)
    targets = np.asarray(targets, dtype=np.float64).reshape(len(close), -1)
    changes = Changes.empty(targets.shape[1], len(close))
    for lane in range(targets.shape[1]):
        changes.put(lane, targets[:, lane])
    out = np.empty((targets.shape[1], len(edges) - 1, 6))
    panel = Panel(market_of(open_, close, funding), 0)
    costs = Costs(fee=fee, slippage=slippage)
    simulation.simulate(panel, changes, np.stack([edges[:-1], edges[1:]], axis=1), costs, out)
    return out


def naive_folds(open_, close, funding, targets, edges, fee, slippage):
    """Every fold by itself: nothing that was closed before the account was last flat counts."""
    targets, rows = np.asarray(targets, dtype=np.float64), []
    for fold, start in enumerate(edges[:-1]):
        own = targets.copy()
        # The fill at the open of `start` was decided one bar before.
        at = max(start - 1, 0)
        while at > 0 and (targets[at - 1] != 0.0):
            at -= 1
        own[:at] = 0.0
        rows.append(naive(open_, close, funding, own, edges, fee, slippage)[fold])
    return np.array(rows)


def naive(open_, close, funding, targets, edges, fee, slippage):
    """One lane in plain Python, written from the module's docstring: an equity curve first,
    statistics after it."""
    cash, units, placed = 1.0, 0.0, 0.0
    equity, fills, held = [], [], []
    for t in range(len(close)):
        dead = bool(equity) and equity[-1] <= 0.0
        filled = False
        if t > 0 and not dead:
            if len(funding):
                cash -= funding[t] * units * open_[t]
            if targets[t - 1] != placed:
                placed, filled = targets[t - 1], True
                wanted = placed * (cash + units * open_[t]) / open_[t]
                if wanted > units:
                    paid = open_[t] * (1 + slippage)
                    affordable = max(cash, 0.0) / (paid * (1 + fee))
                    bought = min(wanted - units, affordable)
                    cash -= bought * paid * (1 + fee)
                    units += bought
                else:
                    sold = units - wanted
                    cash += sold * open_[t] * (1 - slippage) * (1 - fee)
                    units -= sold
        value = 0.0 if dead else cash + units * close[t]
        if value <= 0.0:
            value = cash = units = 0.0
        equity.append(value)
        fills.append(filled)
        held.append(units != 0.0)
    rows = []
    for start, stop in pairwise(edges):
        curve = np.array([equity[start - 1] if start else 1.0, *equity[start:stop]])
        with np.errstate(invalid="ignore", divide="ignore"):
            returns = np.where(curve[:-1] > 0, curve[1:] / curve[:-1] - 1.0, 0.0)
            peak = np.maximum.accumulate(curve)
            drawdown = np.where(peak > 0, 1.0 - curve / peak, 0.0)
        rows.append(
            [
                returns.mean(),
                returns.std(ddof=1) if stop - start > 1 else 0.0,
                curve[-1] / curve[0] if curve[0] > 0 else 0.0,
                drawdown.max(),
                sum(fills[start:stop]),
                np.mean(held[start:stop]),
            ]
        )
    return np.array(rows)


def random_targets(rng, bars, lanes, hold=6):
    """Longs, shorts, flat stretches, changes of size and reversals."""
    levels = rng.choice([-1.0, -0.6, -0.2, 0.0, 0.0, 0.3, 0.7, 1.0], size=(bars // hold + 1, lanes))
    return np.repeat(levels, hold, axis=0)[:bars]


@pytest.mark.slow
def test_backtest_equals_vectorbt():
    with warnings.catch_warnings():
        # Its imports and numba signatures warn on new versions of their own dependencies.
        warnings.simplefilter("ignore")
        import vectorbt as vbt

        market = synthetic(assets=1, bars=700, seed=11)
        open_, close = market.open[0], market.close[0]
        targets = random_targets(np.random.default_rng(3), 700, 60)
        shifted = np.vstack([np.zeros((2, 60)), targets])
        changed = shifted[1:-1] != shifted[:-2]
        orders = np.where(changed, shifted[1:-1], np.nan)
        portfolio = vbt.Portfolio.from_orders(
            pd.DataFrame(np.repeat(close[:, None], 60, axis=1)),
            size=orders,
            size_type="targetpercent",
            direction="both",
            price=open_[:, None],
            val_price=open_[:, None],
            fees=0.0007,
            slippage=0.0004,
            init_cash=1.0,
            freq="1h",
        )
        equity = portfolio.value().to_numpy()
        orders_done = portfolio.orders.count().to_numpy()
        drawdown = -portfolio.max_drawdown().to_numpy()
        returns = portfolio.returns().to_numpy()
    found = run(open_, close, targets, fee=0.0007, slippage=0.0004)[:, 0]
    assert (orders_done > 50).all()
    np.testing.assert_allclose(found[:, GROWTH], equity[-1], rtol=1e-9)
    np.testing.assert_array_equal(found[:, TRADES], orders_done)
    np.testing.assert_allclose(found[:, DRAWDOWN], drawdown, rtol=1e-9)
    np.testing.assert_allclose(found[:, MEAN], returns.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(found[:, STD], returns.std(axis=0, ddof=1), rtol=1e-9)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    bars=st.integers(5, 120),
    volatility=st.sampled_from([0.0, 0.01, 0.1, 0.4]),
    fee=st.sampled_from([0.0, 0.0005, 0.03]),
    slippage=st.sampled_from([0.0, 0.0005, 0.03]),
    funded=st.booleans(),
)
def test_backtest_equals_reference_implementation(seed, bars, volatility, fee, slippage, funded):
    rng = np.random.default_rng(seed)
    close = 50.0 * np.exp(np.cumsum(volatility * rng.standard_normal(bars)))
    open_ = close * np.exp(volatility * rng.standard_normal(bars))
    funding = rng.normal(0.0, 0.01, bars) if funded else NONE
    targets = random_targets(rng, bars, 5, hold=int(rng.integers(1, 5)))
    edges = np.unique(np.concatenate([[bars // 5], rng.integers(bars // 5, bars, 2), [bars]]))
    found = run(open_, close, targets, funding=funding, edges=edges, fee=fee, slippage=slippage)
    for lane in range(5):
        expected = naive_folds(open_, close, funding, targets[:, lane], edges, fee, slippage)
        # The kernel's one-pass spread cancels when returns are tiny: hence the absolute part.
        np.testing.assert_allclose(found[lane], expected, rtol=1e-9, atol=1e-9)


def test_bankrupt_account_matches_reference():
    """The random cases above do include accounts that are closed."""
    close = np.array([100.0, 100.0, 250.0, 90.0, 90.0])
    found = run(close, close, [-1.0] * 5, edges=[0, 5])
    assert found[0, 0, GROWTH] == 0.0
    assert found[0, 0, DRAWDOWN] == 1.0
    expected = naive(close, close, NONE, [-1.0] * 5, [0, 5], 0.0, 0.0)
    np.testing.assert_allclose(found[0], expected, rtol=1e-15)


def test_bankrupt_account_stays_closed_until_fold_end():
    close = np.array([100.0, 100.0, 250.0, 90.0, 90.0, 90.0, 45.0, 45.0])
    targets = [-1.0, -1.0, -1.0, 0.0, -1.0, -1.0, -1.0, -1.0]
    whole = run(close, close, targets)[0, 0]
    assert whole[GROWTH] == 0.0
    assert whole[TRADES] == 1
    # A fold of its own is not told of what happened before the rule was last flat.
    later = run(close, close, targets, edges=[0, 5, 8])[0, 1]
    assert later[GROWTH] == pytest.approx(1.5)


def test_orders_fill_at_next_open():
    open_ = np.array([10.0, 20.0, 40.0, 80.0])
    close = np.array([11.0, 22.0, 44.0, 88.0])
    found = run(open_, close, [1.0, 1.0, 0.0, 0.0])[0, 0]
    # Decided at the close of bar 0, bought at the open of bar 1 for 20; sold at that of bar 3.
    assert found[GROWTH] == pytest.approx(80.0 / 20.0)
    assert found[TRADES] == 2
    assert found[EXPOSURE] == 0.5
    # What is decided at the last close is never filled.
    assert run(open_, close, [0.0, 0.0, 0.0, 1.0])[0, 0, TRADES] == 0


def test_costs_are_charged_on_entry_and_exit():
    price = np.full(4, 100.0)
    found = run(price, price, [0.5, 0.0, 0.0, 0.0], fee=0.01, slippage=0.02)[0, 0]
    paid = 0.5 * 1.02 * 1.01
    got = 0.5 * 0.98 * 0.99
    assert found[GROWTH] == pytest.approx(1.0 - paid + got, abs=1e-15)
    found = run(price, price, [-0.5, 0.0, 0.0, 0.0], fee=0.01, slippage=0.02)[0, 0]
    assert found[GROWTH] == pytest.approx(1.0 + got - paid, abs=1e-15)


def test_long_positions_use_no_leverage():
    price = np.array([100.0, 100.0, 50.0])
    found = run(price, price, [1.0, 1.0, 1.0], fee=0.01)[0, 0]
    assert found[GROWTH] == pytest.approx(0.5 / 1.01)


def test_longs_pay_funding_and_shorts_receive_it():
    price, rate = np.full(4, 100.0), np.array([0.5, 0.5, 0.01, 0.01])
    # Nothing is held before the fill at the open of bar 1, so only bars 2 and 3 are charged.
    assert run(price, price, [0.5] * 4, funding=rate)[0, 0, GROWTH] == pytest.approx(0.99)
    assert run(price, price, [-0.5] * 4, funding=rate)[0, 0, GROWTH] == pytest.approx(1.01)
    assert run(price, price, [0.0] * 4, funding=rate)[0, 0, GROWTH] == 1.0


def test_folds_split_statistics_but_not_the_account(market):
    targets = random_targets(np.random.default_rng(0), 900, 8)
    open_, close = market.open[0], market.close[0]
    whole = run(open_, close, targets, fee=0.001)
    parts = run(open_, close, targets, edges=[0, 200, 500, 900], fee=0.001)
    np.testing.assert_allclose(parts[:, :, GROWTH].prod(axis=1), whole[:, 0, GROWTH], rtol=1e-12)
    assert (parts[:, :, TRADES].sum(axis=1) == whole[:, 0, TRADES]).all()
    weights = np.array([200, 300, 400]) / 900
    np.testing.assert_allclose(parts[:, :, MEAN] @ weights, whole[:, 0, MEAN], rtol=1e-9)


def _ratios(found, bars):
    mean, std = found[:, 0, MEAN], found[:, 0, STD]
    return mean / std * np.sqrt(bars)


def test_random_signals_earn_nothing_on_random_walk():
    bars, lanes = 3000, 400
    rng = np.random.default_rng(8)
    close = 100.0 * np.exp(np.cumsum(0.01 * rng.standard_normal(bars)))
    open_ = np.concatenate([[100.0], close[:-1]])
    targets = rng.choice([-1.0, 1.0], size=(bars, lanes))
    t_values = _ratios(run(open_, close, targets), bars)
    # Each is about standard normal; the mean of 400 lies within 4 standard errors of 0.
    assert abs(t_values.mean()) < 4.0 / np.sqrt(lanes)
    assert 0.8 < t_values.std() < 1.2


def test_signal_from_last_closed_bar_earns_nothing():
    """The sign of the same bar's return would be a money machine with lookahead."""
    bars = 4000
    rng = np.random.default_rng(9)
    steps = 0.01 * rng.standard_normal((bars, 60))
    t_same, t_next = [], []
    for lane in range(60):
        close = 100.0 * np.exp(np.cumsum(steps[:, lane]))
        open_ = np.concatenate([[100.0], close[:-1]])
        same = np.sign(close - open_)
        t_same.append(_ratios(run(open_, close, same), bars)[0])
        t_next.append(_ratios(run(open_, close, np.concatenate([same[1:], [0.0]])), bars)[0])
    assert abs(np.mean(t_same)) < 4.0 / np.sqrt(60)
    # The test has teeth: with tomorrow's sign the same account explodes.
    assert np.min(t_next) > 30.0


def test_lane_result_is_independent_of_batch(market):
    targets = random_targets(np.random.default_rng(1), 900, 9)
    args = (market.open[0], market.close[0])
    together = run(*args, targets, funding=market.funding[0], fee=0.001, slippage=0.001)
    for lane in range(9):
        alone = run(*args, targets[:, lane], funding=market.funding[0], fee=0.001, slippage=0.001)
        assert alone.tobytes() == together[lane : lane + 1].tobytes()
