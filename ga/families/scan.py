"""From conditions to changes: how rules skip the bars in which nothing can happen.

A rule first writes one byte a bar, whose bits say which conditions hold there; such a loop has no
branches and becomes SIMD. Then it jumps from bar to bar that has a bit it waits for, eight at once.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ga.jit import kernel

LONG: Final = 1
SHORT: Final = 2
LEAVE_LONG: Final = 4
LEAVE_SHORT: Final = 8
ENTER: Final = LONG | SHORT

_ALL_BYTES = np.uint64(0x0101010101010101)


def _cttz(_typing_context, _word):
    def codegen(_context, builder, _signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), codegen


_trailing_zeros: Any = intrinsic(_cttz)


@kernel()
def blank(bars):
    """Bytes for ``bars`` and some more, in which every bit is set, so that a search always ends."""
    code = np.empty((bars // 8 + 2) * 8, np.uint8)
    code[bars:] = 255
    return code


@kernel(inline="always")
def seek(words, t, bits):
    """First bar from ``t`` on with any of ``bits`` in its byte; words are the bytes as uint64."""
    mask = np.uint64(bits) * _ALL_BYTES
    w, one = np.uint64(t) >> np.uint64(3), np.uint64(1)
    word = (words[w] & mask) >> ((np.uint64(t) & np.uint64(7)) << np.uint64(3))
    if word != 0:
        return t + np.int64(_trailing_zeros(word) >> np.uint64(3))
    w += one
    while words[w] & mask == 0:
        w += one
    return np.int64((w << np.uint64(3)) + (_trailing_zeros(words[w] & mask) >> np.uint64(3)))


@kernel()
def walk(code, first, end, bars, targets):
    """Fill one lane of whole positions that are entered flat and left by their own bit; returns how
    many changes there are."""
    words = code.view(np.uint64)
    count, wait = 0, ENTER
    t = seek(words, first, wait)
    while t < end:
        held = 0.0
        if wait != ENTER:
            wait = ENTER
        elif code[t] & LONG:
            held, wait = 1.0, LEAVE_LONG
        else:
            held, wait = -1.0, LEAVE_SHORT
        bars[count] = t
        targets[count] = held
        count += 1
        t = seek(words, t + 1, wait)
    return count
