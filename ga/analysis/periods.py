"""Results over time: rolling Sharpe ratio and returns of calendar months."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ga.numerics import mean

Floats = NDArray[np.float64]

_YEARS: Final = 0.5
"""Length of the window of the rolling Sharpe ratio."""


def rolling_window(bars: int, bars_per_year: float) -> int:
    """Bars of half a year; at most a quarter of the history, and at least 2."""
    return max(2, min(round(_YEARS * bars_per_year), bars // 4))


def rolling_sharpe(returns: Floats, window: int, bars_per_year: float) -> Floats:
    """(T,) annualised Sharpe ratio of the last ``window`` returns; NaN before there are as many.

    Mean over standard deviation (n - 1), times the square root of the bars in a year; 0 for
    returns that never change. (Lo, "The Statistics of Sharpe Ratios", 2002.)
    """
    found = np.full(returns.size, np.nan)
    if returns.size < window:
        return found
    # Around the mean of all, so that the sums lose no digits.
    middle = mean(returns)
    away = returns - middle
    total = np.cumsum(np.concatenate([np.zeros(1), away]))
    squares = np.cumsum(np.concatenate([np.zeros(1), away * away]))
    first = total[window:] - total[:-window]
    second = squares[window:] - squares[:-window]
    average = first / window
    spread = np.sqrt(np.maximum(second - first * average, 0.0) / (window - 1))
    moved = spread > 1e-12
    ratio = np.divide(average + middle, spread, out=np.zeros_like(spread), where=moved)
    found[window - 1 :] = ratio * sqrt(bars_per_year)
    return found


def monthly_returns(times: NDArray[np.int64], curve: Floats) -> Mapping[tuple[int, int], float]:
    """Return of each calendar month (UTC) that has bars: (year, month) -> return.

    The equity at the last close of the month over that at the last close before the month, less 1;
    the first month begins with equity 1. 0 for a closed account.

    Args:
        times: (T,) opening times, nanoseconds since the epoch. curve: (T,) equity.
    """
    months = times.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
    last = np.append(np.flatnonzero(np.diff(months)), months.size - 1)
    found, before = {}, 1.0
    for at in last.tolist():
        year, month = divmod(int(months[at]), 12)
        value = float(curve[at])
        found[1970 + year, month + 1] = value / before - 1.0 if before > 0.0 else 0.0
        before = value
    return found
