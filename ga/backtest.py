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
from numpy.typing import NDArray

from ga.families.base import Changes
from ga.jit import kernel
from ga.panel import Panel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BLOCK: Final = 64
STATISTICS: Final = ("mean", "std", "growth", "max_drawdown", "trades", "exposure")
"""Columns of a result: mean and standard deviation (n-1) of the bar returns, equity at the end over
equity at the start, largest drawdown as a fraction, number of fills, share of bars with a
position."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Trading costs as fractions of the traded value."""

    fee: float = 0.0002
    slippage: float = 0.0001


@kernel(inline="always")
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


@kernel()
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


@kernel()
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


@kernel(inline="always")
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


@kernel()
def _sums(equity: Floats, totals: Floats, squares: Floats) -> tuple[float, float]:
    """Sum of the returns of equity (64 k + 1,) and of their squares.

    In 64 chains that are added up in a fixed order: SIMD without fastmath, and the same bits
    whatever the vector width.
    """
    totals[:] = 0.0
    squares[:] = 0.0
    for k in range(0, equity.size - 1, _BLOCK):
        now, before = equity[k + 1 : k + _BLOCK + 1], equity[k : k + _BLOCK]
        for j in range(_BLOCK):
            change = (now[j] - before[j]) / before[j]
            totals[j] += change
            squares[j] += change * change
    total = square = 0.0
    for j in range(_BLOCK):
        total += totals[j]
        square += squares[j]
    return total, square


@kernel()
def _outside(equity: Floats, peak: float, floor: float) -> int:
    found = 0
    for t in range(equity.size):
        found += (1 if equity[t] > peak else 0) + (1 if equity[t] < floor else 0)
    return found


@kernel()
def _drawdown(equity: Floats) -> tuple[float, float]:
    """Largest drawdown, as a fraction, and the smallest value below a peak."""
    peak = floor = lowest = equity[0]
    ratio = 1.0
    for k in range(0, equity.size, _BLOCK):
        part = equity[k : k + _BLOCK]
        if _outside(part, peak, floor) == 0:
            continue
        # A new peak or a deeper drawdown lies in this block.
        for t in range(part.size):
            now = part[t]
            if now > peak:
                peak = now
                floor = peak * ratio
            elif now < floor:
                ratio = now / peak
                floor = now
                lowest = min(lowest, now)
    return 1.0 - ratio, lowest


@kernel()
def _closes(adjusted: Floats, cash: float, units: float) -> bool:
    """Whether equity is not above zero at some close."""
    found = 0
    for t in range(adjusted.size):
        found += 1 if cash + units * adjusted[t] <= 0.0 else 0
    return found > 0


@kernel(inline="always")
def _hold(
    row: Floats, m: int, adjusted: Floats, start: int, stop: int, cash: float, units: float
) -> None:
    """Lay out the equity of bars [start, stop) from row[m] on.

    Unsigned, because numba looks for negative places otherwise, which takes longer than the work.
    """
    k, t, end, one = np.uint64(m), np.uint64(start), np.uint64(stop), np.uint64(1)
    while t < end:
        row[k] = cash + units * adjusted[t]
        k += one
        t += one


@kernel()
def _fold(
    open_: Floats,
    inverse: Floats,
    adjusted: Floats,
    paid: Floats,
    bars: NDArray[np.int32],
    targets: Floats,
    event: int,
    at: int,
    cash: float,
    units: float,
    start: int,
    stop: int,
    fee: float,
    slippage: float,
    scratch: Floats,
    out: Floats,
) -> tuple[bool, int, float, float]:
    """Fill ``out`` (6,) for bars [start, stop) of an account that stands as given before ``event``,
    its bars before ``at`` done.

    Equity at the close of t is cash + units * adjusted[t]: cash has the funding paid so far added
    back, and the adjusted close has it taken off.

    Returns:
        False if the account was closed on the way; the next event, cash and units at the end.
    """
    row = scratch[0]
    dear, cheap = 1.0 + slippage, 1.0 - slippage
    bought, sold = dear * (1.0 + fee), cheap * (1.0 - fee)
    most = 1.0 / bought
    trades = exposed = 0.0
    m = 0
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
                return False, event, cash, units
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
    last = row[m - 1]
    worst, lowest = _drawdown(row[:m])
    if lowest <= 0.0:
        return False, event, cash, units
    # Filled up with bars in which nothing happens.
    padded = (m - 1 + _BLOCK - 1) // _BLOCK * _BLOCK + 1
    row[m:padded] = last
    total, squares = _sums(row[:padded], scratch[1, :_BLOCK], scratch[2, :_BLOCK])
    _summary(out, stop - start, total, squares, row[0], last, worst, trades, exposed)
    return True, event, cash, units


@kernel()
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
    scratch = np.empty((3, close.size + _BLOCK + 2))
    for lane in range(counts.size):
        when, what = bars[lane, : counts[lane]], targets[lane, : counts[lane]]
        event = at = 0
        cash, units = 1.0, 0.0
        flat, sound = 0, True
        for fold in range(starts.size):
            start, stop = starts[fold], stops[fold]
            # The last event before the fold after which the account was flat: nothing before it
            # counts, since all that follows scales with the equity it begins with.
            first = event
            while first < when.size and when[first] + 1 < start:
                first += 1
            begin, least = first, event if sound else flat
            while begin > least and what[begin - 1] != 0.0:
                begin -= 1
            if begin == 0 or what[begin - 1] == 0.0:
                cash, units, at, event, flat, sound = 1.0, 0.0, 0, begin, begin, True
            done = False
            if sound:
                done, event, cash, units = _fold(
                    open_,
                    inverse,
                    adjusted,
                    paid,
                    when,
                    what,
                    event,
                    at,
                    cash,
                    units,
                    start,
                    stop,
                    fee,
                    slippage,
                    scratch,
                    out[lane, fold],
                )
                at = stop
            if not done:
                sound = False
                equity, held, fills = account(
                    open_, close, paid, when[flat:], what[flat:], fee, slippage
                )
                part = slice(fold, fold + 1)
                statistics(equity, held, fills, starts[part], stops[part], out[lane, part])


def funding_paid(panel: Panel) -> Floats:
    """(1, T) funding that one unit held from the start has paid up to each bar."""
    if panel.funding is None:
        return np.zeros((1, panel.bars))
    return np.cumsum(panel.open * panel.funding)[None, :]


def _adjusted(panel: Panel) -> Floats:
    """(1, T): see ``_fold``."""
    return panel.close[None, :] - panel.bank("funding paid", funding_paid)


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
