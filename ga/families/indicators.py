"""Indicators for whole ranges of periods: the banks that families share.

Every function returns one row per period, (P, T). Where a signal must not use bars before the
period is full, they are NaN. Values equal TA-Lib's (tests/unit/ga/test_ga_indicators.py).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ga.backtest.jit import kernel
from ga.backtest.panel import Panel

Floats = NDArray[np.float64]


@kernel()
def ema(values: Floats, shortest: int, longest: int) -> Floats:
    """Exponential moving averages, weight 2/(n+1), started at the first value (Appel, 1979)."""
    out = np.empty((longest - shortest + 1, values.size))
    for row in range(out.shape[0]):
        weight = 2.0 / (shortest + row + 1.0)
        value = values[0]
        for t in range(values.size):
            value += weight * (values[t] - value)
            out[row, t] = value
    return out


@kernel()
def highest(values: Floats, longest: int) -> Floats:
    """Rolling maxima of periods 1..longest; shorter at the start. Row n from row n-1."""
    out = np.empty((longest, values.size))
    out[0] = values
    for row in range(1, longest):
        for t in range(min(row, values.size)):
            out[row, t] = out[row - 1, t]
        for t in range(row, values.size):
            before, oldest = out[row - 1, t], values[t - row]
            out[row, t] = before if before > oldest else oldest
    return out


@kernel()
def lowest(values: Floats, longest: int) -> Floats:
    """Rolling minima of periods 1..longest; shorter at the start."""
    return -highest(-values, longest)


@kernel()
def prefix(values: Floats) -> Floats:
    """(1, T + 1) sums of the first 0..T values: a rolling sum in one subtraction."""
    out = np.zeros((1, values.size + 1))
    for t in range(values.size):
        out[0, t + 1] = out[0, t] + values[t]
    return out


@kernel()
def rsi(close: Floats, shortest: int, longest: int) -> Floats:
    """Wilder's relative strength index, 0..100; NaN before a row's period, 50 for constant closes.

    100 * mean gain / (mean gain + mean loss), Wilder's smoothing, first mean simple (Wilder, 1978).
    """
    out = np.full((longest - shortest + 1, close.size), np.nan)
    for row in range(out.shape[0]):
        period = shortest + row
        gain = loss = 0.0
        for t in range(1, close.size):
            change = close[t] - close[t - 1]
            up, down = max(change, 0.0), max(-change, 0.0)
            if t <= period:
                gain += up / period
                loss += down / period
            else:
                gain = (gain * (period - 1) + up) / period
                loss = (loss * (period - 1) + down) / period
            if t >= period:
                out[row, t] = 100.0 * gain / (gain + loss) if gain + loss > 0.0 else 50.0
    return out


@kernel()
def stochastic_k(high: Floats, low: Floats, close: Floats, shortest: int, longest: int) -> Floats:
    """Raw %K, 100 * (close - lowest low) / (highest high - lowest low) (Lane, 1984); 50 where the
    range is 0, NaN before a row's period.
    """
    tops, bottoms = highest(high, longest), lowest(low, longest)
    out = np.full((longest - shortest + 1, close.size), np.nan)
    for row in range(out.shape[0]):
        n = shortest + row
        for t in range(n - 1, close.size):
            span = tops[n - 1, t] - bottoms[n - 1, t]
            out[row, t] = 100.0 * (close[t] - bottoms[n - 1, t]) / span if span > 0.0 else 50.0
    return out


@kernel()
def true_range(high: Floats, low: Floats, close: Floats) -> Floats:
    """(T,) max(high, previous close) - min(low, previous close); high - low on the first bar."""
    out = high - low
    for t in range(1, close.size):
        out[t] = max(high[t], close[t - 1]) - min(low[t], close[t - 1])
    return out


@kernel()
def atr(high: Floats, low: Floats, close: Floats, shortest: int, longest: int) -> Floats:
    """Average true range with Wilder's smoothing, first mean simple over bars 1..n (Wilder, 1978);
    NaN before a row's period.
    """
    ranges = true_range(high, low, close)
    out = np.full((longest - shortest + 1, close.size), np.nan)
    for row in range(out.shape[0]):
        n = shortest + row
        value = 0.0
        for t in range(1, close.size):
            if t <= n:
                value += ranges[t] / n
            else:
                value = (value * (n - 1) + ranges[t]) / n
            if t >= n:
                out[row, t] = value
    return out


@kernel()
def deviation(values: Floats, shortest: int, longest: int) -> tuple[Floats, Floats]:
    """Rolling means and population standard deviations, recomputed for every bar, so that rounding
    errors do not accumulate; NaN before a row's period.
    """
    rows = longest - shortest + 1
    mean, std = np.full((rows, values.size), np.nan), np.full((rows, values.size), np.nan)
    for t in range(shortest - 1, values.size):
        total = squares = 0.0
        # Relative to the newest value, so that a constant range has a deviation of exactly 0.
        centre = values[t]
        for k in range(min(longest, t + 1)):
            away = values[t - k] - centre
            total += away
            squares += away * away
            n = k + 1
            if n >= shortest:
                mean[n - shortest, t] = centre + total / n
                std[n - shortest, t] = np.sqrt(max(squares - total * total / n, 0.0) / n)
    return mean, std


def close_sums(panel: Panel) -> Floats:
    """(1, T + 1) prefix sums of the closes."""
    table: Floats = panel.bank("close sums", lambda p: prefix(p.close))
    return table


def path_sums(panel: Panel) -> Floats:
    """(1, T + 1) prefix sums of the absolute changes of the close: the length of the path."""

    def build(p: Panel) -> Floats:
        return np.asarray(prefix(np.abs(np.diff(p.close, prepend=p.close[:1]))))

    return panel.bank("path sums", build)


def volume_sums(panel: Panel) -> Floats:
    """(1, T + 1) prefix sums of the volumes."""
    return panel.bank("volume sums", lambda p: np.asarray(prefix(p.volume)))
