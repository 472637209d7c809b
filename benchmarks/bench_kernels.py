"""Each family's signals, its accounting and whole evaluation, at 10,000 bars on one core.

Nanoseconds are for one bar of one genome. Banks are built before and reported apart.
"""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.rounds import timed
from benchmarks.samples import Effort
from ga import backtest
from ga.families import FAMILIES, Changes, usable_families
from ga.families.base import Floats
from ga.fitness import Settings, measure, split
from ga.market import Market
from ga.panel import Panel
from ga.variation import Purpose, keyed, scatter

UNIT = "ns/bar"
RULES = [name for name, family in FAMILIES.items() if not family.learned]
LEARNED = [name for name, family in FAMILIES.items() if family.learned]


def genes_of(family: str, count: int) -> Floats:
    """Random genes (count, G) of one family, always the same."""
    rule = FAMILIES[family]
    return scatter(rule, keyed(1, Purpose.AUDIT, 0).random((count, len(rule.genes))))


def _info(benchmark: BenchmarkFixture, label: str, unit: str, scale: float, note: str = "") -> None:
    benchmark.extra_info.update(suite="kernels", label=label, unit=unit, scale=scale, note=note)


@pytest.mark.parametrize("family", RULES)
def test_bank(benchmark: BenchmarkFixture, market: Market, effort: Effort, family: str) -> None:
    """Indicator banks of one family, from nothing, for one genome's signals."""
    panel, genes = Panel(market, 0), genes_of(family, 1)
    changes = Changes.empty(1, market.bars)

    def build() -> None:
        panel.forget()
        FAMILIES[family].signals(panel, genes, changes)

    timed(benchmark, build, rounds=effort.rounds, warm_up=2)
    _info(benchmark, f"bank: {family}", "ms a market", 1e3)


@pytest.mark.parametrize("family", RULES)
def test_signals(benchmark: BenchmarkFixture, market: Market, effort: Effort, family: str) -> None:
    """Changes of the target position alone."""
    panel, genes = Panel(market, 0), genes_of(family, effort.lanes)
    changes = Changes.empty(effort.lanes, market.bars)
    signals = FAMILIES[family].signals
    timed(benchmark, signals, panel, genes, changes, rounds=effort.rounds, warm_up=2)
    _info(benchmark, f"signals: {family}", UNIT, 1e9 / changes.targets.size)


@pytest.mark.parametrize("family", RULES)
def test_accounting(
    benchmark: BenchmarkFixture, market: Market, effort: Effort, family: str
) -> None:
    """Fills, costs and statistics of given changes over the folds."""
    panel, genes = Panel(market, 0), genes_of(family, effort.lanes)
    changes = Changes.empty(effort.lanes, market.bars)
    FAMILIES[family].signals(panel, genes, changes)
    ranges, settings = split(market.bars, Settings()).in_sample, Settings()
    out = np.empty((effort.lanes, len(ranges), len(backtest.STATISTICS)))
    args = (panel, changes, ranges[:, 0].copy(), ranges[:, 1].copy(), settings.costs, out)
    timed(benchmark, backtest.measure, *args, rounds=effort.rounds, warm_up=2)
    fills = out[..., 4].sum(axis=1).mean()
    note = f"{fills:.0f} fills, {out[..., 5].mean():.0%} of bars held"
    _info(benchmark, f"accounting: {family}", UNIT, 1e9 / changes.targets.size, note)


@pytest.mark.parametrize("family", RULES)
def test_evaluation(
    benchmark: BenchmarkFixture, market: Market, effort: Effort, family: str
) -> None:
    """Both, as a worker does them: all costs and statistics on."""
    genes, ranges = genes_of(family, effort.lanes), split(market.bars, Settings()).in_sample
    args = (market, Settings(), family, genes, ranges)
    timed(benchmark, measure, *args, rounds=effort.rounds, warm_up=2)
    _info(benchmark, f"evaluation: {family}", UNIT, 1e9 / (market.bars * effort.lanes))


@pytest.mark.parametrize("family", LEARNED)
def test_learned(benchmark: BenchmarkFixture, market: Market, effort: Effort, family: str) -> None:
    """One genome of a learned family, refits and all; random genomes, one a round."""
    usable_families(market, [family])
    ranges, settings = split(market.bars, Settings()).in_sample, Settings()
    every = iter(np.tile(genes_of(family, 30), (4, 1)))

    def one() -> None:
        measure(market, settings, family, next(every)[None], ranges)

    timed(benchmark, one, rounds=effort.rounds, warm_up=2)
    _info(benchmark, f"learned: {family}", "ms an evaluation", 1e3)
