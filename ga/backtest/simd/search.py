"""Searches for the end of a position along a series, eight bars at once."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ga.backtest.jit import kernel
from ga.backtest.simd.vectors import LANES, Lines

_EIGHT = ir.IntType(LANES)
_WORD = ir.IntType(64)


def _mask(lines: Lines, truths: Any) -> Any:
    """Eight booleans as the low bits of a word."""
    return lines.builder.zext(lines.builder.bitcast(truths, _EIGHT), _WORD)


def _below(_typing, series, t, factor, bound):
    """Mask of the values factor * series[t : t + 8] that are below bound or NaN."""

    def codegen(context, builder, signature, args):
        lines = Lines(context, builder, signature, args)
        values = builder.fmul(lines.load(0, args[1]), lines.spread(args[2]))
        # NaN counts as below.
        return _mask(lines, builder.fcmp_unordered("<", values, lines.spread(args[3])))

    return types.uint64(series, t, factor, bound), codegen


def _stopped(_typing, close, t, side, best, stop, armed, distance):
    """Mask of the prices side * close[t : t + 8] that are at their stop, and the best price so far.

    The stop of a bar is ``stop``; once the best price before the bar is at least ``armed``, it is
    ``distance`` below that price.
    """

    def codegen(context, builder, signature, args):
        lines = Lines(context, builder, signature, args)
        side, best, stop, armed, distance = (lines.spread(one) for one in args[2:])
        price = builder.fmul(lines.load(0, args[1]), side)
        highest = price
        for step in (1, 2, 4):
            # Lanes before the first have no earlier price among these eight.
            highest = lines.most(highest, lines.later(highest, highest, step, repeat=True), ">")
        before = lines.most(lines.later(highest, best, 1), best, ">")
        trail = builder.fsub(before, distance)
        trails = builder.fcmp_ordered(">=", before, armed)
        level = lines.most(builder.select(trails, trail, stop), stop, ">")
        # In every lane: the best of all eight and of earlier prices.
        last = builder.extract_element(highest, ir.Constant(ir.IntType(32), LANES - 1))
        now = builder.select(builder.fcmp_ordered(">", last, args[3]), last, args[3])
        mask = _mask(lines, builder.fcmp_ordered("<=", price, level))
        return context.make_tuple(builder, signature.return_type, (mask, now))

    returned = types.Tuple((types.uint64, types.float64))
    return returned(close, t, side, best, stop, armed, distance), codegen


def _cttz(_typing, _word):
    def codegen(_context, builder, _signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), codegen


_below_eight: Any = intrinsic(_below)
_stopped_eight: Any = intrinsic(_stopped)
trailing_zeros: Any = intrinsic(_cttz)


@kernel(inline="always")
def first_below(series, t, stop, factor, bound):
    """First bar of [t, stop) at which factor x series is below bound or NaN, else ``stop``.

    ``series`` must have eight more values behind ``stop``.
    """
    while t < stop:
        found = _below_eight(series, t, factor, bound)
        if found:
            return min(t + int(trailing_zeros(found)), stop)
        t += LANES
    return stop


@kernel(inline="always")
def first_stopped(close, t, end, side, best, stop, armed, distance):
    """First bar of [t, end) whose close is at its trailing stop, else ``end``; see ``_stopped``.

    ``close`` must have eight more values behind ``end``.
    """
    while t < end:
        found, best = _stopped_eight(close, t, side, best, stop, armed, distance)
        if found:
            return min(t + int(trailing_zeros(found)), end)
        t += LANES
    return end
