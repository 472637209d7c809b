"""Rule families that trade oscillators and bands; see ``validation.independent.rules``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from validation.independent.prices import (
    Floats,
    Prices,
    changes,
    highest,
    lowest,
    rsi,
    totals,
)
from validation.independent.states import earlier, sides, sized

_RANGE: Final = 125
"""Bars over which the width of the bands is compared."""


def rsi_filter(prices: Prices, genes: Sequence[float]) -> Floats:
    """Fades the extremes of the index, or follows the trend with it as a filter."""
    n, oversold, overbought, mode, weight = int(genes[0]), *genes[1:]
    close = prices.close
    index = prices.keep("rsi", n, of=lambda: rsi(close, n))
    before = earlier(close, n)
    if mode < 0.5:
        found = sides(2 * n, index < oversold, index > overbought, index > 50.0, index < 50.0)
    else:
        found = sides(
            2 * n,
            (index > 50.0) & (index < overbought) & (close > before),
            (index < 50.0) & (index > oversold) & (close < before),
            close < before,
            close > before,
        )

    def size(t: int, side: int) -> float:
        past, values = close[t - n : t], index[t - n : t]
        if (past >= close[t]).all():
            diverges = side > 0 and not (values >= index[t]).all()
            if not (values >= index[t]).all():
                return 1.0 if diverges else 1.0 - weight
        if (past <= close[t]).all() and side < 0 and not (values <= index[t]).all():
            return 1.0
        return 1.0 - weight

    return sized(found, size)


def stochastic_oscillator(prices: Prices, genes: Sequence[float]) -> Floats:
    """Crosses of %K and %D out of the extreme zones."""
    n, d, overbought, oversold, weight = int(genes[0]), int(genes[1]), *genes[2:]
    close = prices.close

    def percent() -> Floats:
        top, bottom = highest(prices.high, n), lowest(prices.low, n)
        span = top - bottom
        out = np.where(span > 0.0, 100.0 * (close - bottom) / np.where(span > 0.0, span, 1.0), 50.0)
        out[: n - 1] = np.nan
        return np.asarray(out)

    fast = prices.keep("%K", n, of=percent)

    def mean() -> Floats:
        # In the order of time, so that equal values have an equal mean.
        total = np.zeros(close.size)
        for k in range(d - 1, -1, -1):
            total = total + earlier(fast, k)
        return total / d

    slow = prices.keep("%D", n, d, of=mean)
    fast_before, slow_before = earlier(fast, 1), earlier(slow, 1)
    up, down = (
        (fast > slow) & (fast_before <= slow_before),
        (fast < slow) & (fast_before >= slow_before),
    )
    found = sides(
        2 * n + d,
        up & (slow < oversold),
        down & (slow > overbought),
        (slow >= overbought) | ((slow > 50.0) & (fast < slow)),
        (slow <= oversold) | ((slow < 50.0) & (fast > slow)),
    )

    def size(t: int, side: int) -> float:
        price, line = side * (close[t] - close[t - n]), side * (slow[t] - slow[t - n])
        return 1.0 if price < 0.0 < line else 1.0 - weight

    return sized(found, size)


def vwap_reversion(prices: Prices, genes: Sequence[float]) -> Floats:
    """Fades closes far from a rolling volume-weighted average price."""
    n, threshold, confirm, multiplier, regime = int(genes[0]), *genes[1:]
    close, volume = prices.close, prices.volume
    weights = volume if volume.any() else np.ones(prices.bars)
    typical = (prices.high + prices.low + close) / 3.0
    cash = prices.keep("money", n, of=lambda: totals(typical * weights, n))
    shares = prices.keep("shares", n, of=lambda: totals(weights, n))
    path = prices.keep("path", n, of=lambda: totals(changes(close), n))
    usual = prices.keep("volumes", n, of=lambda: totals(volume, n))
    worth = close * shares
    scale = multiplier * np.sqrt(n) / 2.0 * path / n * shares
    far = (worth - cash) ** 2 > (threshold * cash) ** 2 + scale**2
    enter = far & (volume * n >= usual * confirm)
    found = sides(n, enter & (worth < cash), enter & (worth > cash), worth >= cash, worth <= cash)

    def size(t: int, _side: int) -> float:
        ratio = abs(close[t] - close[t - n]) / path[t] if path[t] > 0.0 else 0.0
        return float(1.0 - regime * min(1.0, ratio))

    return sized(found, size)


def bollinger_bands(prices: Prices, genes: Sequence[float]) -> Floats:
    """Fades closes outside the bands, or follows those out of a squeeze."""
    n, edge, squeeze, strength, scaling = int(genes[0]), *genes[1:]
    score = prices.keep("z", n, of=lambda: _bands(prices.close, n)[0])
    part = prices.keep("width", n, of=lambda: _bands(prices.close, n)[1])
    squeezed = part <= squeeze
    beyond = np.where(squeezed, edge * (1.0 + 2.0 * strength), edge)
    # The side of the average on which an excursion is traded.
    found = sides(n + _RANGE, score > beyond, score < -beyond, score <= 0.0, score >= 0.0)

    def size(t: int, _side: int) -> float:
        most = min(1.0, scaling / (2.0 * edge) * abs(score[t]))
        return float(most if squeezed[t] else -most)

    return sized(found, size)


def _bands(close: Floats, n: int) -> tuple[Floats, Floats]:
    """Distance from the mean in deviations; and where the last bar's width lay in its range."""
    windows = sliding_window_view(close, n)
    mean, std = np.full(close.size, np.nan), np.full(close.size, np.nan)
    mean[n - 1 :] = windows.mean(axis=1)
    std[n - 1 :] = windows.std(axis=1)
    flat = std <= 1e-12 * mean
    score = np.where(flat, 0.0, (close - mean) / np.where(flat, 1.0, std))
    width = np.where(flat, 0.0, std) / mean
    part = np.full(close.size, np.nan)
    first = n + _RANGE
    if close.size > first:
        past = sliding_window_view(width, _RANGE)[n : close.size - _RANGE]
        low, high = past.min(axis=1), past.max(axis=1)
        span = high - low
        part[first:] = np.where(
            span > 0.0, (width[first - 1 : -1] - low) / np.where(span > 0.0, span, 1.0), 0.0
        )
    return score, part
