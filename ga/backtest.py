"""Target positions -> fills -> costs -> performance.

A position decided at the close of bar t is filled at the open of bar t+1 at that open moved against
the trader by the slippage; the fee is a fraction of the traded value. A target is a fraction of
equity, valued at that open; it is traded when it changes, not rebalanced in between. Longs never
borrow: a buy is cut to the cash there is. Funding is charged on the position's value at each bar's
open. Once equity is not above zero the account is closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STATISTICS: Final = ("mean", "std", "growth", "max_drawdown", "trades", "exposure")
"""Columns of ``run``'s result: mean and standard deviation (n-1) of the bar returns, equity at the
end over equity at the start, largest drawdown as a fraction, number of fills, share of bars with a
position."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Trading costs as fractions of the traded value."""

    fee: float = 0.0002
    slippage: float = 0.0001


@njit(cache=True)
def run(
    open_: Floats,
    close: Floats,
    funding: Floats,
    targets: Floats,
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    fee: float,
    slippage: float,
) -> Floats:
    """Trade every lane and measure it over every fold.

    Args:
        open_, close: (T,) prices. funding: (T,) rates, or empty for none.
        targets: (T, L) positions decided at each close.
        starts, stops: (F,) folds as bar ranges [start, stop); a fold's first return is that of its
            first bar. The account runs through; folds only cut the statistics.

    Returns:
        (L, F, 6) with the columns of ``STATISTICS``. A closed account has growth 0 from there on.
    """
    bars, lanes = targets.shape
    folds = starts.size
    out = np.zeros((lanes, folds, 6))
    has_funding = funding.size == bars
    for lane in range(lanes):
        cash, units, equity = 1.0, 0.0, 1.0
        placed = 0.0
        fold = 0
        total = squares = peak = worst = base = 0.0
        fills = exposed = 0
        for t in range(bars):
            while fold < folds and t >= stops[fold]:
                fold += 1
            inside = fold < folds and t >= starts[fold]
            if inside and t == starts[fold]:
                total = squares = worst = 0.0
                peak = base = equity
                fills = exposed = 0
            if t > 0 and equity > 0.0:
                price = open_[t]
                if has_funding and units != 0.0:
                    cash -= units * price * funding[t]
                target = targets[t - 1, lane]
                if target != placed:
                    value = cash + units * price
                    change = target * value / price - units
                    if change > 0.0:
                        paid = price * (1.0 + slippage)
                        change = min(change, max(cash, 0.0) / (paid * (1.0 + fee)))
                    else:
                        paid = price * (1.0 - slippage)
                    cash -= change * paid + abs(change) * paid * fee
                    units += change
                    placed = target
                    fills += 1
            before = equity
            if equity > 0.0:
                equity = cash + units * close[t]
                if equity <= 0.0:
                    equity = cash = units = 0.0
            if inside:
                # A closed account has equity 0; one that is NaN must stay NaN, not look closed.
                change_ = equity / before - 1.0 if before > 0.0 else equity
                total += change_
                squares += change_ * change_
                peak = max(peak, equity)
                if peak > 0.0:
                    worst = max(worst, 1.0 - equity / peak)
                if units != 0.0:
                    exposed += 1
                if t == stops[fold] - 1:
                    n = stops[fold] - starts[fold]
                    mean = total / n
                    spread = max(squares - n * mean * mean, 0.0)
                    out[lane, fold, 0] = mean
                    out[lane, fold, 1] = np.sqrt(spread / (n - 1)) if n > 1 else 0.0
                    out[lane, fold, 2] = equity / base if base > 0.0 else 0.0
                    out[lane, fold, 3] = worst
                    out[lane, fold, 4] = fills
                    out[lane, fold, 5] = exposed / n
    return out
