"""Nadaraya-Watson: the slope of a causal kernel regression of the close.

Estimate at t = sum_i K(i / h) close_{t-i} / sum_i K(i / h) over the past only (Nadaraya, 1964;
Watson, 1964), h = bandwidth; K is Gaussian, cut at 3 h, for kernel_type < 0.5, else Epanechnikov's.
Slope = relative change of the estimate over h bars; signal = (1 - smoothing) x slope + smoothing x
the slope h bars before. Long above trend_threshold, short below its negative, out when the signal
changes sign. The threshold is multiplied by 1 - volatility_adaptation + volatility_adaptation x
(mean absolute change of the close over 50 bars / over 250 bars).
"""

from __future__ import annotations

import numpy as np

from ga.backtest.jit import kernel
from ga.backtest.panel import Panel
from ga.backtest.simd.masks import masks
from ga.families.base import Changes, Family, Floats, Gene
from ga.families.indicators import path_sums
from ga.families.signals import TILE, room, sides
from ga.numerics import exp_of

_SHORTEST, _LONGEST = 5, 40
_FAST, _SLOW = 50, 250


@kernel()
def estimates(close: Floats) -> Floats:
    """(2 P, T): Gaussian rows, then Epanechnikov rows, for every bandwidth; NaN before the window
    is full.
    """
    rows = _LONGEST - _SHORTEST + 1
    out = np.full((2 * rows, close.size), np.nan)
    for row in range(2 * rows):
        h = _SHORTEST + row % rows
        gaussian = row < rows
        taps = 3 * h + 1 if gaussian else h
        total = 0.0
        line = out[row]
        line[taps - 1 :] = 0.0
        for i in range(taps):
            u = i / h
            weight = exp_of(-0.5 * u * u) if gaussian else 1.0 - u * u
            total += weight
            for t in range(taps - 1, close.size):
                line[t] += weight * close[t - i]
        for t in range(taps - 1, close.size):
            line[t] /= total
    return out


@kernel()
def slopes(lines: Floats) -> Floats:
    """(2 P, T) relative changes of the estimates over their bandwidth; NaN before."""
    out = np.full(lines.shape, np.nan)
    rows = lines.shape[0] // 2
    for row in range(lines.shape[0]):
        h = _SHORTEST + row % rows
        for t in range(h, lines.shape[1]):
            out[row, t] = lines[row, t] / lines[row, t - h] - 1.0
    return out


def _activity(panel: Panel) -> Floats:
    """(1, T) mean absolute change over 50 bars against 250; 1 where nothing moved or before."""
    sums = path_sums(panel)[0]
    out = np.ones((1, panel.bars))
    if panel.bars >= _SLOW:
        fast = (sums[_SLOW:] - sums[_SLOW - _FAST : -_FAST]) / _FAST
        slow = (sums[_SLOW:] - sums[:-_SLOW]) / _SLOW
        out[0, _SLOW - 1 :] = np.divide(fast, slow, out=np.ones_like(fast), where=slow > 0.0)
    return out


@masks
def _conditions(slope, before, activity, now, past, fixed, moving):
    signal, need = slope * now + before * past, activity * moving + fixed
    return signal > need, signal < -need, signal < 0.0, signal > 0.0


@kernel()
def _scan(bank, activity, genes, bars, targets, counts):
    rows, end = bank.shape[0] // 2, bank.shape[1]
    words, state = room(TILE), np.zeros((counts.size, 3), np.uint64)
    for begin in range(0, end, TILE):
        for lane in range(counts.size):
            h, gaussian = int(genes[lane, 0]), genes[lane, 1] < 0.5
            start = begin + 5 * h + 1
            stop = min(start + TILE, end)
            if start >= stop:
                continue
            threshold, smoothing, adapt = genes[lane, 2], genes[lane, 3], genes[lane, 4]
            slope = bank[h - _SHORTEST if gaussian else rows + h - _SHORTEST]
            _conditions(
                slope[start:],
                slope[start - h :],
                activity[start:],
                1.0 - smoothing,
                smoothing,
                threshold * (1.0 - adapt),
                threshold * adapt,
                words,
                stop - start,
            )
            sides(words, start, stop, state[lane], bars[lane], targets[lane])
    for lane in range(counts.size):
        counts[lane] = state[lane, 2]


def signals(panel: Panel, genes: Floats, out: Changes) -> None:
    """See ``ga.families.base.Signals``."""
    bank = panel.bank("kernel slopes", lambda p: slopes(estimates(p.close)))
    activity = panel.bank("activity", _activity)[0]
    _scan(bank, activity, genes, out.bars, out.targets, out.counts)


FAMILY = Family(
    name="nadaraya_watson",
    kind="trend following",
    rule="the slope of a causal kernel regression, beyond a threshold that follows volatility",
    genes=(
        Gene(name="bandwidth", low=_SHORTEST, high=_LONGEST, integer=True),
        Gene(name="kernel_type", low=0.0, high=1.0),
        Gene(name="trend_threshold", low=0.002, high=0.08),
        Gene(name="smoothing", low=0.1, high=0.9),
        Gene(name="volatility_adaptation", low=0.0, high=1.0),
    ),
    signals=signals,
    history=5 * _LONGEST + 2,
)
