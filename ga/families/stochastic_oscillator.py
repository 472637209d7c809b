"""Stochastic oscillator: crosses of %K and %D out of the extreme zones.

%K = 100 (close - lowest low) / (highest high - lowest low) over k bars; %D = mean of the last d
values of %K (Lane, 1984). Long when %K crosses above %D while %D is below oversold, short when it
crosses below while %D is above overbought. Out when %D has reached the opposite zone or %K crosses
back on the far side of 50. divergence_sensitivity cuts the size of signals without divergence
(close beyond its value k bars ago against the signal, %D not).
"""

from __future__ import annotations

import numpy as np

from ga.families.base import Changes, Family, Floats, Gene
from ga.families.indicators import stochastic_k
from ga.families.scan import ENTER, LEAVE_LONG, LEAVE_SHORT, LONG, SHORT, blank, seek
from ga.jit import kernel
from ga.panel import Panel

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


@kernel()
def _conditions(fast, slow, fast_before, slow_before, overbought, oversold, code):
    for t in range(code.size):
        a, y = fast[t], slow[t]
        crossed_up = (a > y) & (fast_before[t] <= slow_before[t])
        crossed_down = (a < y) & (fast_before[t] >= slow_before[t])
        code[t] = (
            np.uint8((y < oversold) & crossed_up) * LONG
            | np.uint8((y > overbought) & crossed_down) * SHORT
            | np.uint8((y >= overbought) | ((y > 50.0) & (a < y))) * LEAVE_LONG
            | np.uint8((y <= oversold) | ((y < 50.0) & (a > y))) * LEAVE_SHORT
        )


@kernel()
def _scan(close, fast, slow, genes, bars, targets, counts):
    end = close.size
    spans = slow.shape[0] // fast.shape[0]
    code = blank(end)
    words = code.view(np.uint64)
    for lane in range(genes.shape[0]):
        n, d = int(genes[lane, 0]), int(genes[lane, 1])
        without = 1.0 - genes[lane, 4]
        a, b = fast[n - 10], slow[(n - 10) * spans + d - 2]
        first = 2 * n + d
        if first >= end:
            counts[lane] = 0
            continue
        _conditions(
            a[first:],
            b[first:],
            a[first - 1 :],
            b[first - 1 :],
            genes[lane, 2],
            genes[lane, 3],
            code[first:end],
        )
        held, count, wait = 0.0, 0, ENTER
        t = seek(words, first, wait)
        while t < end:
            target = 0.0
            if code[t] & wait & ENTER:
                side = 1.0 if code[t] & wait & LONG else -1.0
                diverges = side * (close[t] - close[t - n]) < 0.0 and side * (b[t] - b[t - n]) > 0.0
                target = side if diverges else side * without
            wait = ENTER
            if target > 0.0:
                wait = SHORT | LEAVE_LONG
            elif target < 0.0:
                wait = LONG | LEAVE_SHORT
            if target != held:
                held = target
                bars[lane, count] = t
                targets[lane, count] = held
                count += 1
            t = seek(words, t + 1, wait)
        counts[lane] = count


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
