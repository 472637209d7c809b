"""EMA crossover: follow the separation of a fast and a slow exponential moving average.

EMA_t = EMA_{t-1} + 2/(n+1) * (close_t - EMA_{t-1}), started at the first close (Appel, 1979).
separation = fast / slow - 1; momentum = close_t / close_{t-slow} - 1.
Long when separation > trend_filter and momentum > momentum_threshold, short in the mirror case;
flat again when the averages cross back. The position's size is signal_strength.
"""

from __future__ import annotations

import numpy as np

from ga.backtest.jit import kernel
from ga.backtest.panel import Panel
from ga.backtest.simd.masks import masks
from ga.families.base import Changes, Family, Floats, Gene
from ga.families.indicators import ema
from ga.families.signals import TILE, room, sides

_SHORTEST, _LONGEST = 5, 34


@masks
def _conditions(fast, slow, close, past, up, down, rise, fall):
    return (
        (fast > slow * up) & (close > past * rise),
        (fast < slow * down) & (close < past * fall),
        fast < slow,
        fast > slow,
    )


@kernel()
def _scan(close, bank, genes, bars, targets, counts):
    words, state = room(TILE), np.zeros((counts.size, 3), np.uint64)
    for begin in range(0, close.size, TILE):
        for lane in range(counts.size):
            n = int(genes[lane, 1])
            start = begin + n
            stop = min(start + TILE, close.size)
            if start >= stop:
                continue
            trend, threshold = genes[lane, 4], genes[lane, 2]
            _conditions(
                bank[int(genes[lane, 0]) - _SHORTEST, start:],
                bank[n - _SHORTEST, start:],
                close[start:],
                close[start - n :],
                1.0 + trend,
                1.0 - trend,
                1.0 + threshold,
                1.0 - threshold,
                words,
                stop - start,
            )
            sides(words, start, stop, state[lane], bars[lane], targets[lane])
    for lane in range(counts.size):
        counts[lane] = state[lane, 2]
        targets[lane, : counts[lane]] *= genes[lane, 3]


def signals(panel: Panel, genes: Floats, out: Changes) -> None:
    """See ``ga.families.base.Signals``."""
    bank = panel.bank("ema", lambda p: ema(p.close, _SHORTEST, _LONGEST))
    _scan(panel.close, bank, genes, out.bars, out.targets, out.counts)


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
    signals=signals,
    history=34,
)
