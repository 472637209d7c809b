"""Funding rate carry: take the side that is paid the funding of a perpetual future.

Rate = funding of the last funding_persistence hours, scaled to a week. Signal = rate +
rate_momentum x (rate - rate one such span before). Short while longs pay (signal above zero and
above funding_threshold), long while shorts pay (signal below zero and below funding_threshold).
Every carry_duration hours the position is reviewed, and closed unless it would be entered again;
before that it is closed once the signal in its favour is under (2 reversal_sensitivity - 1) x what
it was at entry: at 1 by any weakening, below 1/2 only by a reversal.

The carry of perpetual futures: Koijen, Moskowitz, Pedersen and Vrugt, "Carry" (2018).
"""

from __future__ import annotations

import numpy as np

from ga.backtest.jit import kernel
from ga.backtest.panel import Panel
from ga.backtest.simd.masks import masks
from ga.backtest.simd.search import first_below
from ga.backtest.simd.vectors import LANES
from ga.errors import InputError
from ga.families.base import Changes, Family, Floats, Gene
from ga.families.indicators import prefix
from ga.families.signals import ENTER, LONG, SHORT, flags, room, seal, seek

_WEEK = 168.0


@kernel()
def _signal(sums, middle, first, now, past, out):
    for t in range(out.size):
        out[t] = now * (sums[t] - middle[t]) - past * (middle[t] - first[t])


@masks
def _conditions(signal, rich, cheap):
    return signal < cheap, signal > rich


@kernel()
def _scan(sums, hours, genes, bars, targets, counts):
    end = sums.size - 1
    words, signal = room(end), np.zeros(end + LANES)
    for lane in range(counts.size):
        duration = max(1, int(np.round(genes[lane, 1] / hours)))
        momentum, patience = genes[lane, 2], 2.0 * genes[lane, 3] - 1.0
        span = max(1, int(np.round(genes[lane, 4] / hours)))
        scale = _WEEK / (span * hours)
        first = 2 * span - 1
        if first >= end:
            counts[lane] = 0
            continue
        _signal(
            sums[2 * span :],
            sums[span:],
            sums,
            scale * (1.0 + momentum),
            scale * momentum,
            signal[first:end],
        )
        rich, cheap = max(genes[lane, 0], 0.0), min(genes[lane, 0], 0.0)
        _conditions(signal[first:], rich, cheap, words, end - first)
        seal(words, end - first)
        count = 0
        t = first + seek(words, 0, ENTER)
        while t < end:
            bit = LONG if flags(words, t - first) & LONG else SHORT
            side = 1.0 if bit == LONG else -1.0
            bars[lane, count] = t
            targets[lane, count] = side
            count += 1
            held = True
            while held:
                floor = patience * abs(signal[t])
                review = min(t + duration, end)
                t = first_below(signal, t + 1, review, -side, floor)
                # At a review it stays if it would be entered again.
                held = t == review and t < end and flags(words, t - first) & bit != 0
            if t < end:
                if t == review and flags(words, t - first) & ENTER:
                    # The other side, at once.
                    continue
                bars[lane, count] = t
                targets[lane, count] = 0.0
                count += 1
                t = first + seek(words, t + 1 - first, ENTER)
        counts[lane] = count


def _funding_sums(panel: Panel) -> Floats:
    if panel.funding is None:
        raise InputError(
            "funding_rate_carry needs a market with a funding column; this one has none:"
            " add the column or leave the family out with --families"
        )
    return np.asarray(prefix(panel.funding))


def signals(panel: Panel, genes: Floats, out: Changes) -> None:
    """See ``ga.families.base.Signals``."""
    sums = panel.bank("funding sums", _funding_sums)[0]
    _scan(sums, panel.hours_per_bar, genes, out.bars, out.targets, out.counts)


FAMILY = Family(
    name="funding_rate_carry",
    kind="carry",
    rule="short while longs pay rich funding, long while shorts do, flat on reversal",
    genes=(
        Gene(name="funding_threshold", low=-0.005, high=0.005),
        Gene(name="carry_duration", low=1, high=72, integer=True),
        Gene(name="rate_momentum", low=0.0, high=1.0),
        Gene(name="reversal_sensitivity", low=0.1, high=1.0),
        Gene(name="funding_persistence", low=2, high=24, integer=True),
    ),
    signals=signals,
    history=2 * 24 + 1,
    needs_funding=True,
)
