"""Performance of final strategies on every part of the history, and a test for overfitting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ga.analysis.accounts import accounts_of, across
from ga.analysis.overfitting import (
    Edge,
    backtest_overfitting,
    deflated_sharpe,
    probabilistic_sharpe,
)
from ga.backtest.panel import panels
from ga.errors import InputError
from ga.evaluation.evaluate import measure
from ga.evaluation.folds import split
from ga.evaluation.scoring import sharpe
from ga.evaluation.settings import Settings
from ga.families import Changes, get_family
from ga.genome import Genome
from ga.market import Market
from ga.numerics import mean

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PARTS = ("in-sample", "out-of-sample", "hold-out")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Statistics of one strategy on one asset over one range of bars."""

    part: str
    fold: int
    """Index of the fold within the part, from 0."""
    asset: str
    start: int
    """Time of the first bar, nanoseconds since the epoch, UTC; ``stop``: of the last one."""
    stop: int
    sharpe: float
    """Annualised, net of costs."""
    growth: float
    """Equity at the end over equity at the start."""
    max_drawdown: float
    trades: int
    exposure: float


@dataclass(frozen=True, kw_only=True)
class Performance:
    """Statistics of one strategy over all parts of the history."""

    genome: Genome
    measured: tuple[Measured, ...]

    def sharpe(self, part: str) -> float | None:
        """Mean annualised Sharpe ratio over a part's folds and assets; None if it has none."""
        return sharpe_of(self.measured, part)


def sharpe_of(measured: Sequence[Measured], part: str) -> float | None:
    """Mean annualised Sharpe ratio over a part's folds and assets; None if it has none."""
    found = [m.sharpe for m in measured if m.part == part]
    return mean(found) if found else None


def ranges(market: Market, settings: Settings) -> list[tuple[str, int, int, int]]:
    """(part, fold, start, stop) of every measured range of a *whole* market, in order of time."""
    seen = int(market.bars * (1.0 - settings.holdout))
    parts = split(seen, settings)
    found = [(PARTS[0], i, int(a), int(b)) for i, (a, b) in enumerate(parts.in_sample)]
    found += [(PARTS[1], i, int(a), int(b)) for i, (a, b) in enumerate(parts.out_of_sample)]
    if market.bars - seen >= 2:
        found.append((PARTS[2], 0, seen, market.bars))
    return sorted(found, key=lambda r: r[2])


def measure_performance(
    market: Market, settings: Settings, genomes: Sequence[Genome]
) -> list[Performance]:
    """Measure strategies on a whole market, including its hold-out."""
    stretches = ranges(market, settings)
    bounds = np.array([r[2:] for r in stretches], dtype=np.int64)
    found = []
    for genome in genomes:
        genes = np.array([genome.genes])
        statistics = measure(market, settings, genome.family, genes, bounds)[0]
        rows = measured_rows(market, stretches, statistics)
        found.append(Performance(genome=genome, measured=rows))
    return found


def measured_rows(
    market: Market, stretches: Sequence[tuple[str, int, int, int]], statistics: Floats
) -> tuple[Measured, ...]:
    """Statistics (A, F, 6) of one strategy over ``ranges`` as rows."""
    ratios = sharpe(statistics, market.bars_per_year)
    rows = []
    for at, (part, fold, start, stop) in enumerate(stretches):
        for asset, name in enumerate(market.assets):
            _, _, growth, worst, trades, exposure = statistics[asset, at].tolist()
            rows.append(
                Measured(
                    part=part,
                    fold=fold,
                    asset=name,
                    start=int(market.times[start]),
                    stop=int(market.times[stop - 1]),
                    sharpe=float(ratios[asset, at]),
                    growth=growth,
                    max_drawdown=worst,
                    trades=int(trades),
                    exposure=exposure,
                )
            )
    return tuple(rows)


def positions(market: Market, genome: Genome) -> Floats:
    """(T, A) target positions at the close of every bar, as fractions of equity from -1 to 1.

    Raises:
        InputError: the market is too short for the family.
    """
    family = get_family(genome.family)
    if market.bars <= family.history:
        raise InputError(
            f"market {market.name}: {market.bars} bars, {family.name} needs more than"
            f" {family.history}; give a longer history"
        )
    genes = np.array([genome.genes])
    out = np.empty((market.bars, len(market.assets)))
    for asset, panel in enumerate(panels(market)):
        changes = Changes.empty(1, market.bars)
        family.signals(panel, genes, changes)
        out[:, asset] = changes.positions(market.bars)[:, 0]
    return out


def equity(market: Market, settings: Settings, genome: Genome) -> Floats:
    """(T, A) equity at the close of every bar, one account per asset, starting at 1."""
    return accounts_of(market, settings, genome).equity


def portfolio_returns(market: Market, settings: Settings, genome: Genome) -> Floats:
    """(T,) mean over assets of the bar returns; 0 once an account is closed."""
    curves = equity(market, settings, genome)
    before = np.vstack([np.ones(curves.shape[1]), curves[:-1]])
    returns = np.divide(curves, before, out=np.ones_like(curves), where=before > 0.0) - 1.0
    return across(returns)


def test_for_edge(
    market: Market, settings: Settings, best: Genome, others: Sequence[Genome], trials: int
) -> Edge:
    """Test whether ``best`` has an edge beyond luck.

    Args:
        market: the whole market. best: the strategy with the best fitness of a run.
        others: a random sample of the tried strategies. trials: the number of all tried strategies.
    """
    stretches = ranges(market, settings)
    seen = np.zeros(market.bars, dtype=np.bool_)
    last = np.zeros(market.bars, dtype=np.bool_)
    for part, _, start, stop in stretches:
        (last if part == PARTS[2] else seen)[start:stop] = True
    own = portfolio_returns(market, settings, best)
    tried = [own, *(portfolio_returns(market, settings, g) for g in others if g != best)]
    table = np.column_stack([returns[seen] for returns in tried])
    # Strategies that never trade are neither good nor bad.
    table = table[:, table.any(axis=0)]
    return Edge(
        trials=trials,
        deflated=deflated_sharpe(own[seen], trials=trials),
        overfitting=backtest_overfitting(table),
        holdout_probability=probabilistic_sharpe(own[last]) if last.sum() > 2 else None,
    )
