"""EMA crossover: follow the separation of a fast and a slow exponential moving average.

EMA_t = EMA_{t-1} + 2/(n+1) * (close_t - EMA_{t-1}), started at the first close (Appel, 1979).
separation = fast / slow - 1; momentum = close_t / close_{t-slow} - 1.
Long when separation > trend_filter and momentum > momentum_threshold, short in the mirror case;
flat again when the averages cross back. The position's size is signal_strength.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ga.families.base import Family, Floats, Gene


@njit(cache=True)
def positions(
    _open: Floats, _high: Floats, _low: Floats, close: Floats, _volume: Floats, genes: Floats
) -> Floats:
    """Target positions (T, L); see ``ga.families.base.Kernel``."""
    bars, lanes = close.size, genes.shape[0]
    out = np.zeros((bars, lanes))
    for lane in range(lanes):
        fast_n, slow_n = genes[lane, 0], int(genes[lane, 1])
        threshold, strength, trend = genes[lane, 2], genes[lane, 3], genes[lane, 4]
        a_fast, a_slow = 2.0 / (fast_n + 1.0), 2.0 / (slow_n + 1.0)
        fast = slow = close[0]
        held = 0.0
        for t in range(1, bars):
            fast += a_fast * (close[t] - fast)
            slow += a_slow * (close[t] - slow)
            if t < slow_n:
                continue
            separation = fast / slow - 1.0
            momentum = close[t] / close[t - slow_n] - 1.0
            if separation > trend and momentum > threshold:
                held = strength
            elif separation < -trend and momentum < -threshold:
                held = -strength
            elif held * separation < 0.0:
                held = 0.0
            out[t, lane] = held
    return out


FAMILY = Family(
    name="ema_crossover",
    kind="momentum",
    rule="long or short on the separation of a fast and a slow EMA, out when they cross back",
    genes=(
        Gene(name="fast", low=5, high=15, integer=True),
        Gene(name="slow", low=18, high=34, integer=True),
        Gene(name="momentum_threshold", low=0.001, high=0.05),
        Gene(name="signal_strength", low=0.1, high=1.0),
        Gene(name="trend_filter", low=0.0, high=0.02),
    ),
    kernel=positions,
)
