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

from ga.errors import InputError
from ga.families.base import Changes, Family, Floats, Gene
from ga.families.indicators import prefix
from ga.families.scan import ENTER, LONG, SHORT, blank, seek
from ga.jit import kernel
from ga.panel import Panel

_WEEK = 168.0


@kernel()
def _conditions(sums, middle, first, now, past, rich, cheap, signal, code):
    for t in range(code.size):
        value = now * (sums[t] - middle[t]) - past * (middle[t] - first[t])
        signal[t] = value
        code[t] = np.uint8(value < cheap) * LONG | np.uint8(value > rich) * SHORT


@kernel()
def _scan(sums, hours, genes, bars, targets, counts):
    end = sums.size - 1
    code, signal = blank(end), np.empty(end)
    words = code.view(np.uint64)
    for lane in range(genes.shape[0]):
        duration = max(1, int(np.round(genes[lane, 1] / hours)))
        momentum, patience = genes[lane, 2], 2.0 * genes[lane, 3] - 1.0
        span = max(1, int(np.round(genes[lane, 4] / hours)))
        scale = _WEEK / (span * hours)
        first = 2 * span - 1
        if first >= end:
            counts[lane] = 0
            continue
        _conditions(
            sums[2 * span :],
            sums[span:],
            sums,
            scale * (1.0 + momentum),
            scale * momentum,
            max(genes[lane, 0], 0.0),
            min(genes[lane, 0], 0.0),
            signal[first:],
            code[first:end],
        )
        count = 0
        t = seek(words, first, ENTER)
        while t < end:
            bit = LONG if code[t] & LONG else SHORT
            side = 1.0 if bit == LONG else -1.0
            bars[lane, count] = t
            targets[lane, count] = side
            count += 1
            held = True
            while held:
                floor = patience * abs(signal[t])
                review = min(t + duration, end)
                t += 1
                while t < review and -side * signal[t] >= floor:
                    t += 1
                # At a review it stays if it would be entered again.
                held = t == review and t < end and code[t] & bit != 0
            if t < end:
                target = 0.0
                if t == review and code[t] & ENTER:
                    # The other side, at once.
                    continue
                bars[lane, count] = t
                targets[lane, count] = target
                count += 1
                t = seek(words, t + 1, ENTER)
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
