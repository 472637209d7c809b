"""Donchian breakout: enter when the close leaves the channel of the bars before it.

Upper (lower) channel = highest high (lowest low) of the channel_period bars before t (Donchian,
1960). Enter beyond it by breakout_threshold, if volume >= volume_confirmation x its mean over those
bars (a market without volume always confirms). Out when the close falls back behind the broken
level within false_breakout_filter bars, or crosses the middle of the channel later. A position
against the trend (close against its mean over eight channel periods, or all bars while there are
fewer) is cut by trend_bias.
"""

from __future__ import annotations

import numpy as np

from ga.backtest.jit import kernel
from ga.backtest.panel import Panel
from ga.backtest.simd.masks import BARS, masks
from ga.families.base import Changes, Family, Floats, Gene
from ga.families.indicators import close_sums, highest, lowest, volume_sums
from ga.families.signals import (
    ENTER,
    LEAVE_LONG,
    LEAVE_SHORT,
    LONG,
    SHORT,
    TILE,
    flags,
    room,
    seal,
    seek,
)

_LONGEST = 30
_TREND = 8
"""Channel periods of the trend. At two, a close beyond the channel is always beyond the mean too,
and trend_bias would change nothing."""


@masks
def _conditions(close, volume, upper, lower, now, past, above, below, period, confirm):
    # Sums, not means: no division, and a market without volume compares 0 with 0.
    loud = volume * period >= (now - past) * confirm
    middle = upper + lower
    return (
        (close > upper * above) & loud,
        (close < lower * below) & loud,
        close * 2.0 < middle,
        close * 2.0 > middle,
    )


@kernel()
def _scan(close, volume, tops, bottoms, sums, volumes, genes, bars, targets, counts):
    end = close.size
    words = np.empty((counts.size, *room(end).shape), np.uint64)
    for begin in range(0, end, TILE):
        for lane in range(counts.size):
            period = int(genes[lane, 0])
            start = begin + 2 * period
            if start >= end:
                continue
            _conditions(
                close[start:],
                volume[start:],
                tops[period - 1, start - 1 :],
                bottoms[period - 1, start - 1 :],
                volumes[start:],
                volumes[start - period :],
                1.0 + genes[lane, 1],
                1.0 - genes[lane, 1],
                float(period),
                genes[lane, 2],
                words[lane, begin // BARS :],
                min(TILE, end - start),
            )
    for lane in range(counts.size):
        period = int(genes[lane, 0])
        counts[lane] = 0
        if 2 * period < end:
            seal(words[lane], end - 2 * period)
            counts[lane] = _trade(
                close,
                tops[period - 1],
                bottoms[period - 1],
                sums,
                words[lane],
                2 * period,
                int(genes[lane, 3]),
                genes[lane, 4],
                bars[lane],
                targets[lane],
            )


@kernel()
def _trade(close, upper, lower, sums, words, first, hold, bias, bars, targets):
    """Fill one lane, whose masks begin at bar ``first``; returns how many changes there are."""
    end = close.size
    count, wait, side = 0, ENTER, 0.0
    t = first + seek(words, 0, wait)
    while t < end:
        held, entered = 0.0, flags(words, t - first) & wait & ENTER
        if entered:
            side = 1.0 if entered & LONG else -1.0
            span = min(_TREND * (first // 2), t + 1)
            trend = close[t] * span - (sums[t + 1] - sums[t + 1 - span])
            held = side if side * trend > 0.0 else side * (1.0 - bias)
        was_flat = wait == ENTER
        wait = ENTER
        if held != 0.0:
            wait = SHORT | LEAVE_LONG if side > 0.0 else LONG | LEAVE_SHORT
        if not (was_flat and held == 0.0):
            bars[count] = t
            targets[count] = held
            count += 1
        start = t
        t = first + seek(words, t + 1 - first, wait)
        if held != 0.0:
            level = upper[start - 1] if side > 0.0 else lower[start - 1]
            for k in range(start + 1, min(t, start + hold + 1, end)):
                if side * (close[k] - level) < 0.0:
                    # A false breakout: out at once, whatever comes.
                    bars[count] = k
                    targets[count] = 0.0
                    count += 1
                    wait = ENTER
                    t = first + seek(words, k + 1 - first, wait)
                    break
    return count


def signals(panel: Panel, genes: Floats, out: Changes) -> None:
    """See ``ga.families.base.Signals``."""
    _scan(
        panel.close,
        panel.volume,
        panel.bank("highest high", lambda p: highest(p.high, _LONGEST)),
        panel.bank("lowest low", lambda p: lowest(p.low, _LONGEST)),
        close_sums(panel)[0],
        volume_sums(panel)[0],
        genes,
        out.bars,
        out.targets,
        out.counts,
    )


FAMILY = Family(
    name="donchian_breakout",
    kind="breakout",
    rule="long or short when the close leaves the previous channel by more than a buffer",
    genes=(
        Gene(name="channel_period", low=10, high=30, integer=True),
        Gene(name="breakout_threshold", low=0.001, high=0.02),
        Gene(name="volume_confirmation", low=1.0, high=3.0),
        Gene(name="false_breakout_filter", low=2, high=10, integer=True),
        Gene(name="trend_bias", low=0.0, high=1.0),
    ),
    signals=signals,
    history=8 * _LONGEST,
)
