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

from ga.families.base import Changes, Family, Floats, Gene
from ga.families.indicators import highest, lowest
from ga.families.scan import ENTER, LEAVE_LONG, LEAVE_SHORT, LONG, SHORT, blank, seek
from ga.jit import kernel
from ga.panel import Panel

_LONGEST = 80


@kernel()
def middles(high: Floats, low: Floats, longest: int) -> Floats:
    """(longest, T) middles of the ranges over 1..longest bars."""
    return 0.5 * (highest(high, longest) + lowest(low, longest))


@kernel()
def _conditions(
    close, past, tenkan, kijun, tenkan_before, kijun_before, slow_before, confirm, code
):
    for t in range(code.size):
        c, line = close[t], kijun[t]
        a, b = 0.5 * (tenkan_before[t] + kijun_before[t]), slow_before[t]
        lead, away = tenkan[t] - line, c - line
        risen = c - past[t]
        over = (c > a) & (c > b) & (lead > 0.0) & (away > 0.0)
        under = (c < a) & (c < b) & (lead < 0.0) & (away < 0.0)
        code[t] = (
            np.uint8(over & (risen > confirm * away)) * LONG
            | np.uint8(under & (risen < confirm * away)) * SHORT
            | np.uint8(c < line) * LEAVE_LONG
            | np.uint8(c > line) * LEAVE_SHORT
        )


@kernel()
def _scan(close, bank, genes, bars, targets, counts):
    end = close.size
    code = blank(end)
    words = code.view(np.uint64)
    for lane in range(genes.shape[0]):
        n, base, long = int(genes[lane, 0]), int(genes[lane, 1]), int(genes[lane, 2])
        weight = genes[lane, 3]
        tenkan, kijun, slow = bank[n - 1], bank[base - 1], bank[long - 1]
        first = long + base
        if first >= end:
            counts[lane] = 0
            continue
        _conditions(
            close[first:],
            close[long:],
            tenkan[first:],
            kijun[first:],
            tenkan[long:],
            kijun[long:],
            slow[long:],
            genes[lane, 4],
            code[first:end],
        )
        count, wait = 0, ENTER
        t = seek(words, first, wait)
        while t < end:
            held = 0.0
            if wait != ENTER:
                wait = ENTER
            else:
                a, b = 0.5 * (tenkan[t - base] + kijun[t - base]), slow[t - base]
                far = min(a, b) if code[t] & LONG else max(a, b)
                size = 1.0 - weight * (1.0 - abs(a - b) / abs(close[t] - far))
                if size == 0.0:
                    t = seek(words, t + 1, wait)
                    continue
                if code[t] & LONG:
                    held, wait = size, LEAVE_LONG
                else:
                    held, wait = -size, LEAVE_SHORT
            bars[lane, count] = t
            targets[lane, count] = held
            count += 1
            t = seek(words, t + 1, wait)
        counts[lane] = count


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
