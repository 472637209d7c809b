"""Target positions -> fills -> costs -> performance.

A position decided at the close of bar t is filled at the open of bar t+1 at that open moved against
the trader by the slippage; the fee is a fraction of the traded value. A target is a fraction of
equity, valued at that open; it is traded when it changes, not rebalanced in between. Longs never
borrow: a buy is cut to the cash there is. Funding is charged on the position's value at each bar's
open, before that bar's fill. Once equity is not above zero the account is closed.

``measure`` is the fast way: between two fills equity is cash + units x close, so the bars with a
position are laid out in a row and worked off in loops that the compiler turns into SIMD, without
fastmath and in a fixed order. Accounts that are closed go to ``account``, the plain way, bar by
bar, which also gives the equity curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ga.families.base import Changes
from ga.panel import Panel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STATISTICS: Final = ("mean", "std", "growth", "max_drawdown", "trades", "exposure")
"""Columns of a result: mean and standard deviation (n-1) of the bar returns, equity at the end over
equity at the start, largest drawdown as a fraction, number of fills, share of bars with a
position."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Trading costs as fractions of the traded value."""

    fee: float = 0.0002
    slippage: float = 0.0001


@njit(cache=True, error_model="numpy", inline="always")
def _fill(
    cash: float, units: float, price: float, target: float, fee: float, slippage: float
) -> tuple[float, float]:
    change = target * (cash + units * price) / price - units
    if change > 0.0:
        paid = price * (1.0 + slippage)
        change = min(change, max(cash, 0.0) / (paid * (1.0 + fee)))
    else:
        paid = price * (1.0 - slippage)
    return cash - change * paid - abs(change) * paid * fee, units + change


@njit(cache=True, error_model="numpy")
def account(
    open_: Floats,
    close: Floats,
    paid: Floats,
    bars: NDArray[np.int32],
    targets: Floats,
    fee: float,
    slippage: float,
) -> tuple[Floats, Floats, Floats]:
    """One account, bar by bar.

    Args:
        open_, close: (T,) prices. paid: (T,) funding paid by one unit up to each bar.
        bars, targets: (E,) the changes of one lane.

    Returns:
        equity (T,) at each close, units held (T,), and 1 in bars (T,) with a fill.
    """
    equity, held = np.empty(close.size), np.zeros(close.size)
    fills = np.zeros(close.size)
    cash, units, value = 1.0, 0.0, 1.0
    event = 0
    for t in range(close.size):
        if t > 0 and value > 0.0:
            cash -= units * (paid[t] - paid[t - 1])
            if event < bars.size and bars[event] == t - 1:
                cash, units = _fill(cash, units, open_[t], targets[event], fee, slippage)
                fills[t] = 1.0
                event += 1
            value = cash + units * close[t]
            if value <= 0.0:
                value = cash = units = 0.0
        equity[t], held[t] = value, units
    return equity, held, fills


@njit(cache=True, error_model="numpy")
def statistics(
    equity: Floats, held: Floats, fills: Floats, starts: Ints, stops: Ints, out: Floats
) -> None:
    """Fill ``out`` (F, 6) from the curves of one account. A closed account has growth 0."""
    for fold in range(starts.size):
        start, n = starts[fold], stops[fold] - starts[fold]
        before = base = peak = equity[start - 1] if start > 0 else 1.0
        total = squares = worst = 0.0
        trades = exposed = 0.0
        for t in range(start, stops[fold]):
            # A closed account has equity 0; one that is NaN must stay NaN, not look closed.
            change = equity[t] / before - 1.0 if before != 0.0 else equity[t]
            total += change
            squares += change * change
            peak = max(peak, equity[t])
            if peak > 0.0:
                worst = max(worst, 1.0 - equity[t] / peak)
            trades += fills[t]
            exposed += 1.0 if held[t] != 0.0 else 0.0
            before = equity[t]
        _summary(out[fold], n, total, squares, base, before, worst, trades, exposed)


@njit(cache=True, error_model="numpy", inline="always")
def _summary(
    row: Floats,
    n: int,
    total: float,
    squares: float,
    base: float,
    last: float,
    worst: float,
    trades: float,
    exposed: float,
) -> None:
    mean = total / n
    row[0] = mean
    row[1] = np.sqrt(max(squares - n * mean * mean, 0.0) / (n - 1)) if n > 1 else 0.0
    row[2] = last / base if base > 0.0 else 0.0
    row[3] = worst
    row[4] = trades
    row[5] = exposed / n


@njit(cache=True, error_model="numpy")
def _returns(equity: Floats, half: int, first: Floats, second: Floats) -> None:
    """Of 2 x half returns, add those half a row apart: ``first`` (half,) their sums, ``second``
    those of their squares. One division for two returns."""
    for t in range(half):
        a, b = equity[t], equity[t + half]
        inverse = 1.0 / (a * b)
        x = (equity[t + 1] - a) * (b * inverse)
        y = (equity[t + half + 1] - b) * (a * inverse)
        first[t] = x + y
        second[t] = x * x + y * y


@njit(cache=True, error_model="numpy")
def _total(values: Floats, n: int) -> float:
    """Sum of n values, a multiple of four, in four interleaved chains."""
    a = b = c = d = 0.0
    for t in range(0, n, 4):
        a += values[t]
        b += values[t + 1]
        c += values[t + 2]
        d += values[t + 3]
    return (a + b) + (c + d)


@njit(cache=True, error_model="numpy")
def _drawdown(equity: Floats, n: int) -> tuple[float, float]:
    """Largest drawdown over equity[0..n], as a fraction, and the smallest value below a peak."""
    peak = floor = lowest = equity[0]
    ratio = 1.0
    for t in range(1, n + 1):
        now = equity[t]
        if now > peak:
            peak = now
            floor = peak * ratio
        elif now < floor:
            ratio = now / peak
            floor = now
            lowest = min(lowest, now)
    return 1.0 - ratio, lowest


@njit(cache=True, error_model="numpy")
def _closes(adjusted: Floats, cash: float, units: float) -> bool:
    """Whether equity is not above zero at some close."""
    found = 0
    for t in range(adjusted.size):
        found += 1 if cash + units * adjusted[t] <= 0.0 else 0
    return found > 0


@njit(cache=True, error_model="numpy", inline="always")
def _hold(
    row: Floats, m: int, adjusted: Floats, start: int, stop: int, cash: float, units: float
) -> None:
    """Lay out the equity of bars [start, stop) from row[m] on, in eights: what goes over the end is
    written over by what follows."""
    for t in range(start, stop, 8):
        a = cash + units * adjusted[t]
        b = cash + units * adjusted[t + 1]
        c = cash + units * adjusted[t + 2]
        d = cash + units * adjusted[t + 3]
        e = cash + units * adjusted[t + 4]
        f = cash + units * adjusted[t + 5]
        g = cash + units * adjusted[t + 6]
        h = cash + units * adjusted[t + 7]
        k = m + t - start
        row[k] = a
        row[k + 1] = b
        row[k + 2] = c
        row[k + 3] = d
        row[k + 4] = e
        row[k + 5] = f
        row[k + 6] = g
        row[k + 7] = h


@njit(cache=True, error_model="numpy")
def _fold(
    open_: Floats,
    inverse: Floats,
    adjusted: Floats,
    paid: Floats,
    bars: NDArray[np.int32],
    targets: Floats,
    event: int,
    start: int,
    stop: int,
    fee: float,
    slippage: float,
    scratch: Floats,
    out: Floats,
) -> bool:
    """Fill ``out`` (6,) for bars [start, stop) of an account flat before ``event``; False if
    the account was closed on the way."""
    row, first, second = scratch[0], scratch[1], scratch[2]
    # Equity at the close of t is cash + units * adjusted[t]: cash has the funding paid so far added
    # back, and the adjusted close has it taken off.
    cash, units = 1.0, 0.0
    dear, cheap = 1.0 + slippage, 1.0 - slippage
    bought, sold = dear * (1.0 + fee), cheap * (1.0 - fee)
    most = 1.0 / bought
    trades = exposed = 0.0
    at, m = 0, 0
    if start == 0:
        row[0] = 1.0
        m = 1
    while True:
        limit = stop if m else start
        until = limit
        if event < bars.size and bars[event] + 1 < limit:
            until = bars[event] + 1
        if units != 0.0 and until > at:
            if m:
                _hold(row, m, adjusted, at, until, cash, units)
                m += until - at
                exposed += until - at
            elif _closes(adjusted[at:until], cash, units):
                return False
        at = max(at, until)
        if until == limit:
            if m:
                break
            row[0] = cash + units * adjusted[start - 1]
            m = 1
            continue
        # Fill at the open of bar `until`.
        price, due, target = open_[until], paid[until], targets[event]
        cash -= units * due
        wanted = target * (cash + units * price) * inverse[until] if target != 0.0 else 0.0
        change = wanted - units
        if change > 0.0:
            affordable = max(cash, 0.0) * inverse[until] * most
            if change > affordable:
                change = affordable
                wanted = units + change
            cash -= change * price * bought
        else:
            cash -= change * price * sold
        units = wanted
        cash += units * due
        event += 1
        at = until
        if m:
            trades += 1.0
        if units == 0.0:
            if m:
                # Flat: only this bar's return is not zero.
                row[m] = cash
                m += 1
            at = until + 1
    last, n = row[m - 1], m - 1
    worst, lowest = _drawdown(row, n)
    if lowest <= 0.0:
        return False
    # Filled up with bars in which nothing happens.
    half = (n + 7) // 8 * 4
    row[m : 2 * half + 1] = last
    _returns(row, half, first, second)
    total, squares = _total(first, half), _total(second, half)
    _summary(out, stop - start, total, squares, row[0], last, worst, trades, exposed)
    return True


@njit(cache=True, error_model="numpy")
def _lanes(
    open_: Floats,
    inverse: Floats,
    close: Floats,
    adjusted: Floats,
    paid: Floats,
    bars: NDArray[np.int32],
    targets: Floats,
    counts: Ints,
    starts: Ints,
    stops: Ints,
    fee: float,
    slippage: float,
    out: Floats,
) -> None:
    scratch = np.empty((3, close.size + 16))
    for lane in range(counts.size):
        when, what = bars[lane, : counts[lane]], targets[lane, : counts[lane]]
        event = 0
        for fold in range(starts.size):
            while event < when.size and when[event] + 1 < starts[fold]:
                event += 1
            # Back to where the account was flat: everything after it scales with its equity.
            begin = event
            while begin > 0 and what[begin - 1] != 0.0:
                begin -= 1
            done = _fold(
                open_,
                inverse,
                adjusted,
                paid,
                when,
                what,
                begin,
                starts[fold],
                stops[fold],
                fee,
                slippage,
                scratch,
                out[lane, fold],
            )
            if not done:
                equity, held, fills = account(
                    open_, close, paid, when[begin:], what[begin:], fee, slippage
                )
                part = slice(fold, fold + 1)
                statistics(equity, held, fills, starts[part], stops[part], out[lane, part])


def funding_paid(panel: Panel) -> Floats:
    """(1, T) funding that one unit held from the start has paid up to each bar."""
    if panel.funding is None:
        return np.zeros((1, panel.bars))
    return np.cumsum(panel.open * panel.funding)[None, :]


def _adjusted(panel: Panel) -> Floats:
    """(1, T + 8): see ``_fold`` and ``_hold``."""
    table = panel.close[None, :] - panel.bank("funding paid", funding_paid)
    return np.pad(table, ((0, 0), (0, 8)))


def measure(
    panel: Panel, changes: Changes, starts: Ints, stops: Ints, costs: Costs, out: Floats
) -> None:
    """Trade every lane and measure it over every fold.

    Args:
        starts, stops: (F,) folds as bar ranges [start, stop), increasing, not overlapping; a fold's
            first return is that of its first bar. A fold begins with the position that the rule
            holds there; an account that is closed stays so until the fold's end.
        out: (L, F, 6), filled with the columns of ``STATISTICS``.
    """
    _lanes(
        panel.open,
        panel.bank("inverse open", lambda p: 1.0 / p.open[None, :])[0],
        panel.close,
        panel.bank("adjusted close", _adjusted)[0],
        panel.bank("funding paid", funding_paid)[0],
        changes.bars,
        changes.targets,
        changes.counts,
        starts,
        stops,
        costs.fee,
        costs.slippage,
        out,
    )


def curve(panel: Panel, changes: Changes, costs: Costs) -> Floats:
    """(T,) equity at every close of the first lane, bar by bar."""
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
    return found[0]
