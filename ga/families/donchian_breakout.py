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
from numba import njit

from ga.families.base import Family, Floats, Gene

_TREND = 8
"""Channel periods of the trend. At two, a close beyond the channel is always beyond the mean too,
and trend_bias would change nothing."""


@njit(cache=True)
def positions(
    _open: Floats, high: Floats, low: Floats, close: Floats, volume: Floats, genes: Floats
) -> Floats:
    """Target positions (T, L); see ``ga.families.base.Kernel``."""
    bars, lanes = close.size, genes.shape[0]
    out = np.zeros((bars, lanes))
    total = np.zeros(bars + 1)
    volumes = np.zeros(bars + 1)
    for t in range(bars):
        total[t + 1] = total[t] + close[t]
        volumes[t + 1] = volumes[t] + volume[t]
    for lane in range(lanes):
        period, buffer = int(genes[lane, 0]), genes[lane, 1]
        confirm, hold, bias = genes[lane, 2], int(genes[lane, 3]), genes[lane, 4]
        held, level, entered = 0.0, 0.0, 0
        for t in range(2 * period, bars):
            upper, lower = high[t - 1], low[t - 1]
            for k in range(t - period, t - 1):
                upper = max(upper, high[k])
                lower = min(lower, low[k])
            mean_volume = (volumes[t] - volumes[t - period]) / period
            span = min(_TREND * period, t + 1)
            trend = close[t] - (total[t + 1] - total[t + 1 - span]) / span
            side = 0.0
            if volume[t] >= confirm * mean_volume:
                if close[t] > upper * (1.0 + buffer):
                    side = 1.0
                elif close[t] < lower * (1.0 - buffer):
                    side = -1.0
            if side != 0.0 and side * held <= 0.0:
                held = side if side * trend > 0.0 else side * (1.0 - bias)
                level = upper if side > 0.0 else lower
                entered = t
            elif held != 0.0:
                sign = 1.0 if held > 0.0 else -1.0
                failed = t - entered <= hold and sign * (close[t] - level) < 0.0
                if failed or sign * (close[t] - 0.5 * (upper + lower)) < 0.0:
                    held = 0.0
            out[t, lane] = held
    return out


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
    kernel=positions,
)
