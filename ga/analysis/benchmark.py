"""Reports of strategies and of their benchmarks: the same market, bars, costs and statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ga.analysis.accounts import Accounts, accounts_of, constant
from ga.analysis.holdout import (
    PARTS,
    Measured,
    measure_performance,
    measured_rows,
    ranges,
    sharpe_of,
)
from ga.analysis.statistics import Statistics, statistics_of
from ga.backtest import simulation
from ga.backtest.panel import panels
from ga.evaluation.settings import Settings
from ga.families import Changes
from ga.genome import Genome
from ga.market import Market

BUY_AND_HOLD: Final = "buy and hold"
BEST_CONSTANT: Final = "constant position"
_STEPS: Final = 10
"""The positions that are tried as constant ones are the multiples of 1/10 from -1 to 1."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A strategy or a benchmark on a whole market."""

    accounts: Accounts
    measured: tuple[Measured, ...]
    """By part, fold and asset."""
    parts: Mapping[str, Statistics]
    """By the names in ``PARTS``; a part that a market lacks is missing."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A position that never changes."""

    name: str
    position: float
    """Target position in every asset, as a fraction of equity, from -1 (short) to 1 (long)."""
    report: Report


def report_of(market: Market, settings: Settings, genome: Genome) -> Report:
    """The report of a strategy."""
    (performance,) = measure_performance(market, settings, [genome])
    return _report(market, settings, accounts_of(market, settings, genome), performance.measured)


def benchmarks(market: Market, settings: Settings) -> tuple[Benchmark, ...]:
    """Buying and holding, and the best constant position.

    Both are opened at the second bar and held to the end without rebalancing, and pay the same
    costs and funding as a strategy. The best constant position is the one, equal for all assets,
    with the highest in-sample Sharpe ratio (mean over folds and assets, like the fitness). So
    long, short and no position are tried; the hold-out is not used for the choice.
    """
    best = best_constant(market, settings)
    return tuple(
        Benchmark(name=name, position=position, report=_constant(market, settings, position))
        for name, position in ((BUY_AND_HOLD, 1.0), (BEST_CONSTANT, best))
    )


def best_constant(market: Market, settings: Settings) -> float:
    """The constant position with the highest in-sample Sharpe ratio; the larger one of equals."""
    tried = [step / _STEPS for step in range(-_STEPS, _STEPS + 1)]
    rows = [_measured(market, settings, position) for position in tried]
    ratios = [sharpe_of(row, PARTS[0]) or 0.0 for row in rows]
    return max(zip(ratios, tried, strict=True))[1]


def _constant(market: Market, settings: Settings, position: float) -> Report:
    accounts = constant(market, settings, position)
    return _report(market, settings, accounts, _measured(market, settings, position))


def _measured(market: Market, settings: Settings, position: float) -> tuple[Measured, ...]:
    stretches = ranges(market, settings)
    bounds = np.array([r[2:] for r in stretches], dtype=np.int64)
    found = np.empty((len(market.assets), 1, len(bounds), len(simulation.STATISTICS)))
    for asset, panel in enumerate(panels(market)):
        changes = Changes.empty(1, market.bars)
        changes.put(0, np.full(market.bars, position))
        simulation.simulate(panel, changes, bounds, settings.costs, found[asset])
    return measured_rows(market, stretches, found[:, 0])


def _report(
    market: Market, settings: Settings, accounts: Accounts, measured: tuple[Measured, ...]
) -> Report:
    parts = {}
    stretches = ranges(market, settings)
    for part in PARTS:
        ratio = sharpe_of(measured, part)
        if ratio is not None:
            parts[part] = statistics_of(
                part,
                accounts,
                [(start, stop) for name, _, start, stop in stretches if name == part],
                sharpe=ratio,
                bars_per_year=market.bars_per_year,
            )
    return Report(accounts=accounts, measured=measured, parts=parts)
