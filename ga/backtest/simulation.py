"""Target positions -> fills -> costs -> performance.

A position decided at the close of bar t is filled at the open of bar t+1 at that open price,
worsened by the slippage; the fee is a fraction of the traded value. A target is a fraction of
equity, valued at that open. It is traded when it changes and not rebalanced in between. Longs never
borrow: a buy is limited to the available cash. Funding is charged on the position's value at each
bar's open, before that bar's fill. When equity is zero or below, the account is closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ga.backtest.kernel import simulate_lanes
from ga.backtest.panel import Panel
from ga.backtest.reference_kernel import account
from ga.backtest.simd.vectors import LANES
from ga.families.base import Changes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STATISTICS: Final = ("mean", "std", "growth", "max_drawdown", "trades", "exposure")
"""Columns of a result: mean and standard deviation (n-1) of the bar returns, final over initial
equity, largest drawdown as a fraction, number of fills, share of bars with a position.
"""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Trading costs as fractions of the traded value."""

    fee: float = 0.0002
    slippage: float = 0.0001


def funding_paid(panel: Panel) -> Floats:
    """(1, T) funding paid up to each bar by one unit that is held from the start."""
    if panel.funding is None:
        return np.zeros((1, panel.bars))
    return np.cumsum(panel.open * panel.funding)[None, :]


def _adjusted(panel: Panel) -> Floats:
    """(1, T + 8): the close less the funding paid so far."""
    found = panel.close[None, :] - panel.bank("funding paid", funding_paid)
    return np.pad(found, ((0, 0), (0, LANES)))


def simulate(panel: Panel, changes: Changes, ranges: Ints, costs: Costs, out: Floats) -> None:
    """Trade every lane and measure it over every fold.

    Args:
        ranges: (F, 2) folds as bar ranges [start, stop), increasing, not overlapping; a fold's
            first return is that of its first bar. A fold begins with the position that the rule
            holds there. A closed account stays closed until the fold's end.
        out: (L, F, 6), filled with the columns of ``STATISTICS``.
    """
    simulate_lanes(
        panel.open,
        panel.bank("inverse open", lambda p: 1.0 / p.open[None, :])[0],
        panel.close,
        panel.bank("adjusted close", _adjusted)[0],
        panel.bank("funding paid", funding_paid)[0],
        changes.bars,
        changes.targets,
        changes.counts,
        ranges,
        costs.fee,
        costs.slippage,
        out,
    )


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One account on one asset, bar by bar; each array is (T,)."""

    equity: Floats
    """Equity at the close."""
    held: Floats
    """Units held at the close."""
    fills: Floats
    """1 in bars with a fill, else 0."""


def trace(panel: Panel, changes: Changes, costs: Costs) -> Trace:
    """The account of the first lane, bar by bar."""
    count = changes.counts[0]
    found: tuple[Floats, Floats, Floats] = account(
        panel.open,
        panel.close,
        panel.bank("funding paid", funding_paid)[0],
        changes.bars[0, :count],
        changes.targets[0, :count],
        costs.fee,
        costs.slippage,
    )
    return Trace(equity=found[0], held=found[1], fills=found[2])


def curve(panel: Panel, changes: Changes, costs: Costs) -> Floats:
    """(T,) equity at every close of the first lane, bar by bar."""
    return trace(panel, changes, costs).equity
