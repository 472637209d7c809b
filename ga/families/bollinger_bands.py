"""Bollinger bands: fade %B outside the bands, or trade the breakout out of a squeeze.

Bands = SMA +- multiplier x population standard deviation over lookback; %B = (close - lower) /
(upper - lower); BandWidth = (upper - lower) / SMA (Bollinger, 2001). A squeeze is a bar whose
BandWidth lay, one bar before, in the lowest `squeeze` part of its range over the last 125 bars.
In a squeeze: long above %B = 1 + breakout_strength, short below -breakout_strength, out at the SMA.
Else: short above the upper band, long below the lower one, out at the SMA. The size is
position_scaling x |%B - 1/2|, at most 1.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ga.families.base import Family, Floats, Gene

_RANGE = 125


@njit(cache=True)
def positions(
    _open: Floats, _high: Floats, _low: Floats, close: Floats, _volume: Floats, genes: Floats
) -> Floats:
    """Target positions (T, L); see ``ga.families.base.Kernel``."""
    bars, lanes = close.size, genes.shape[0]
    out = np.zeros((bars, lanes))
    width = np.zeros(bars)
    for lane in range(lanes):
        n, multiplier, squeeze = int(genes[lane, 0]), genes[lane, 1], genes[lane, 2]
        strength, scaling = genes[lane, 3], genes[lane, 4]
        held, follows = 0.0, False
        for t in range(n - 1, bars):
            mean = 0.0
            for k in range(t - n + 1, t + 1):
                mean += close[k]
            mean /= n
            spread = 0.0
            for k in range(t - n + 1, t + 1):
                spread += (close[k] - mean) * (close[k] - mean)
            half = multiplier * np.sqrt(spread / n)
            width[t] = 2.0 * half / mean
            if t < n + _RANGE:
                continue
            if half <= 1e-12 * mean:
                # No band at all: nothing to trade on.
                held = 0.0
                continue
            lowest = highest = width[t - 1]
            for k in range(t - _RANGE, t - 1):
                lowest = min(lowest, width[k])
                highest = max(highest, width[k])
            squeezed = width[t - 1] - lowest <= squeeze * (highest - lowest)
            b = (close[t] - mean + half) / (2.0 * half)
            size = min(1.0, scaling * abs(b - 0.5))
            if held == 0.0:
                if squeezed and (b > 1.0 + strength or b < -strength):
                    held, follows = (size if b > 0.5 else -size), True
                elif not squeezed and (b > 1.0 or b < 0.0):
                    held, follows = (-size if b > 0.5 else size), False
            elif (held * (b - 0.5) < 0.0) == follows:
                held = 0.0
            out[t, lane] = held
    return out


FAMILY = Family(
    name="bollinger_bands",
    kind="volatility",
    rule="fade closes outside the bands, or follow the breakout out of a squeeze",
    genes=(
        Gene(name="lookback", low=10, high=40, integer=True),
        Gene(name="multiplier", low=1.5, high=2.5),
        Gene(name="squeeze", low=0.05, high=0.25),
        Gene(name="breakout_strength", low=0.01, high=0.05),
        Gene(name="position_scaling", low=0.5, high=1.5),
    ),
    kernel=positions,
)
