"""From conditions to position changes: skips bars in which no change is possible.

A rule first computes masks of 64 bars (``ga.backtest.simd.masks``), one per condition. Most rules
then are two latches, whose states for 64 bars follow from one addition. Others jump to the next bar
at which an awaited condition holds.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ga.backtest.jit import kernel
from ga.backtest.simd.masks import BARS, CONDITIONS
from ga.backtest.simd.search import trailing_zeros

LONG: Final = 1
SHORT: Final = 2
LEAVE_LONG: Final = 4
LEAVE_SHORT: Final = 8
"""Flags of the four masks, in their order."""
ENTER: Final = LONG | SHORT

TILE: Final = 32 * BARS
"""Bars per block, which all lanes process before the next block, so that indicators stay in the
processor cache.
"""

_NONE, _ONE, _LAST = np.uint64(0), np.uint64(1), np.uint64(BARS - 1)
_ALL = ~_NONE


@kernel()
def room(bars):
    """Masks for ``bars``, plus one row."""
    return np.empty(((bars + BARS - 1) // BARS + 1, CONDITIONS), np.uint64)


@kernel()
def seal(words, bars):
    """Set every bit beyond ``bars``, so that a search always ends."""
    for which in range(CONDITIONS):
        words[(bars + BARS - 1) // BARS, which] = _ALL
    if bars % BARS:
        for which in range(CONDITIONS):
            words[bars // BARS, which] |= _ALL << np.uint64(bars % BARS)


@kernel(inline="always")
def flags(words, t):
    """The conditions that hold at bar t."""
    w, bit = t >> 6, np.uint64(t) & _LAST
    found = np.int64(0)
    for which in range(CONDITIONS):
        found |= np.int64((words[w, which] >> bit) & _ONE) << which
    return found


@kernel(inline="always")
def _any(words, w, wanted):
    found = _NONE
    for which in range(CONDITIONS):
        # All bits or none: no branch.
        found |= words[w, which] & np.uint64(-((wanted >> which) & 1))
    return found


@kernel(inline="always")
def seek(words, t, wanted):
    """First bar from t on at which any of the flags ``wanted`` holds."""
    w = t >> 6
    found = _any(words, w, wanted) & (_ALL << (np.uint64(t) & _LAST))
    while found == _NONE:
        w += 1
        found = _any(words, w, wanted)
    return (w << 6) + np.int64(trailing_zeros(found))


@kernel(inline="always")
def latch(on, off, before):
    """64 bars of a latch: set by ``on``, else cleared by ``off``, else as at the bar before.

    ``before`` is 1 if it was set before the first of them. In the addition, a carry is generated
    where ``on`` is set, and propagated where neither is set. The carry out of each bit is the state
    of the latch.
    """
    held = on | ~off
    half = held + on
    total = half + before
    carried = (half < held) | (total < half)
    return ((held ^ on ^ total) >> _ONE) | (np.uint64(carried) << _LAST)


@kernel()
def sides(words, start, stop, state, bars, targets):
    """Two latches over bars [start, stop), whose masks begin in words[0]: long from LONG until
    LEAVE_LONG or SHORT, short in the mirror case.

    Args:
        state: (3,) uint64 of this lane: whether it is long, whether short, and how many changes
            there are; zeros at first.
        bars, targets: one lane's, filled with the bars of the changes and 1, 0 or -1.
    """
    long_before, short_before, count = state[0], state[1], np.int64(state[2])
    for w in range((stop - start + BARS - 1) // BARS):
        enter_long, enter_short = words[w, 0], words[w, 1]
        long = latch(enter_long, enter_short | words[w, 2], long_before)
        short = latch(enter_short, enter_long | words[w, 3], short_before)
        changed = (long ^ (long << _ONE | long_before)) | (short ^ (short << _ONE | short_before))
        long_before, short_before = long >> _LAST, short >> _LAST
        begin = start + w * BARS
        while changed != _NONE:
            bit = trailing_zeros(changed)
            bars[count] = begin + np.int64(bit)
            is_long, is_short = np.int64((long >> bit) & _ONE), np.int64((short >> bit) & _ONE)
            targets[count] = float(is_long - is_short)
            count += 1
            changed &= changed - _ONE
    state[0], state[1], state[2] = long_before, short_before, np.uint64(count)


@kernel()
def settle(bars, targets, count):
    """Drop changes to a target that is held already; returns the number of remaining changes."""
    held, kept = 0.0, 0
    for i in range(count):
        t, target = bars[i], targets[i]
        bars[kept], targets[kept] = t, target
        kept += target != held
        held = target
    return kept
