"""SMA trend filter: the side of two simple moving averages, if the trend is straight enough.

Strength = Kaufman's efficiency ratio (1995) over trend_strength_period: |net change| / sum of the
absolute changes of the close, 0..1. Long when SMA(fast) > SMA(slow), the net change is upward with
a strength above filter_sensitivity / 2 (a random walk of 50 bars has about 0.1), and the close is
above SMA(fast) by momentum_confirmation x the mean absolute change over that period. Short in the
mirror case. Out when the averages or the close and the slow average cross back.
"""

from __future__ import annotations

import numpy as np

from ga.backtest.jit import kernel
from ga.backtest.panel import Panel
from ga.backtest.simd.masks import masks
from ga.families.base import Changes, Family, Floats, Gene
from ga.families.indicators import close_sums, path_sums
from ga.families.signals import TILE, room, sides


@masks
def _conditions(
    close, past, sums, fast_sums, slow_sums, paths, paths_before, fast, slow, need, lead
):
    path, move = paths - paths_before, close - past
    quick, lasting = (sums - fast_sums) * fast, (sums - slow_sums) * slow
    return (
        (move > path * need) & (quick > lasting) & (close - quick > path * lead),
        (-move > path * need) & (quick < lasting) & (quick - close > path * lead),
        (quick < lasting) | (close < lasting),
        (quick > lasting) | (close > lasting),
    )


@kernel()
def _scan(close, sums, paths, genes, bars, targets, counts):
    words, state = room(TILE), np.zeros((counts.size, 3), np.uint64)
    for begin in range(0, close.size, TILE):
        for lane in range(counts.size):
            fast, slow, span = int(genes[lane, 0]), int(genes[lane, 1]), int(genes[lane, 2])
            start = begin + slow - 1
            stop = min(start + TILE, close.size)
            if start >= stop:
                continue
            # Sums up to and with bar t stand at t + 1.
            after = start + 1
            _conditions(
                close[start:],
                close[start - span :],
                sums[after:],
                sums[after - fast :],
                sums[after - slow :],
                paths[after:],
                paths[after - span :],
                1.0 / fast,
                1.0 / slow,
                0.5 * genes[lane, 3],
                genes[lane, 4] / span,
                words,
                stop - start,
            )
            sides(words, start, stop, state[lane], bars[lane], targets[lane])
    for lane in range(counts.size):
        counts[lane] = state[lane, 2]


def signals(panel: Panel, genes: Floats, out: Changes) -> None:
    """See ``ga.families.base.Signals``."""
    sums, paths = close_sums(panel)[0], path_sums(panel)[0]
    _scan(panel.close, sums, paths, genes, out.bars, out.targets, out.counts)


FAMILY = Family(
    name="sma_trend_filter",
    kind="trend following",
    rule="the side of two SMAs while the trend is straight and the close leads",
    genes=(
        Gene(name="fast", low=30, high=80, integer=True),
        Gene(name="slow", low=150, high=300, integer=True),
        Gene(name="trend_strength_period", low=10, high=100, integer=True),
        Gene(name="filter_sensitivity", low=0.0, high=1.0),
        Gene(name="momentum_confirmation", low=0.0, high=1.0),
    ),
    signals=signals,
    history=300,
)
