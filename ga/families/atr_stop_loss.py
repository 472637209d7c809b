"""ATR stops: enter on a volatility breakout, leave by a stop that trails.

ATR = Wilder's average true range (1978). Enter in the direction of a close-to-close move larger
than the ATR of the bar before. The stop starts stop_multiplier x ATR from the entry's close; once
the position has gained an ATR it follows the best close at trailing_multiplier x ATR. Size = the
mean of 1 and calm, weighted by volatility_adjustment, x size_atr_factor / 2, at most 1; calm = mean
true range of 100 bars / ATR, so that more is risked when ATR is low.
"""

from __future__ import annotations

import numpy as np

from ga.families.base import Changes, Family, Floats, Gene
from ga.families.indicators import atr, prefix, true_range
from ga.families.scan import ENTER, LONG, SHORT, blank, seek
from ga.jit import kernel
from ga.panel import Panel

_SHORTEST, _LONGEST, _CALM = 10, 20, 100


@kernel()
def _conditions(close, before, ranges, code):
    for t in range(code.size):
        move = close[t] - before[t]
        code[t] = np.uint8(move > ranges[t]) * LONG | np.uint8(move < -ranges[t]) * SHORT


@kernel()
def _leave(close, t, side, stopping, trailing, unit):
    """The bar at whose close a position entered at t is stopped; the number of bars if never."""
    best = side * close[t]
    distance, armed = trailing * unit, best + unit
    stop = best - stopping * unit
    after = close[t + 1 :]
    for k in range(after.size):
        price = side * after[k]
        if price <= stop:
            return t + 1 + k
        # Without branches: new highs cannot be predicted.
        best = price if price > best else best
        trail = best - distance if best >= armed else stop
        stop = trail if trail > stop else stop
    return close.size


@kernel()
def _scan(close, bank, sums, genes, bars, targets, counts):
    end = close.size
    code = blank(end)
    words = code.view(np.uint64)
    for lane in range(genes.shape[0]):
        n, adjust = int(genes[lane, 0]), genes[lane, 4]
        ranges = bank[n - _SHORTEST]
        first = _CALM + n
        if first >= end:
            counts[lane] = 0
            continue
        _conditions(close[first:], close[first - 1 :], ranges[first - 1 :], code[first:end])
        count = 0
        t = seek(words, first, ENTER)
        while t < end:
            side = 1.0 if code[t] & LONG else -1.0
            calm = (sums[t + 1] - sums[t + 1 - _CALM]) / (_CALM * ranges[t])
            size = min(1.0, 0.5 * genes[lane, 3] * ((1.0 - adjust) + adjust * calm))
            bars[lane, count] = t
            targets[lane, count] = side * size
            count += 1
            t = _leave(close, t, side, genes[lane, 1], genes[lane, 2], ranges[t])
            if t < end:
                bars[lane, count] = t
                targets[lane, count] = 0.0
                count += 1
                t = seek(words, t + 1, ENTER)
        counts[lane] = count


def _range_sums(panel: Panel) -> Floats:
    return np.asarray(prefix(true_range(panel.high, panel.low, panel.close)))


def signals(panel: Panel, genes: Floats, out: Changes) -> None:
    """See ``ga.families.base.Signals``."""
    bank = panel.bank("atr", lambda p: atr(p.high, p.low, p.close, _SHORTEST, _LONGEST))
    sums = panel.bank("range sums", _range_sums)[0]
    _scan(panel.close, bank, sums, genes, out.bars, out.targets, out.counts)


FAMILY = Family(
    name="atr_stop_loss",
    kind="risk management",
    rule="follow a move beyond the ATR, out at a stop that trails",
    genes=(
        Gene(name="atr_period", low=_SHORTEST, high=_LONGEST, integer=True),
        Gene(name="stop_multiplier", low=1.2, high=2.5),
        Gene(name="trailing_multiplier", low=0.3, high=3.0),
        Gene(name="size_atr_factor", low=0.1, high=2.0),
        Gene(name="volatility_adjustment", low=0.0, high=1.0),
    ),
    signals=signals,
    history=_CALM + _LONGEST + 1,
)
