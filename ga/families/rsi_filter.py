"""RSI filter: fade the extremes of the relative strength index, or trade with it as a filter.

RSI = 100 - 100 / (1 + mean gain / mean loss), Wilder's smoothing over rsi_period, first mean simple
(Wilder, 1978). operation_mode < 0.5 fades: long below oversold, short above overbought, out at 50.
From 0.5 on it follows the trend (close against the close rsi_period bars ago), long only while RSI
is under overbought and above 50, short in the mirror case. divergence_weight moves size from every
signal to those where price made a new extreme of rsi_period bars and RSI did not.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ga.families.base import Family, Floats, Gene


@njit(cache=True)
def rsi(close: Floats, period: int) -> Floats:
    """Wilder's RSI (T,), 0..100; NaN before bar ``period``, 50 where nothing moved."""
    out = np.full(close.size, np.nan)
    gain = loss = 0.0
    for t in range(1, close.size):
        change = close[t] - close[t - 1]
        up, down = max(change, 0.0), max(-change, 0.0)
        if t <= period:
            gain += up / period
            loss += down / period
        else:
            gain = (gain * (period - 1) + up) / period
            loss = (loss * (period - 1) + down) / period
        if t >= period:
            out[t] = 100.0 * gain / (gain + loss) if gain + loss > 0.0 else 50.0
    return out


@njit(cache=True)
def positions(
    _open: Floats, _high: Floats, _low: Floats, close: Floats, _volume: Floats, genes: Floats
) -> Floats:
    """Target positions (T, L); see ``ga.families.base.Kernel``."""
    bars, lanes = close.size, genes.shape[0]
    out = np.zeros((bars, lanes))
    for lane in range(lanes):
        period = int(genes[lane, 0])
        oversold, overbought = genes[lane, 1], genes[lane, 2]
        fade, weight = genes[lane, 3] < 0.5, genes[lane, 4]
        index = rsi(close, period)
        held = 0.0
        for t in range(2 * period, bars):
            r = index[t]
            side = 0.0
            if fade:
                if r < oversold:
                    side = 1.0
                elif r > overbought:
                    side = -1.0
                elif held * (r - 50.0) > 0.0:
                    held = 0.0
            else:
                moved = close[t] - close[t - period]
                if moved > 0.0 and 50.0 < r < overbought:
                    side = 1.0
                elif moved < 0.0 and oversold < r < 50.0:
                    side = -1.0
                elif held * moved < 0.0:
                    held = 0.0
            if side != 0.0 and side * held <= 0.0:
                # Divergence: price at the extreme that opposes the new side, RSI not.
                price_extreme, index_extreme = True, True
                for k in range(t - period, t):
                    if side * (close[k] - close[t]) < 0.0:
                        price_extreme = False
                    if side * (index[k] - r) < 0.0:
                        index_extreme = False
                diverges = price_extreme and not index_extreme
                held = side * (1.0 - weight + (weight if diverges else 0.0))
            out[t, lane] = held
    return out


FAMILY = Family(
    name="rsi_filter",
    kind="mean reversion",
    rule="fade the RSI's extremes, or follow the trend with the RSI as a filter; divergence sizes",
    genes=(
        Gene(name="rsi_period", low=10, high=20, integer=True),
        Gene(name="oversold", low=25.0, high=40.0),
        Gene(name="overbought", low=60.0, high=80.0),
        Gene(name="operation_mode", low=0.0, high=1.0),
        Gene(name="divergence_weight", low=0.0, high=1.0),
    ),
    kernel=positions,
)
