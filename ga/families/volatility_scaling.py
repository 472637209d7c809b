"""Volatility scaling: time-series momentum, sized to a target volatility by regime.

Direction = sign of the log return over `window` bars once it exceeds half its deviation, held until
the mirror case (Moskowitz, Ooi and Pedersen, 2012). Volatility = annualised root mean square of the
log returns, over `window` bars mixed with four windows by multi_timeframe_weight. The regime is
"high" while the window's volatility is above regime_threshold x that of four windows; it changes
once the other side has lasted regime_persistence bars. Size = 20 position_base x target_volatility
/ volatility, at most 1, x scaling_factor in the high regime; set when direction or regime change.
"""

from __future__ import annotations

import numpy as np

from ga.backtest.jit import kernel
from ga.backtest.panel import Panel
from ga.backtest.simd.masks import BARS, masks
from ga.backtest.simd.search import trailing_zeros
from ga.families.base import Changes, Family, Floats, Gene
from ga.families.indicators import prefix
from ga.families.signals import TILE, latch, room, settle
from ga.numerics import log

_SHORTEST, _LONGEST, _SLOW = 10, 40, 4


@kernel()
def mean_squares(sums: Floats, shortest: int, longest: int, times: int) -> Floats:
    """(P, T) rolling means over times x n bars, n = shortest..longest, of what ``sums`` (T+1) adds
    up; 0 before that.
    """
    out = np.zeros((longest - shortest + 1, sums.size - 1))
    for row in range(out.shape[0]):
        n = times * (shortest + row)
        for t in range(n, out.shape[1]):
            out[row, t] = (sums[t + 1] - sums[t + 1 - n]) / n
    return out


@masks
def _conditions(price, past, short, long, spread, ratio):
    move, above = price - past, short > long * ratio
    far = move * move > short * spread
    return far & (move > 0.0), far & (move < 0.0), above, ~above


@kernel(inline="always")
def lasted(now, before, bars):
    """Mask of the bars that end a run of a given length; ``before`` are the 64 bars before
    ``now``.
    """
    found = now
    for step in range(1, bars):
        found &= now << np.uint64(step) | before >> np.uint64(BARS - step)
    return found


@kernel()
def _scan(price, fast, slow, per_year, genes, bars, targets, counts):
    words, state = room(TILE), np.zeros((counts.size, 6), np.uint64)
    for begin in range(0, price.size, TILE):
        for lane in range(counts.size):
            n, ratio = int(genes[lane, 0]), genes[lane, 1] * genes[lane, 1]
            short, long = fast[n - _SHORTEST], slow[n - _SHORTEST]
            start = begin + _SLOW * n
            stop = min(start + TILE, price.size)
            if start >= stop:
                continue
            _conditions(
                price[start:],
                price[start - n :],
                short[start:],
                long[start:],
                0.25 * n,
                ratio,
                words,
                stop - start,
            )
            _trade(
                words,
                start,
                stop,
                short,
                long,
                per_year,
                genes[lane],
                state[lane],
                bars[lane],
                targets[lane],
            )
    for lane in range(counts.size):
        counts[lane] = settle(bars[lane], targets[lane], np.int64(state[lane, 5]))


@kernel()
def _trade(words, start, stop, short, long, per_year, genes, state, bars, targets):
    """Continue one lane over bars [start, stop), whose masks begin in words[0].

    ``state`` (6,): whether it is long, short, in the high regime; which of the last 64 bars were
    above the threshold, which below; the number of changes.
    """
    one, last = np.uint64(1), np.uint64(BARS - 1)
    scaling, persistence, mix = genes[2], int(genes[3]), genes[4]
    wanted = 20.0 * genes[6] * genes[5]
    ups, downs, highs, above_before, below_before = state[0], state[1], state[2], state[3], state[4]
    count = np.int64(state[5])
    for w in range((stop - start + BARS - 1) // BARS):
        up = latch(words[w, 0], words[w, 1], ups)
        down = latch(words[w, 1], words[w, 0], downs)
        above, below = words[w, 2], words[w, 3]
        high = latch(
            lasted(above, above_before, persistence),
            lasted(below, below_before, persistence),
            highs,
        )
        changed = (up ^ (up << one | ups)) | (down ^ (down << one | downs))
        changed |= high ^ (high << one | highs)
        ups, downs, highs = up >> last, down >> last, high >> last
        above_before, below_before = above, below
        begin = start + w * BARS
        while changed != np.uint64(0):
            bit = trailing_zeros(changed)
            changed &= changed - one
            t = begin + np.int64(bit)
            side = float(np.int64((up >> bit) & one) - np.int64((down >> bit) & one))
            variance, lasting = short[t] * per_year, long[t] * per_year
            risk = (1.0 - mix) * np.sqrt(variance) + mix * np.sqrt(lasting)
            size = min(1.0, wanted / risk) if risk > 0.0 else 0.0
            bars[count] = t
            targets[count] = side * (size * scaling if (high >> bit) & one else size)
            count += 1
    state[0], state[1], state[2], state[3], state[4] = ups, downs, highs, above_before, below_before
    state[5] = np.uint64(count)


def _log_close(panel: Panel) -> Floats:
    """(1, T) sums of log returns: unlike logs of prices, the same bits in any currency."""
    ratios = panel.close[1:] / panel.close[:-1]
    return np.concatenate([[0.0], np.cumsum(log(ratios))])[None, :]


def _square_sums(panel: Panel) -> Floats:
    logs = panel.bank("log close", _log_close)[0]
    return np.asarray(prefix(np.square(np.diff(logs, prepend=logs[:1]))))


def signals(panel: Panel, genes: Floats, out: Changes) -> None:
    """See ``ga.families.base.Signals``."""
    logs = panel.bank("log close", _log_close)[0]
    sums = panel.bank("square sums", _square_sums)[0]
    fast = panel.bank("variance", lambda _: mean_squares(sums, _SHORTEST, _LONGEST, 1))
    slow = panel.bank("slow variance", lambda _: mean_squares(sums, _SHORTEST, _LONGEST, _SLOW))
    per_year = panel.bars_per_year
    _scan(logs, fast, slow, per_year, genes, out.bars, out.targets, out.counts)


FAMILY = Family(
    name="volatility_scaling",
    kind="volatility",
    rule="time-series momentum sized to a target volatility, smaller in high regimes",
    genes=(
        Gene(name="window", low=_SHORTEST, high=_LONGEST, integer=True),
        Gene(name="regime_threshold", low=0.8, high=2.0),
        Gene(name="scaling_factor", low=0.2, high=0.8),
        Gene(name="regime_persistence", low=2, high=10, integer=True),
        Gene(name="multi_timeframe_weight", low=0.0, high=1.0),
        Gene(name="target_volatility", low=0.10, high=0.20),
        Gene(name="position_base", low=0.005, high=0.05),
    ),
    signals=signals,
    history=_SLOW * _LONGEST + 1,
)
