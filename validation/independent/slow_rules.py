"""Rule families with a memory of their own; see ``validation.independent.rules``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from validation.independent.prices import Floats, Prices, changes, log_returns, totals
from validation.independent.states import earlier, sides, sized

_WEEK_HOURS: Final = 168.0


def volatility_scaling(prices: Prices, genes: Sequence[float]) -> Floats:
    """Momentum, sized to a target volatility by regime."""
    n, threshold, scaling, persistence, mix, target, base = (
        int(genes[0]),
        genes[1],
        genes[2],
        int(genes[3]),
        *genes[4:],
    )
    moves = prices.keep("log returns", of=lambda: log_returns(prices.close))
    short = prices.keep("squares", n, of=lambda: totals(moves**2, n)) / n
    long = prices.keep("squares", 4 * n, of=lambda: totals(moves**2, 4 * n)) / (4 * n)
    move = np.cumsum(moves) - earlier(np.cumsum(moves), n)
    far = move**2 > short * n / 4.0
    ups, downs = (far & (move > 0.0)).tolist(), (far & (move < 0.0)).tolist()
    above = (short > long * threshold**2).tolist()
    per_year, out = prices.bars_per_year, np.zeros(prices.bars)
    side, high, run, held = 0, False, 0, 0.0
    for t in range(4 * n, prices.bars):
        before = (side, high)
        side = 1 if ups[t] else -1 if downs[t] else side
        # Bars in a row, counted from the first traded one, on this side of the threshold.
        run = run + 1 if t > 4 * n and above[t] == above[t - 1] else 1
        if run >= persistence:
            high = above[t]
        if (side, high) != before:
            risk = (1.0 - mix) * math.sqrt(short[t] * per_year) + mix * math.sqrt(
                long[t] * per_year
            )
            size = min(1.0, 20.0 * base * target / risk) if risk > 0.0 else 0.0
            held = side * (size * scaling if high else size)
        out[t] = held
    return out


def nadaraya_watson(prices: Prices, genes: Sequence[float]) -> Floats:
    """The slope of a causal kernel regression."""
    h, kernel, threshold, smoothing, adapt = int(genes[0]), *genes[1:]
    close, gaussian = prices.close, int(kernel < 0.5)

    def slopes() -> Floats:
        u = np.arange(3 * h + 1 if gaussian else h) / h
        weights = np.exp(-0.5 * u * u) if gaussian else 1.0 - u * u
        line = np.full(close.size, np.nan)
        line[len(u) - 1 :] = np.convolve(close, weights, "valid") / weights.sum()
        return line / earlier(line, h) - 1.0

    def activity() -> Floats:
        path = changes(close)
        fast, slow = totals(path, 50) / 50, totals(path, 250) / 250
        moved = slow > 0.0
        return np.where(moved, fast / np.where(moved, slow, 1.0), 1.0)

    slope = prices.keep("slopes", h, gaussian, of=slopes)
    signal = slope * (1.0 - smoothing) + earlier(slope, h) * smoothing
    need = threshold * (1.0 - adapt + adapt * prices.keep("activity", of=activity))
    found = sides(5 * h + 1, signal > need, signal < -need, signal < 0.0, signal > 0.0)
    return sized(found, lambda _t, _side: 1.0)


def funding_rate_carry(prices: Prices, genes: Sequence[float]) -> Floats:
    """Takes the side that is paid funding."""
    threshold, momentum = genes[0], genes[2]
    hours = prices.hours_per_bar
    duration = max(1, round(genes[1] / hours))
    patience = 2.0 * genes[3] - 1.0
    span = max(1, round(genes[4] / hours))
    assert prices.funding is not None
    funding = prices.funding
    week = prices.keep("funding", span, of=lambda: totals(funding, span))
    week = week * (_WEEK_HOURS / (span * hours))
    values = (week + momentum * (week - earlier(week, span))).tolist()
    rich, cheap = max(threshold, 0.0), min(threshold, 0.0)
    out, side, floor, review = np.zeros(prices.bars), 0.0, 0.0, 0
    for t in range(2 * span - 1, prices.bars):
        now = values[t]
        # Long while shorts pay.
        wanted = 1.0 if now < cheap else -1.0 if now > rich else 0.0
        if side == 0.0 or t == review:
            side = wanted
            floor, review = patience * abs(now), t + duration
        elif -side * now < floor:
            side = 0.0
        out[t] = side
    return out
