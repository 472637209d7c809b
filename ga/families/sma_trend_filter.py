"""SMA trend filter: the side of two simple moving averages, if the trend is straight enough.

Strength = Kaufman's efficiency ratio (1995) over trend_strength_period: |net change| / sum of the
absolute changes of the close, 0..1. Long when SMA(fast) > SMA(slow), the net change is upward with
a strength above filter_sensitivity / 2 (a random walk of 50 bars has about 0.1), and the close is
above SMA(fast) by momentum_confirmation x the mean absolute change over that period. Short in the
mirror case. Out when the averages or the close and the slow average cross back.
"""

from __future__ import annotations

import numpy as np

from ga.families.base import Changes, Family, Floats, Gene
from ga.families.indicators import close_sums, path_sums
from ga.families.scan import LEAVE_LONG, LEAVE_SHORT, LONG, SHORT, blank, walk
from ga.jit import kernel
from ga.panel import Panel


@kernel()
def _conditions(
    close, past, sums, fast_sums, slow_sums, paths, path_before, fast, slow, need, lead, code
):
    for t in range(code.size):
        c, path = close[t], paths[t] - path_before[t]
        move = c - past[t]
        quick, lasting = (sums[t] - fast_sums[t]) * fast, (sums[t] - slow_sums[t]) * slow
        code[t] = (
            np.uint8((move > need * path) & (quick > lasting) & (c - quick > lead * path)) * LONG
            | np.uint8((-move > need * path) & (quick < lasting) & (quick - c > lead * path))
            * SHORT
            | np.uint8((quick < lasting) | (c < lasting)) * LEAVE_LONG
            | np.uint8((quick > lasting) | (c > lasting)) * LEAVE_SHORT
        )


@kernel()
def _scan(close, sums, paths, genes, bars, targets, counts):
    end = close.size
    code = blank(end)
    for lane in range(genes.shape[0]):
        fast, slow, span = int(genes[lane, 0]), int(genes[lane, 1]), int(genes[lane, 2])
        first = slow - 1
        if first >= end:
            counts[lane] = 0
            continue
        # Sums up to and with bar t stand at t + 1.
        _conditions(
            close[first:],
            close[first - span :],
            sums[slow:],
            sums[slow - fast :],
            sums,
            paths[slow:],
            paths[slow - span :],
            1.0 / fast,
            1.0 / slow,
            0.5 * genes[lane, 3],
            genes[lane, 4] / span,
            code[first:end],
        )
        counts[lane] = walk(code, first, end, bars[lane], targets[lane])


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
