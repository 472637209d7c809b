"""Many accounts, the fast way: from fill to fill instead of from bar to bar.

Between two fills equity is cash + units x close, so the bars with a position are laid out in a row
and worked off in loops that the compiler turns into SIMD, without fastmath and in a fixed order.
Accounts that are closed go to ``ga.account``.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from ga.account import account, statistics, summary
from ga.jit import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PAD: Final = 8
"""Places behind the end of the adjusted close that ``lanes`` reads and does not use."""
_BLOCK: Final = 64
_CHAINS: Final = _BLOCK // 4
_LEAST: Final = 1e-60
"""Equity below which products of four are not safe: such accounts go the plain way."""


@kernel()
def _sums(equity: Floats, totals: Floats, squares: Floats) -> tuple[float, float]:
    """Sum of the returns of equity (64 k + 1,) and of their squares.

    In 16 chains that are added up in a fixed order: SIMD without fastmath, and the same bits
    whatever the vector width. Four returns share one division (Montgomery's trick): a division
    takes longer than all the rest.
    """
    totals[:] = 0.0
    squares[:] = 0.0
    now = equity[1:].reshape(-1, 4, _CHAINS)
    before = equity[:-1].reshape(-1, 4, _CHAINS)
    for k in range(now.shape[0]):
        for j in range(_CHAINS):
            a, b, c, d = before[k, 0, j], before[k, 1, j], before[k, 2, j], before[k, 3, j]
            ab, cd = a * b, c * d
            inverse = 1.0 / (ab * cd)
            of_ab, of_cd = cd * inverse, ab * inverse
            first, second = (now[k, 0, j] - a) * (b * of_ab), (now[k, 1, j] - b) * (a * of_ab)
            third, fourth = (now[k, 2, j] - c) * (d * of_cd), (now[k, 3, j] - d) * (c * of_cd)
            totals[j] += (first + second) + (third + fourth)
            squares[j] += (first * first + second * second) + (third * third + fourth * fourth)
    total = square = 0.0
    for j in range(_CHAINS):
        total += totals[j]
        square += squares[j]
    return total, square


@kernel()
def _drawdown(equity: Floats) -> tuple[float, float]:
    """Largest drawdown of equity (64 k + 1,), as a fraction, and the smallest value below a
    peak."""
    peak = floor = lowest = equity[0]
    ratio = 1.0
    blocks = equity[1:].reshape(-1, _BLOCK)
    for k in range(blocks.shape[0]):
        outside = 0
        for j in range(_BLOCK):
            now = blocks[k, j]
            outside += (1 if now > peak else 0) + (1 if now < floor else 0)
        if outside == 0:
            continue
        # A new peak or a deeper drawdown lies in this block.
        for j in range(_BLOCK):
            now = blocks[k, j]
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


def _hold_eight(_typing_context, row, _k, adjusted, _t, cash, units):
    """row[k : k + 8] = cash + units * adjusted[t : t + 8] as one vector: numba makes SIMD of long
    loops only, and positions are often held for few bars."""

    def codegen(context, builder, signature, args):
        vector = ir.VectorType(ir.DoubleType(), PAD)

        def place(array, index):
            data = context.make_array(signature.args[array])(context, builder, args[array]).data
            return builder.bitcast(builder.gep(data, [args[index]]), vector.as_pointer())

        def spread(value):
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, _ZERO)
            mask = ir.Constant(ir.VectorType(ir.IntType(32), PAD), [0] * PAD)
            return builder.shuffle_vector(one, one, mask)

        close = builder.load(place(2, 3), align=8)
        equity = builder.fadd(spread(args[4]), builder.fmul(spread(args[5]), close))
        builder.store(equity, place(0, 1), align=8)
        return context.get_dummy_value()

    return types.void(row, types.int64, adjusted, types.int64, cash, units), codegen


_ZERO: Final = ir.Constant(ir.IntType(32), 0)
_eight: Any = intrinsic(_hold_eight)


@kernel(inline="always")
def _hold(
    row: Floats, m: int, adjusted: Floats, start: int, stop: int, cash: float, units: float
) -> None:
    """Lay out the equity of bars [start, stop) from row[m] on; what is beyond is written over."""
    k = m
    for t in range(start, stop, PAD):
        _eight(row, k, adjusted, t, cash, units)
        k += PAD


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

    Without branches, since nobody can predict whether a fill buys or sells, and with as few steps
    as can be from the cash and units before to those after, since fills wait for each other.
    """
    change = target * inverse * (cash + units * (price - due)) - units
    owned = cash - units * due
    affordable = (owned if owned > 0.0 else 0.0) * (inverse / bought)
    change = affordable if affordable < change else change
    dear, cheap = change * (price * bought - due), change * (price * sold - due)
    # The dearer of both is what a buy pays and what a sale does not bring in.
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
    """Fill ``out`` (6,) for bars [start, stop) of an account that stands as given before ``event``,
    its bars before ``at`` done.

    Equity at the close of t is cash + units * adjusted[t]: cash has the funding paid so far added
    back, and the adjusted close has it taken off.

    Returns:
        False if the account was closed on the way; the next event, cash and units at the end.
    """
    row = scratch[0]
    bought, sold = (1.0 + slippage) * (1.0 + fee), (1.0 - slippage) * (1.0 - fee)
    # Before the fold only what it begins with counts.
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
            # Of flat bars only the first has a return that is not zero.
            row[m] = cash
            m += 1
    if units != 0.0:
        _hold(row, m, adjusted, at, stop, cash, units)
        m += stop - at
        exposed += stop - at
    last = row[m - 1]
    # Filled up with bars in which nothing happens.
    padded = (m - 1 + _BLOCK - 1) // _BLOCK * _BLOCK + 1
    row[m:padded] = last
    worst, lowest = _drawdown(row[:padded])
    if lowest <= _LEAST:
        return False, event, cash, units
    total, squares = _sums(row[:padded], scratch[1, :_CHAINS], scratch[2, :_CHAINS])
    summary(out, stop - start, total, squares, row[0], last, worst, trades, exposed)
    return True, event, cash, units


@kernel()
def lanes(
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
    """Fill ``out`` (L, F, 6) for accounts (L,); see ``ga.backtest.measure``."""
    scratch = np.empty((3, close.size + _BLOCK + PAD + 2))
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
