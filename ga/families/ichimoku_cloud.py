"""Ichimoku cloud: price beyond the cloud with the lines in order.

Tenkan, kijun and senkou B are the middles of the range (highest high + lowest low) / 2 over their
periods; senkou A = (tenkan + kijun) / 2. The cloud at t lies between A and B of kijun bars before
(Hosoda, 1969; the classic displacement of 26 is the classic kijun). Long when the close is above
the cloud, tenkan is above kijun, and the close has risen over kijun bars by more than
momentum_confirmation x its distance from the kijun line; short in the mirror case. Out when the
close crosses the kijun line. Size = 1 - cloud_strength_weight x (1 - strength), strength = the
cloud's thickness over the distance of the close from its far edge.
"""

from __future__ import annotations

import numpy as np

from ga.backtest.jit import kernel
from ga.backtest.panel import Panel
from ga.backtest.simd.masks import masks
from ga.families.base import Changes, Family, Floats, Gene
from ga.families.indicators import highest, lowest
from ga.families.signals import TILE, room, settle, sides

_LONGEST = 80


@kernel()
def middles(high: Floats, low: Floats, longest: int) -> Floats:
    """(longest, T) middles of the ranges over 1..longest bars."""
    return 0.5 * (highest(high, longest) + lowest(low, longest))


@masks
def _conditions(close, past, tenkan, kijun, tenkan_before, kijun_before, slow_before, confirm):
    a, b = (tenkan_before + kijun_before) * 0.5, slow_before
    lead, away, risen = tenkan - kijun, close - kijun, close - past
    over = (close > a) & (close > b) & (lead > 0.0) & (away > 0.0)
    under = (close < a) & (close < b) & (lead < 0.0) & (away < 0.0)
    return (
        over & (risen > away * confirm),
        under & (risen < away * confirm),
        close < kijun,
        close > kijun,
    )


@kernel()
def _scan(close, bank, genes, bars, targets, counts):
    words, state = room(TILE), np.zeros((counts.size, 3), np.uint64)
    for begin in range(0, close.size, TILE):
        for lane in range(counts.size):
            n, base, long = int(genes[lane, 0]), int(genes[lane, 1]), int(genes[lane, 2])
            start = begin + long + base
            stop = min(start + TILE, close.size)
            if start >= stop:
                continue
            tenkan, kijun = bank[n - 1], bank[base - 1]
            _conditions(
                close[start:],
                close[start - base :],
                tenkan[start:],
                kijun[start:],
                tenkan[start - base :],
                kijun[start - base :],
                bank[long - 1, start - base :],
                genes[lane, 4],
                words,
                stop - start,
            )
            sides(words, start, stop, state[lane], bars[lane], targets[lane])
    for lane in range(counts.size):
        n, base, long = int(genes[lane, 0]), int(genes[lane, 1]), int(genes[lane, 2])
        count, weight = np.int64(state[lane, 2]), genes[lane, 3]
        tenkan, kijun, slow = bank[n - 1], bank[base - 1], bank[long - 1]
        for i in range(count):
            t, side = bars[lane, i], targets[lane, i]
            if side != 0.0:
                a, b = 0.5 * (tenkan[t - base] + kijun[t - base]), slow[t - base]
                far = min(a, b) if side > 0.0 else max(a, b)
                targets[lane, i] = side * (1.0 - weight * (1.0 - abs(a - b) / abs(close[t] - far)))
        counts[lane] = settle(bars[lane], targets[lane], count)


def signals(panel: Panel, genes: Floats, out: Changes) -> None:
    """See ``ga.families.base.Signals``."""
    bank = panel.bank("range middles", lambda p: middles(p.high, p.low, _LONGEST))
    _scan(panel.close, bank, genes, out.bars, out.targets, out.counts)


FAMILY = Family(
    name="ichimoku_cloud",
    kind="trend following",
    rule="closes beyond the cloud with tenkan and kijun in order and momentum behind them",
    genes=(
        Gene(name="tenkan", low=7, high=12, integer=True),
        Gene(name="kijun", low=20, high=34, integer=True),
        Gene(name="senkou_b", low=40, high=_LONGEST, integer=True),
        Gene(name="cloud_strength_weight", low=0.0, high=1.0),
        Gene(name="momentum_confirmation", low=0.0, high=1.0),
    ),
    signals=signals,
    history=_LONGEST + 34,
)
