"""The same EMA crossover, bars, fee and slippage in this engine, vectorbt and backtesting.py.

The rule: after the slow period, long while the fast EMA is above the slow one, else short; decided
at the close, filled at the next open; Sharpe ratio and drawdown at the end. The benchmark asserts
that all three trade equally, and only records their times.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from evolution_gate.benchmarks.rounds import timed
from evolution_gate.benchmarks.samples import Effort
from ga.backtest.simulation import STATISTICS, Costs
from ga.evaluation.evaluate import measure
from ga.evaluation.settings import Settings
from ga.families.base import Floats
from ga.market import Market

pytestmark = pytest.mark.filterwarnings("ignore")

with warnings.catch_warnings():
    # Both warn about their own dependencies.
    warnings.simplefilter("ignore")
    import vectorbt as vbt
    from backtesting import Backtest, Strategy

COSTS = Costs()


def pairs(count: int) -> list[tuple[int, int]]:
    """Fast and slow periods, all different."""
    every = [(fast, slow) for slow in range(18, 35) for fast in range(5, 16)]
    return [every[i * len(every) // count] for i in range(count)]


def ours(market: Market, periods: list[tuple[int, int]]) -> Floats:
    """Statistics (L, 6). A threshold of -1 is always met, so only the crossover matters."""
    genes = np.array([(fast, slow, -1.0, 1.0, 0.0) for fast, slow in periods])
    whole = np.array([[0, market.bars]])
    settings = Settings(costs=COSTS)
    return measure(market, settings, "ema_crossover", genes, whole)[:, 0, 0]


def with_vectorbt(market: Market, periods: list[tuple[int, int]]) -> Any:
    """The portfolio of all columns at once, with its statistics computed."""
    close = pd.Series(market.close[0], index=pd.to_datetime(market.times))
    # A single column is returned without its axis.
    shape = market.bars, len(periods)
    fast = vbt.MA.run(close, window=[f for f, _ in periods], ewm=True).ma.to_numpy().reshape(shape)
    slow = vbt.MA.run(close, window=[s for _, s in periods], ewm=True).ma.to_numpy().reshape(shape)
    targets = np.where(fast > slow, 1.0, -1.0)
    first = np.array([s for _, s in periods])
    targets[np.arange(market.bars)[:, None] < first] = 0.0
    before = np.vstack([np.zeros((2, len(periods))), targets])
    orders = np.where(before[1:-1] != before[:-2], before[1:-1], np.nan)
    open_ = market.open[0][:, None]
    portfolio = vbt.Portfolio.from_orders(
        pd.DataFrame(np.repeat(close.to_numpy()[:, None], len(periods), axis=1), close.index),
        size=orders,
        size_type="targetpercent",
        price=open_,
        val_price=open_,
        fees=COSTS.fee,
        slippage=COSTS.slippage,
        init_cash=1.0,
        freq="1h",
    )
    portfolio.sharpe_ratio()
    portfolio.max_drawdown()
    return portfolio


class Crossover(Strategy):  # type: ignore[misc]
    """The same rule for backtesting.py, with parameters as class attributes."""

    fast, slow = 5, 18

    def init(self) -> None:
        """Compute both averages over the whole history."""
        close = self.data.Close.s
        self.quick = self.I(lambda: close.ewm(span=self.fast, adjust=False).mean().to_numpy())
        self.calm = self.I(lambda: close.ewm(span=self.slow, adjust=False).mean().to_numpy())

    def next(self) -> None:
        """Reverse when the averages have crossed."""
        if len(self.data) <= self.slow:
            return
        if self.quick[-1] > self.calm[-1]:
            if not self.position.is_long:
                self.position.close()
                self.buy()
        elif not self.position.is_short:
            self.position.close()
            self.sell()


def with_backtesting(market: Market, fast: int, slow: int) -> Any:
    """The statistics of one pair; the library runs one at a time."""
    bars = pd.DataFrame(
        {
            "Open": market.open[0],
            "High": market.high[0],
            "Low": market.low[0],
            "Close": market.close[0],
            "Volume": market.volume[0],
        },
        index=pd.to_datetime(market.times),
    )
    # The library trades whole units only; with this much cash the rounding is negligible.
    test = Backtest(
        bars,
        Crossover,
        cash=1e9,
        commission=COSTS.fee,
        spread=COSTS.slippage,
        finalize_trades=True,
    )
    return test.run(fast=fast, slow=slow)


def _info(benchmark: BenchmarkFixture, label: str, backtests: int, note: str) -> None:
    benchmark.extra_info.update(
        suite="peers", label=label, unit="µs a backtest", scale=1e6 / backtests, note=note
    )


def test_this_engine(benchmark: BenchmarkFixture, plain_market: Market, effort: Effort) -> None:
    """All pairs in one call."""
    periods = pairs(effort.lanes)
    timed(benchmark, ours, plain_market, periods, rounds=effort.rounds, warm_up=2)
    _info(benchmark, "this engine", len(periods), f"{len(periods)} at once")


def test_vectorbt(benchmark: BenchmarkFixture, plain_market: Market, effort: Effort) -> None:
    """All pairs in one call; the equity at the end and every fill must be ours."""
    periods = pairs(effort.lanes)
    rounds = max(2, effort.rounds // 5)
    portfolio = timed(benchmark, with_vectorbt, plain_market, periods, rounds=rounds, warm_up=1)
    statistics = ours(plain_market, periods)
    growth, trades = (statistics[:, STATISTICS.index(n)] for n in ("growth", "trades"))
    np.testing.assert_allclose(portfolio.value().to_numpy()[-1], growth, rtol=1e-6)
    np.testing.assert_array_equal(portfolio.orders.count().to_numpy(), trades)
    note = f"{len(periods)} at once; same equity to 1e-6, same fills"
    _info(benchmark, f"vectorbt {vbt.__version__}", len(periods), note)


def test_backtesting_py(benchmark: BenchmarkFixture, plain_market: Market, effort: Effort) -> None:
    """One pair per call. It counts closed trades, and its sizing differs slightly."""
    import backtesting

    rounds = max(2, effort.rounds // 5)
    result = timed(benchmark, with_backtesting, plain_market, 9, 26, rounds=rounds, warm_up=1)
    growth, fills = ours(plain_market, [(9, 26)])[0, [2, 4]]
    assert abs(int(result["# Trades"]) - int(fills)) <= 1
    note = (
        f"one at a time; equity x {result['Equity Final [$]'] / 1e9:.3f}"
        f" against {growth:.3f} here, {result['# Trades']} trades against {fills:.0f}"
    )
    _info(benchmark, f"backtesting.py {backtesting.__version__}", 1, note)
