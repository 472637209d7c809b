"""Each family's kernel, the backtest, and the whole evaluation, at 10,000 bars on one core.

Nanoseconds are for one bar of one genome.
"""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.rounds import timed
from benchmarks.samples import Effort
from ga import backtest
from ga.backtest import Costs
from ga.families import FAMILIES
from ga.fitness import Settings, evaluate, fold_ranges
from ga.genome import Genome
from ga.market import Market
from ga.variation import Purpose, keyed, random_genome

UNIT = "ns/bar"


def genomes(family: str, count: int) -> list[Genome]:
    """Random genomes of one family, always the same."""
    return [
        random_genome(FAMILIES[family], keyed(1, Purpose.AUDIT, 0, index)) for index in range(count)
    ]


def _info(benchmark: BenchmarkFixture, label: str, cells: int) -> None:
    benchmark.extra_info.update(suite="kernels", label=label, unit=UNIT, scale=1e9 / cells)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_signals(benchmark: BenchmarkFixture, market: Market, effort: Effort, family: str) -> None:
    """Target positions alone."""
    genes = np.array([g.genes for g in genomes(family, effort.lanes)])
    prices = (market.open[0], market.high[0], market.low[0], market.close[0], market.volume[0])
    kernel = FAMILIES[family].kernel
    targets = timed(benchmark, kernel, *prices, genes, rounds=effort.rounds, warm_up=2)
    assert targets.shape == (market.bars, effort.lanes)
    _info(benchmark, f"signals: {family}", targets.size)


def test_backtest(benchmark: BenchmarkFixture, market: Market, effort: Effort) -> None:
    """Fills, costs and statistics of given positions."""
    genes = np.array([g.genes for g in genomes("ema_crossover", effort.lanes)])
    prices = (market.open[0], market.high[0], market.low[0], market.close[0], market.volume[0])
    targets = FAMILIES["ema_crossover"].kernel(*prices, genes)
    starts, stops = fold_ranges(market.bars, Settings())
    costs = Costs()
    nothing = np.empty(0)
    args = (prices[0], prices[3], nothing, targets, starts, stops, costs.fee, costs.slippage)
    timed(benchmark, backtest.run, *args, rounds=effort.rounds, warm_up=2)
    _info(benchmark, "backtest", targets.size)


@pytest.mark.parametrize("family", [*FAMILIES, "all families"])
def test_evaluate(benchmark: BenchmarkFixture, market: Market, effort: Effort, family: str) -> None:
    """From genomes to outcomes: what a worker does with a batch."""
    names = list(FAMILIES) if family == "all families" else [family]
    group = [g for name in names for g in genomes(name, effort.lanes // len(names))]
    outcomes = timed(
        benchmark, evaluate, market, Settings(), group, rounds=effort.rounds, warm_up=2
    )
    assert all(o.error is None for o in outcomes)
    _info(benchmark, f"evaluate: {family}", market.bars * len(group))
