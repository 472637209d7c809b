"""Bollinger bands: fade %B outside the bands, or trade the breakout out of a squeeze.

Bands = SMA +- multiplier x population standard deviation over lookback; %B = (close - lower) /
(upper - lower) = 1/2 + (close - SMA) / (2 multiplier deviations); BandWidth = (upper - lower) / SMA
(Bollinger, 2001). A squeeze is a bar whose BandWidth lay, one bar before, in the lowest `squeeze`
part of its range over the last 125 bars (the multiplier cancels out of that).
In a squeeze: long above %B = 1 + breakout_strength, short below -breakout_strength, out at the SMA.
Else: short above the upper band, long below the lower one, out at the SMA. The size is
position_scaling x |%B - 1/2|, at most 1.
"""

from __future__ import annotations

import numpy as np

from ga.backtest.jit import kernel
from ga.backtest.panel import Panel
from ga.backtest.simd.masks import masks
from ga.families.base import Changes, Family, Floats, Gene
from ga.families.indicators import deviation
from ga.families.signals import TILE, room, settle, sides

_SHORTEST, _LONGEST, _RANGE = 10, 40, 125


@kernel()
def bands(close: Floats) -> Floats:
    """(2 P, T) for every lookback: z = (close - SMA) / deviation, 0 where there is no band; and
    where the last bar's BandWidth lies in its range over 125 bars, 0..1, NaN before that.
    """
    mean, std = deviation(close, _SHORTEST, _LONGEST)
    rows = mean.shape[0]
    out = np.full((2 * rows, close.size), np.nan)
    # Positions of the smallest and largest widths still in the window, in order (a monotone deque).
    low, high = np.empty(close.size, np.int64), np.empty(close.size, np.int64)
    for row in range(rows):
        n = _SHORTEST + row
        width = std[row] / mean[row]
        low_at = low_end = high_at = high_end = 0
        for t in range(n - 1, close.size):
            if t >= n + _RANGE:
                span = width[high[high_at]] - width[low[low_at]]
                part = (width[t - 1] - width[low[low_at]]) / span if span > 0.0 else 0.0
                out[rows + row, t] = part
                flat = std[row, t] <= 1e-12 * mean[row, t]
                out[row, t] = 0.0 if flat else (close[t] - mean[row, t]) / std[row, t]
            while low_end > low_at and width[low[low_end - 1]] >= width[t]:
                low_end -= 1
            low[low_end] = t
            low_end += 1
            while high_end > high_at and width[high[high_end - 1]] <= width[t]:
                high_end -= 1
            high[high_end] = t
            high_end += 1
            if low[low_at] <= t - _RANGE:
                low_at += 1
            if high[high_at] <= t - _RANGE:
                high_at += 1
    return out


@masks
def _conditions(score, part, edge, beyond, squeeze):
    squeezed, calm = part <= squeeze, part > squeeze
    return (
        (squeezed & (score > beyond)) | (calm & (score > edge)),
        (squeezed & (score < -beyond)) | (calm & (score < -edge)),
        score <= 0.0,
        score >= 0.0,
    )


@kernel()
def _scan(bank, genes, bars, targets, counts):
    rows, end = bank.shape[0] // 2, bank.shape[1]
    words, state = room(TILE), np.zeros((counts.size, 3), np.uint64)
    for begin in range(0, end, TILE):
        for lane in range(counts.size):
            n, edge = int(genes[lane, 0]), genes[lane, 1]
            start = begin + n + _RANGE
            stop = min(start + TILE, end)
            if start >= stop:
                continue
            _conditions(
                bank[n - _SHORTEST, start:],
                bank[rows + n - _SHORTEST, start:],
                edge,
                edge * (1.0 + 2.0 * genes[lane, 3]),
                genes[lane, 2],
                words,
                stop - start,
            )
            # The side of the SMA of the traded excursion.
            sides(words, start, stop, state[lane], bars[lane], targets[lane])
    for lane in range(counts.size):
        count, n = np.int64(state[lane, 2]), int(genes[lane, 0])
        scale, squeeze = genes[lane, 4] / (2.0 * genes[lane, 1]), genes[lane, 2]
        score, part = bank[n - _SHORTEST], bank[rows + n - _SHORTEST]
        for i in range(count):
            t, away = bars[lane, i], targets[lane, i]
            # In a squeeze trade with the excursion, otherwise against it.
            side = away if part[t] <= squeeze else -away
            targets[lane, i] = side * min(1.0, scale * abs(score[t]))
        counts[lane] = settle(bars[lane], targets[lane], count)


def signals(panel: Panel, genes: Floats, out: Changes) -> None:
    """See ``ga.families.base.Signals``."""
    bank = panel.bank("bollinger", lambda p: bands(p.close))
    _scan(bank, genes, out.bars, out.targets, out.counts)


FAMILY = Family(
    name="bollinger_bands",
    kind="volatility",
    rule="fade closes outside the bands, or follow the breakout out of a squeeze",
    genes=(
        Gene(name="lookback", low=_SHORTEST, high=_LONGEST, integer=True),
        Gene(name="multiplier", low=1.5, high=2.5),
        Gene(name="squeeze", low=0.05, high=0.25),
        Gene(name="breakout_strength", low=0.01, high=0.05),
        Gene(name="position_scaling", low=0.5, high=1.5),
    ),
    signals=signals,
    history=_LONGEST + _RANGE,
)
