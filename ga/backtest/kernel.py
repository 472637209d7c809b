"""Fast kernel for many accounts: iterates over fills instead of bars.

Between two fills equity is cash + units x close. So the bars with a position are copied to one row,
and loops in a fixed order process it; the compiler vectorises them without fastmath. Closed
accounts use ``ga.backtest.reference_kernel``.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ga.backtest.jit import kernel
from ga.backtest.reference_kernel import account, statistics, summary
from ga.backtest.simd.vectors import (
    BLOCK,
    CHAINS,
    LANES,
    add_returns,
    extremes,
    hold_eight,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_LEAST: Final = 1e-36
_MOST: Final = 1e36
"""Range of equity in which products of eight values do not overflow; other accounts use the
reference kernel.
"""


@kernel()
def _sums(equity: Floats, totals: Floats, squares: Floats) -> tuple[float, float]:
    """Sum of the returns of equity (64 k + 1,) and of their squares.

    In 16 chains that are added in a fixed order: SIMD without fastmath, with the same bits for any
    vector width.
    """
    totals[:] = 0.0
    squares[:] = 0.0
    for k in range(0, equity.size - 1, BLOCK):
        add_returns(equity, k, totals, squares)
    total = square = 0.0
    for j in range(CHAINS):
        total += totals[j]
        square += squares[j]
    return total, square


@kernel()
def _drawdown(equity: Floats, lows: Floats, highs: Floats) -> tuple[float, float, float]:
    """Largest drawdown of equity (64 k + 1,), as a fraction; the smallest and largest equity.

    First pass: from the minimum and maximum of each block of 64, against the peaks of earlier
    blocks. Second pass: only blocks that could contain a deeper drawdown.
    """
    peak = lowest = equity[0]
    ratio = 1.0
    count = equity.size // BLOCK
    for k in range(count):
        low, high = extremes(equity, 1 + k * BLOCK)
        lows[k], highs[k] = low, high
        if low < peak * ratio:
            ratio = low / peak
        lowest = low if low < lowest else lowest
        peak = high if high > peak else peak
    peak = equity[0]
    for k in range(count):
        top = highs[k] if highs[k] > peak else peak
        if lows[k] < top * ratio:
            for t in range(1 + k * BLOCK, 1 + (k + 1) * BLOCK):
                now = equity[t]
                if now > peak:
                    peak = now
                elif now < peak * ratio:
                    ratio = now / peak
        peak = top
    return 1.0 - ratio, lowest, peak


@kernel()
def _closes(adjusted: Floats, cash: float, units: float) -> bool:
    """Whether equity is zero or below at some close."""
    found = 0
    for t in range(adjusted.size):
        found += 1 if cash + units * adjusted[t] <= 0.0 else 0
    return found > 0


@kernel(inline="always")
def _hold(
    row: Floats, m: int, adjusted: Floats, start: int, stop: int, cash: float, units: float
) -> None:
    """Write the equity of bars [start, stop) from row[m] on; values behind them may be
    overwritten.
    """
    k = m
    for t in range(start, stop, LANES):
        hold_eight(row, k, adjusted, t, cash, units)
        k += LANES


@kernel(inline="always")
def _fill(
    cash: float,
    units: float,
    price: float,
    inverse: float,
    due: float,
    target: float,
    bought: float,
    sold: float,
) -> tuple[float, float]:
    """Cash and units after a fill at the open.

    Without branches, because buys and sells cannot be predicted. With as few dependent steps as
    possible, because each fill needs the cash and units of the fill before.
    """
    change = target * inverse * (cash + units * (price - due)) - units
    owned = cash - units * due
    affordable = (owned if owned > 0.0 else 0.0) * (inverse / bought)
    change = affordable if affordable < change else change
    dear, cheap = change * (price * bought - due), change * (price * sold - due)
    # The larger of both: the cash that a buy pays, and that a sale does not receive.
    return cash - (dear if dear > cheap else cheap), units + change


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
    """Fill ``out`` (6,) for bars [start, stop) of an account in the given state before ``event``;
    bars before ``at`` are processed.

    Equity at the close of t is cash + units * adjusted[t]: the funding paid so far is added back to
    the cash and subtracted from the adjusted close.

    Returns:
        False if the account was closed within the fold; the next event, cash and units at the end.
    """
    row = scratch[0]
    bought, sold = (1.0 + slippage) * (1.0 + fee), (1.0 - slippage) * (1.0 - fee)
    # Before the fold only the final state matters.
    while event < bars.size and bars[event] + 1 < start:
        t = bars[event] + 1
        if units != 0.0 and _closes(adjusted[at:t], cash, units):
            return False, event, cash, units
        cash, units = _fill(
            cash, units, open_[t], inverse[t], paid[t], targets[event], bought, sold
        )
        event += 1
        at = t
    if units != 0.0 and _closes(adjusted[at:start], cash, units):
        return False, event, cash, units
    row[0] = cash + units * adjusted[start - 1] if start > 0 else cash
    at, m, trades, exposed = start, 1, 0, 0
    while event < bars.size and bars[event] + 1 < stop:
        t = bars[event] + 1
        if units != 0.0:
            _hold(row, m, adjusted, at, t, cash, units)
            m += t - at
            exposed += t - at
        cash, units = _fill(
            cash, units, open_[t], inverse[t], paid[t], targets[event], bought, sold
        )
        event += 1
        trades += 1
        at = t
        if units == 0.0:
            # Of consecutive flat bars only the first can have a return other than zero.
            row[m] = cash
            m += 1
    if units != 0.0:
        _hold(row, m, adjusted, at, stop, cash, units)
        m += stop - at
        exposed += stop - at
    last = row[m - 1]
    # Padded with bars of constant equity.
    padded = (m - 1 + BLOCK - 1) // BLOCK * BLOCK + 1
    row[m:padded] = last
    worst, lowest, highest = _drawdown(row[:padded], scratch[1], scratch[2])
    if lowest <= _LEAST or highest >= _MOST:
        return False, event, cash, units
    total, squares = _sums(row[:padded], scratch[1, :CHAINS], scratch[2, :CHAINS])
    summary(out, stop - start, total, squares, row[0], last, worst, trades, exposed)
    return True, event, cash, units


@kernel()
def simulate_lanes(
    open_: Floats,
    inverse: Floats,
    close: Floats,
    adjusted: Floats,
    paid: Floats,
    bars: NDArray[np.int32],
    targets: Floats,
    counts: Ints,
    ranges: Ints,
    fee: float,
    slippage: float,
    out: Floats,
) -> None:
    """Fill ``out`` (L, F, 6) for accounts (L,); see ``ga.backtest.simulation.simulate``."""
    scratch = np.empty((3, close.size + BLOCK + LANES + 2))
    starts, stops = ranges[:, 0].copy(), ranges[:, 1].copy()
    for lane in range(counts.size):
        when, what = bars[lane, : counts[lane]], targets[lane, : counts[lane]]
        event = at = 0
        cash, units = 1.0, 0.0
        flat, sound = 0, True
        for fold in range(starts.size):
            start, stop = starts[fold], stops[fold]
            # Start at the last event before the fold after which the account was flat. Earlier
            # events have no effect, because later values are proportional to the equity at this
            # event.
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


@kernel()
def scores(statistics: Floats, bars_per_year: float, min_trades: int, out: Floats) -> None:
    """Fill ``out`` (L, 3): fitness, fills and largest drawdown over all assets and folds.

    Args:
        statistics: (A, L, F, 6), whose last axis is ``ga.backtest.simulation.STATISTICS``.
        min_trades: see ``ga.evaluation.settings.Settings``.
    """
    assets, lanes, folds, _ = statistics.shape
    for lane in range(lanes):
        total = fills = worst = 0.0
        for asset in range(assets):
            for fold in range(folds):
                row = statistics[asset, lane, fold]
                mean, std, trades = row[0], row[1], row[4]
                # NaN stays NaN: a broken evaluation must not score 0.
                ratio = 0.0 if std <= 1e-15 and mean == mean else mean / std
                if ratio > 0.0 and trades < min_trades:
                    ratio *= trades / min_trades
                total += ratio
                fills += trades
                worst = max(worst, row[3])
        # Adding zero turns -0.0 into 0.0. SQLite stores no negative zero, so a resumed run would
        # have other bits than its digest.
        out[lane, 0] = total / (assets * folds) * np.sqrt(bars_per_year) + 0.0
        out[lane, 1], out[lane, 2] = fills, worst
