"""EMA crossover: follow the separation of a fast and a slow exponential moving average.

EMA_t = EMA_{t-1} + 2/(n+1) * (close_t - EMA_{t-1}), started at the first close (Appel, 1979).
separation = fast / slow - 1; momentum = close_t / close_{t-slow} - 1.
Long when separation > trend_filter and momentum > momentum_threshold, short in the mirror case;
flat again when the averages cross back. The position's size is signal_strength.
"""

from __future__ import annotations

import numpy as np

from ga.families.base import Changes, Family, Floats, Gene
from ga.families.indicators import ema
from ga.families.scan import ENTER, LEAVE_LONG, LEAVE_SHORT, LONG, SHORT, blank, seek
from ga.jit import kernel
from ga.panel import Panel

_SHORTEST, _LONGEST = 5, 34


@kernel()
def _conditions(fast, slow, close, past, up, down, rise, fall, code):
    for t in range(code.size):
        f, s, c, p = fast[t], slow[t], close[t], past[t]
        code[t] = (
            np.uint8((f > s * up) & (c > p * rise)) * LONG
            | np.uint8((f < s * down) & (c < p * fall)) * SHORT
            | np.uint8(f < s) * LEAVE_LONG
            | np.uint8(f > s) * LEAVE_SHORT
        )


@kernel()
def _scan(close, bank, genes, bars, targets, counts):
    end = close.size
    code = blank(end)
    words = code.view(np.uint64)
    for lane in range(genes.shape[0]):
        n = int(genes[lane, 1])
        fast, slow = bank[int(genes[lane, 0]) - _SHORTEST], bank[n - _SHORTEST]
        trend, threshold, strength = genes[lane, 4], genes[lane, 2], genes[lane, 3]
        if n >= end:
            counts[lane] = 0
            continue
        _conditions(
            fast[n:],
            slow[n:],
            close[n:],
            close[: end - n],
            1.0 + trend,
            1.0 - trend,
            1.0 + threshold,
            1.0 - threshold,
            code[n:end],
        )
        count, wait = 0, ENTER
        t = seek(words, n, wait)
        while t < end:
            held = 0.0
            if code[t] & wait & LONG:
                held, wait = strength, SHORT | LEAVE_LONG
            elif code[t] & wait & SHORT:
                held, wait = -strength, LONG | LEAVE_SHORT
            else:
                wait = ENTER
            bars[lane, count] = t
            targets[lane, count] = held
            count += 1
            t = seek(words, t + 1, wait)
        counts[lane] = count


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
