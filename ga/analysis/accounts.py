"""Accounts of a strategy or of a constant position over a whole market, bar by bar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ga.backtest import simulation
from ga.backtest.panel import Panel, panels
from ga.evaluation.settings import Settings
from ga.families import Changes, get_family
from ga.genome import Genome
from ga.market import Market
from ga.numerics import totals

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """One account for each asset, each beginning with 1; together they are the portfolio.

    Nothing is moved from one account to another, so the portfolio's equity is their mean.
    """

    equity: Floats
    """(T, A) equity at the close of every bar."""
    exposed: NDArray[np.bool_]
    """(T, A) whether a position is held at the close."""
    traded: Floats
    """(T, A) value of what is bought or sold in a bar, at its open."""
    fills: Floats
    """(T, A) 1 in bars with a fill, else 0."""

    @cached_property
    def curve(self) -> Floats:
        """(T,) equity of the portfolio: the mean of the accounts."""
        return across(self.equity)

    @cached_property
    def returns(self) -> Floats:
        """(T,) returns of the portfolio for each bar; 0 once all accounts are closed."""
        before = np.concatenate([np.ones(1), self.curve[:-1]])
        ratio = np.divide(self.curve, before, out=np.ones_like(before), where=before > 0.0)
        return np.asarray(ratio - 1.0, dtype=np.float64)


def across(table: Floats) -> Floats:
    """(T,) means over the assets of (T, A)."""
    return np.asarray(totals(np.ascontiguousarray(table.T)) / table.shape[1])


def accounts_of(market: Market, settings: Settings, genome: Genome) -> Accounts:
    """Accounts that follow the signals of a genome."""
    genes = np.array([genome.genes])

    def signals(panel: Panel, changes: Changes) -> None:
        get_family(genome.family).signals(panel, genes, changes)

    return _accounts(market, settings, signals)


def constant(market: Market, settings: Settings, position: float) -> Accounts:
    """Accounts that open a position at the second bar and hold it, without rebalancing."""

    def signals(panel: Panel, changes: Changes) -> None:
        changes.put(0, np.full(panel.bars, position))

    return _accounts(market, settings, signals)


def _accounts(
    market: Market, settings: Settings, signals: Callable[[Panel, Changes], None]
) -> Accounts:
    shape = (market.bars, len(market.assets))
    equity, traded, fills = np.empty(shape), np.empty(shape), np.empty(shape)
    exposed = np.empty(shape, dtype=np.bool_)
    for asset, panel in enumerate(panels(market)):
        changes = Changes.empty(1, market.bars)
        signals(panel, changes)
        found = simulation.trace(panel, changes, settings.costs)
        equity[:, asset], fills[:, asset] = found.equity, found.fills
        exposed[:, asset] = found.held != 0.0
        traded[:, asset] = np.abs(np.diff(found.held, prepend=0.0)) * panel.open * found.fills
    return Accounts(equity=equity, exposed=exposed, traded=traded, fills=fills)
