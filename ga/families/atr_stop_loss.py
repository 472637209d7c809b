"""ATR stops: enter on a volatility breakout, leave by a stop that trails.

ATR = Wilder's average true range (1978). Enter in the direction of a close-to-close move larger
than the ATR of the bar before. The stop starts stop_multiplier x ATR from the entry's close; once
the position has gained an ATR it follows the best close at trailing_multiplier x ATR. Size = the
mean of 1 and calm, weighted by volatility_adjustment, x size_atr_factor / 2, at most 1; calm = mean
true range of 100 bars / ATR, so that more is risked when ATR is low.
"""

from __future__ import annotations

import numpy as np

from ga.backtest.jit import kernel
from ga.backtest.panel import Panel
from ga.backtest.simd.masks import masks
from ga.backtest.simd.search import first_stopped
from ga.backtest.simd.vectors import LANES
from ga.families.base import Changes, Family, Floats, Gene
from ga.families.indicators import atr, prefix, true_range
from ga.families.signals import ENTER, LONG, flags, room, seal, seek

_SHORTEST, _LONGEST, _CALM = 10, 20, 100


@masks
def _conditions(close, before, ranges):
    move = close - before
    return move > ranges, move < -ranges


@kernel()
def _scan(close, bank, sums, genes, bars, targets, counts):
    end = bank.shape[1]
    words = room(end)
    for lane in range(counts.size):
        n, adjust = int(genes[lane, 0]), genes[lane, 4]
        ranges = bank[n - _SHORTEST]
        first = _CALM + n
        if first >= end:
            counts[lane] = 0
            continue
        _conditions(close[first:], close[first - 1 :], ranges[first - 1 :], words, end - first)
        seal(words, end - first)
        count = 0
        t = first + seek(words, 0, ENTER)
        while t < end:
            side = 1.0 if flags(words, t - first) & LONG else -1.0
            unit, price = ranges[t], side * close[t]
            calm = (sums[t + 1] - sums[t + 1 - _CALM]) / (_CALM * unit)
            size = min(1.0, 0.5 * genes[lane, 3] * ((1.0 - adjust) + adjust * calm))
            bars[lane, count] = t
            targets[lane, count] = side * size
            count += 1
            stop, distance = price - genes[lane, 1] * unit, genes[lane, 2] * unit
            t = first_stopped(close, t + 1, end, side, price, stop, price + unit, distance)
            if t < end:
                bars[lane, count] = t
                targets[lane, count] = 0.0
                count += 1
                t = first + seek(words, t + 1 - first, ENTER)
        counts[lane] = count


def _range_sums(panel: Panel) -> Floats:
    return np.asarray(prefix(true_range(panel.high, panel.low, panel.close)))


def signals(panel: Panel, genes: Floats, out: Changes) -> None:
    """See ``ga.families.base.Signals``."""
    bank = panel.bank("atr", lambda p: atr(p.high, p.low, p.close, _SHORTEST, _LONGEST))
    sums = panel.bank("range sums", _range_sums)[0]
    close = panel.bank("padded close", lambda p: np.pad(p.close, (0, LANES))[None, :])[0]
    _scan(close, bank, sums, genes, out.bars, out.targets, out.counts)


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
