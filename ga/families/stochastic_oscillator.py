"""Stochastic oscillator: crosses of %K and %D out of the extreme zones.

%K = 100 (close - lowest low) / (highest high - lowest low) over k bars; %D = mean of the last d
values of %K (Lane, 1984). Long when %K crosses above %D while %D is below oversold, short when it
crosses below while %D is above overbought. Out when %D has reached the opposite zone or %K crosses
back on the far side of 50. divergence_sensitivity cuts the size of signals without divergence
(close beyond its value k bars ago against the signal, %D not).
"""

from __future__ import annotations

import numpy as np

from ga.backtest.jit import kernel
from ga.backtest.panel import Panel
from ga.backtest.simd.masks import masks
from ga.families.base import Changes, Family, Floats, Gene
from ga.families.indicators import stochastic_k
from ga.families.signals import TILE, room, settle, sides

_K, _D = (10, 20), (2, 5)


@kernel()
def slow_d(fast: Floats, shortest: int, longest: int) -> Floats:
    """(K x D, T) simple means of shortest..longest values of every row of ``fast``."""
    spans = longest - shortest + 1
    out = np.full((fast.shape[0] * spans, fast.shape[1]), np.nan)
    for row in range(fast.shape[0]):
        for span in range(spans):
            n = shortest + span
            for t in range(n - 1, fast.shape[1]):
                total = 0.0
                for k in range(t - n + 1, t + 1):
                    total += fast[row, k]
                out[row * spans + span, t] = total / n
    return out


@masks
def _conditions(fast, slow, fast_before, slow_before, overbought, oversold):
    crossed_up = (fast > slow) & (fast_before <= slow_before)
    crossed_down = (fast < slow) & (fast_before >= slow_before)
    return (
        (slow < oversold) & crossed_up,
        (slow > overbought) & crossed_down,
        (slow >= overbought) | ((slow > 50.0) & (fast < slow)),
        (slow <= oversold) | ((slow < 50.0) & (fast > slow)),
    )


@kernel()
def _scan(close, fast, slow, genes, bars, targets, counts):
    spans = slow.shape[0] // fast.shape[0]
    words, state = room(TILE), np.zeros((counts.size, 3), np.uint64)
    for begin in range(0, close.size, TILE):
        for lane in range(counts.size):
            n, d = int(genes[lane, 0]), int(genes[lane, 1])
            start = begin + 2 * n + d
            stop = min(start + TILE, close.size)
            if start >= stop:
                continue
            a, b = fast[n - 10], slow[(n - 10) * spans + d - 2]
            _conditions(
                a[start:],
                b[start:],
                a[start - 1 :],
                b[start - 1 :],
                genes[lane, 2],
                genes[lane, 3],
                words,
                stop - start,
            )
            sides(words, start, stop, state[lane], bars[lane], targets[lane])
    for lane in range(counts.size):
        count, n, without = np.int64(state[lane, 2]), int(genes[lane, 0]), 1.0 - genes[lane, 4]
        b = slow[(n - 10) * spans + int(genes[lane, 1]) - 2]
        for i in range(count):
            t, side = bars[lane, i], targets[lane, i]
            diverges = side * (close[t] - close[t - n]) < 0.0 and side * (b[t] - b[t - n]) > 0.0
            targets[lane, i] = side if diverges else side * without
        counts[lane] = settle(bars[lane], targets[lane], count)


def signals(panel: Panel, genes: Floats, out: Changes) -> None:
    """See ``ga.families.base.Signals``."""
    fast = panel.bank("stochastic k", lambda p: stochastic_k(p.high, p.low, p.close, *_K))
    slow = panel.bank("stochastic d", lambda _: slow_d(fast, *_D))
    _scan(panel.close, fast, slow, genes, out.bars, out.targets, out.counts)


FAMILY = Family(
    name="stochastic_oscillator",
    kind="momentum",
    rule="crosses of %K and %D in the extreme zones, larger with divergence",
    genes=(
        Gene(name="k", low=_K[0], high=_K[1], integer=True),
        Gene(name="d", low=_D[0], high=_D[1], integer=True),
        Gene(name="overbought", low=70.0, high=85.0),
        Gene(name="oversold", low=15.0, high=30.0),
        Gene(name="divergence_sensitivity", low=0.0, high=1.0),
    ),
    signals=signals,
    history=2 * _K[1] + _D[1],
)
