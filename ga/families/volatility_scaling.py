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

from ga.families.base import Changes, Family, Floats, Gene
from ga.families.indicators import prefix
from ga.families.scan import ENTER, LONG, SHORT, blank, seek
from ga.jit import kernel
from ga.panel import Panel

_SHORTEST, _LONGEST, _SLOW = 10, 40, 4
_HIGH, _LOW = 4, 8


@kernel()
def mean_squares(sums: Floats, shortest: int, longest: int, times: int) -> Floats:
    """(P, T) rolling means over times x n bars, n = shortest..longest, of what ``sums`` (T+1) adds
    up; 0 before that."""
    out = np.zeros((longest - shortest + 1, sums.size - 1))
    for row in range(out.shape[0]):
        n = times * (shortest + row)
        for t in range(n, out.shape[1]):
            out[row, t] = (sums[t + 1] - sums[t + 1 - n]) / n
    return out


@kernel()
def _conditions(price, past, short, long, spread, ratio, code):
    for t in range(code.size):
        move = price[t] - past[t]
        far = move * move > spread * short[t]
        above = short[t] > ratio * long[t]
        code[t] = (
            np.uint8(far & (move > 0.0)) * LONG
            | np.uint8(far & (move < 0.0)) * SHORT
            | np.uint8(above) * _HIGH
            | np.uint8(not above) * _LOW
        )


@kernel()
def _next_regime(words, t, end, high, persistence):
    """The bar from t on at which the other regime has lasted long enough."""
    other, same = (_LOW, _HIGH) if high else (_HIGH, _LOW)
    while True:
        begins = seek(words, t, other)
        if begins + persistence > end:
            return end
        t = seek(words, begins, same)
        if t - begins >= persistence:
            return begins + persistence - 1


@kernel()
def _scan(price, fast, slow, per_year, genes, bars, targets, counts):
    end = price.size
    code = blank(end)
    words = code.view(np.uint64)
    for lane in range(genes.shape[0]):
        n, ratio = int(genes[lane, 0]), genes[lane, 1] * genes[lane, 1]
        scaling, persistence = genes[lane, 2], int(genes[lane, 3])
        mix, wanted, base = genes[lane, 4], genes[lane, 5], 20.0 * genes[lane, 6]
        short, long = fast[n - _SHORTEST], slow[n - _SHORTEST]
        first = _SLOW * n
        if first >= end:
            counts[lane] = 0
            continue
        _conditions(
            price[first:],
            price[first - n :],
            short[first:],
            long[first:],
            0.25 * n,
            ratio,
            code[first:end],
        )
        held, count, side, high = 0.0, 0, 0.0, False
        wait = ENTER
        turn, change = seek(words, first, wait), _next_regime(words, first, end, False, persistence)
        while True:
            t = min(turn, change)
            if t >= end:
                break
            if change == t:
                high = not high
                change = _next_regime(words, t + 1, end, high, persistence)
            if turn == t:
                side = 1.0 if code[t] & wait & LONG else -1.0
                wait = SHORT if side > 0.0 else LONG
                turn = seek(words, t + 1, wait)
            variance, lasting = short[t] * per_year, long[t] * per_year
            risk = (1.0 - mix) * np.sqrt(variance) + mix * np.sqrt(lasting)
            size = min(1.0, base * wanted / risk) if risk > 0.0 else 0.0
            target = side * (size * scaling if high else size)
            if target != held:
                held = target
                bars[lane, count] = t
                targets[lane, count] = target
                count += 1
        counts[lane] = count


def _log_close(panel: Panel) -> Floats:
    """(1, T) sums of log returns: unlike logs of prices, the same bits in any currency."""
    ratios = panel.close[1:] / panel.close[:-1]
    return np.concatenate([[0.0], np.cumsum(np.log(ratios))])[None, :]


def _square_sums(panel: Panel) -> Floats:
    logs = panel.bank("log close", _log_close)[0]
    return np.asarray(prefix(np.diff(logs, prepend=logs[:1]) ** 2))


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
