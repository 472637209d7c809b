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

from ga.backtest.jit import kernel
from ga.backtest.panel import Panel
from ga.backtest.simd.masks import masks
from ga.families.base import Changes, Family, Floats, Gene
from ga.families.indicators import rsi
from ga.families.signals import TILE, room, settle, sides

_SHORTEST, _LONGEST = 10, 20


@kernel()
def divergences(close: Floats, bank: Floats) -> Floats:
    """(P, T): 1 where the close is at its low of the row's period before and the index is not, -1
    where the close is at its high and the index is not, else 0.
    """
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


@masks
def _fading(index, oversold, overbought):
    return index < oversold, index > overbought, index > 50.0, index < 50.0


@masks
def _following(index, close, past, oversold, overbought):
    return (
        (index > 50.0) & (index < overbought) & (close > past),
        (index < 50.0) & (index > oversold) & (close < past),
        close < past,
        close > past,
    )


@kernel()
def _scan(close, bank, divergence, genes, bars, targets, counts):
    words, state = room(TILE), np.zeros((counts.size, 3), np.uint64)
    for begin in range(0, close.size, TILE):
        for lane in range(counts.size):
            period = int(genes[lane, 0])
            start = begin + 2 * period
            stop = min(start + TILE, close.size)
            if start >= stop:
                continue
            index = bank[period - _SHORTEST, start:]
            oversold, overbought = genes[lane, 1], genes[lane, 2]
            if genes[lane, 3] < 0.5:
                _fading(index, oversold, overbought, words, stop - start)
            else:
                now, past = close[start:], close[start - period :]
                _following(index, now, past, oversold, overbought, words, stop - start)
            sides(words, start, stop, state[lane], bars[lane], targets[lane])
    for lane in range(counts.size):
        count, without = np.int64(state[lane, 2]), 1.0 - genes[lane, 4]
        diverges = divergence[int(genes[lane, 0]) - _SHORTEST]
        for i in range(count):
            side = targets[lane, i]
            targets[lane, i] = side if diverges[bars[lane, i]] == side else side * without
        counts[lane] = settle(bars[lane], targets[lane], count)


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
