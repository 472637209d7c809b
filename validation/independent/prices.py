"""Prices of one asset, and indicators in plain Python and NumPy, written from their definitions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NANOSECONDS_PER_YEAR: Final = 365.25 * 24 * 3600 * 1e9
_NANOSECONDS_PER_HOUR: Final = 3600 * 1e9


@dataclass(frozen=True, kw_only=True, eq=False)
class Prices:
    """One asset over ``T`` bars. Indicators are kept once they are computed."""

    times: NDArray[np.int64]
    """(T,) nanoseconds since the epoch."""
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    funding: Floats | None
    """(T,) what longs pay to shorts over a bar, as a fraction of the position's value."""
    _kept: dict[tuple[object, ...], Any] = field(default_factory=dict)

    @property
    def bars(self) -> int:
        """Number of bars."""
        return int(self.close.size)

    @property
    def bars_per_year(self) -> float:
        """Mean number of bars in a year."""
        return (self.bars - 1) / float(self.times[-1] - self.times[0]) * NANOSECONDS_PER_YEAR

    @property
    def hours_per_bar(self) -> float:
        """Median hours from bar to bar."""
        return int(np.median(np.diff(self.times))) / _NANOSECONDS_PER_HOUR

    def keep(self, name: str, *period: int, of: Callable[[], Floats]) -> Floats:
        """The value of ``of``, computed once for a name and period."""
        key = (name, *period)
        if key not in self._kept:
            self._kept[key] = of()
        found: Floats = self._kept[key]
        return found

    def cut(self, bars: int) -> Prices:
        """The first bars."""
        return Prices(
            times=self.times[:bars],
            open=self.open[:bars],
            high=self.high[:bars],
            low=self.low[:bars],
            close=self.close[:bars],
            volume=self.volume[:bars],
            funding=None if self.funding is None else self.funding[:bars],
        )

    def shaken(self, size: float, seed: int) -> Prices:
        """All values changed by a relative ``size``, up or down at random."""
        draws = np.random.Generator(np.random.Philox(key=[seed, 0x5AE]))

        def moved(values: Floats) -> Floats:
            return values * (1.0 + size * draws.choice([-1.0, 1.0], values.size))

        return Prices(
            times=self.times,
            open=moved(self.open),
            high=moved(self.high),
            low=moved(self.low),
            close=moved(self.close),
            volume=moved(self.volume),
            funding=None if self.funding is None else moved(self.funding),
        )


def ema(values: Floats, n: int) -> Floats:
    """Exponential moving average of weight 2 / (n + 1), from the first value on."""
    weight, value, out = 2.0 / (n + 1.0), float(values[0]), []
    for one in values.tolist():
        value += weight * (one - value)
        out.append(value)
    return np.array(out)


def highest(values: Floats, n: int) -> Floats:
    """Largest of the last n values; of fewer at the start."""
    padded = np.concatenate([np.full(n - 1, -np.inf), values])
    return np.asarray(sliding_window_view(padded, n).max(axis=1))


def lowest(values: Floats, n: int) -> Floats:
    """Smallest of the last n values; of fewer at the start."""
    return -highest(-values, n)


def totals(values: Floats, n: int) -> Floats:
    """Sum of the last n values; NaN where there are fewer."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    out = np.full(values.size, np.nan)
    out[n - 1 :] = sums[n:] - sums[:-n] if n else 0.0
    return out


def changes(close: Floats) -> Floats:
    """Absolute change from bar to bar, 0 at first."""
    return np.abs(np.diff(close, prepend=close[:1]))


def wilder(values: Sequence[float], n: int) -> Floats:
    """Wilder's average of values[1:]: the mean of the first n, then smoothed; NaN before."""
    out, value = np.full(len(values), np.nan), 0.0
    for t in range(1, len(values)):
        value = value + values[t] / n if t <= n else (value * (n - 1) + values[t]) / n
        if t >= n:
            out[t] = value
    return out


def rsi(close: Floats, n: int) -> Floats:
    """Wilder's relative strength index; 50 where nothing moved, NaN before n changes."""
    moves = np.diff(close, prepend=close[:1])
    gain, loss = (
        wilder(np.maximum(moves, 0.0).tolist(), n),
        wilder(np.maximum(-moves, 0.0).tolist(), n),
    )
    both = gain + loss
    return np.where(both > 0.0, 100.0 * gain / np.where(both > 0.0, both, 1.0), both * 0.0 + 50.0)


def true_ranges(prices: Prices) -> Floats:
    """Range of each bar, with the close before it."""
    before = np.concatenate([prices.close[:1], prices.close[:-1]])
    out = np.maximum(prices.high, before) - np.minimum(prices.low, before)
    out[0] = prices.high[0] - prices.low[0]
    return np.asarray(out)


def log_returns(close: Floats) -> Floats:
    """Logarithm of each close over the one before, 0 at first."""
    rest = [math.log(b / a) for a, b in zip(close[:-1].tolist(), close[1:].tolist(), strict=True)]
    return np.array([0.0, *rest])
