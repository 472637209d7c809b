"""RSI filter: fade the extremes of the relative strength index, or trade with it as a filter.

RSI = 100 - 100 / (1 + mean gain / mean loss), Wilder's smoothing over rsi_period (Wilder, 1978).
operation_mode < 0.5 fades: long below oversold, short above overbought, out at 50. From 0.5 on it
follows the trend (close against the close rsi_period bars ago), long only while RSI is under
overbought and above 50, short in the mirror case, out when that trend turns. divergence_weight
moves size from every signal to those where price made a new extreme of rsi_period bars and RSI did
not.
"""

from __future__ import annotations

import numpy as np

from ga.families.base import Changes, Family, Floats, Gene
from ga.families.indicators import rsi
from ga.families.scan import ENTER, LEAVE_LONG, LEAVE_SHORT, LONG, SHORT, blank, seek
from ga.jit import kernel
from ga.panel import Panel

_SHORTEST, _LONGEST = 10, 20


@kernel()
def divergences(close: Floats, bank: Floats) -> Floats:
    """(P, T): 1 where the close is at its low of the row's period before and the index is not, -1
    where the close is at its high and the index is not, else 0."""
    out = np.zeros(bank.shape)
    for row in range(bank.shape[0]):
        period = _SHORTEST + row
        for t in range(2 * period, close.size):
            low = high = index_low = index_high = True
            for k in range(t - period, t):
                low = low and close[k] >= close[t]
                high = high and close[k] <= close[t]
                if not low and not high:
                    break
                index_low = index_low and bank[row, k] >= bank[row, t]
                index_high = index_high and bank[row, k] <= bank[row, t]
            if low and not index_low:
                out[row, t] = 1.0
            elif high and not index_high:
                out[row, t] = -1.0
    return out


@kernel()
def _fading(index, oversold, overbought, code):
    for t in range(code.size):
        r = index[t]
        code[t] = (
            np.uint8(r < oversold) * LONG
            | np.uint8(r > overbought) * SHORT
            | np.uint8(r > 50.0) * LEAVE_LONG
            | np.uint8(r < 50.0) * LEAVE_SHORT
        )


@kernel()
def _following(index, close, past, oversold, overbought, code):
    for t in range(code.size):
        r, c, p = index[t], close[t], past[t]
        code[t] = (
            np.uint8((r > 50.0) & (r < overbought) & (c > p)) * LONG
            | np.uint8((r < 50.0) & (r > oversold) & (c < p)) * SHORT
            | np.uint8(c < p) * LEAVE_LONG
            | np.uint8(c > p) * LEAVE_SHORT
        )


@kernel()
def _scan(close, bank, divergence, genes, bars, targets, counts):
    end = close.size
    code = blank(end)
    words = code.view(np.uint64)
    for lane in range(genes.shape[0]):
        period = int(genes[lane, 0])
        oversold, overbought, weight = genes[lane, 1], genes[lane, 2], genes[lane, 4]
        index = bank[period - _SHORTEST]
        first = 2 * period
        if first >= end:
            counts[lane] = 0
            continue
        if genes[lane, 3] < 0.5:
            _fading(index[first:], oversold, overbought, code[first:end])
        else:
            now, past = close[first:], close[first - period :]
            _following(index[first:], now, past, oversold, overbought, code[first:end])
        held, count, wait = 0.0, 0, ENTER
        t = seek(words, first, wait)
        while t < end:
            target = 0.0
            if code[t] & wait & ENTER:
                side = 1.0 if code[t] & wait & LONG else -1.0
                diverges = divergence[period - _SHORTEST, t] == side
                target = side if diverges else side * (1.0 - weight)
            # Nothing without divergence: looked at again on the next bar.
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
    bank = panel.bank("rsi", lambda p: rsi(p.close, _SHORTEST, _LONGEST))
    divergence = panel.bank("rsi divergence", lambda p: divergences(p.close, bank))
    _scan(panel.close, bank, divergence, genes, out.bars, out.targets, out.counts)


FAMILY = Family(
    name="rsi_filter",
    kind="mean reversion",
    rule="fade the RSI's extremes, or follow the trend with the RSI as a filter; divergence sizes",
    genes=(
        Gene(name="rsi_period", low=_SHORTEST, high=_LONGEST, integer=True),
        Gene(name="oversold", low=25.0, high=40.0),
        Gene(name="overbought", low=60.0, high=80.0),
        Gene(name="operation_mode", low=0.0, high=1.0),
        Gene(name="divergence_weight", low=0.0, high=1.0),
    ),
    signals=signals,
    history=2 * _LONGEST,
)
