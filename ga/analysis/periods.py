"""Results over time: rolling Sharpe ratio and returns of calendar months."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

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
    # A window is the end of one block of ``window`` returns and the beginning of the next one. Sums
    # over the whole series, subtracted, would lose the digits of a calm window after a wild one.
    count = -(-returns.size // window)
    padded = np.concatenate([returns, np.zeros(count * window - returns.size)])
    blocks = padded.reshape(count, window)
    mean_after, squares_after = _running(blocks)
    mean_before, squares_before = (part[:-1, -2::-1] for part in _running(blocks[:, ::-1]))
    after = np.arange(1, window + 1)
    before = window - after
    average, squares = mean_after.copy(), squares_after.copy()
    apart = mean_after[1:, :-1] - mean_before
    average[1:, :-1] = mean_before + apart * (after[:-1] / window)
    squares[1:, :-1] += squares_before + apart * apart * (after * before / window)[:-1]
    average = average.ravel()[window - 1 : returns.size]
    spread = np.sqrt(squares.ravel()[window - 1 : returns.size] / (window - 1))
    moved = spread > 1e-12
    ratio = np.divide(average, spread, out=np.zeros_like(spread), where=moved)
    found[window - 1 :] = ratio * sqrt(bars_per_year)
    return found


def _running(blocks: Floats) -> tuple[Floats, Floats]:
    """(B, W) mean, and sum of squared deviations from it, of the first 1 to W values of each row.

    Every term is at least 0, so that nothing cancels. (Welford, "Note on a Method for Calculating
    Corrected Sums of Squares and Products", 1962; the halves are joined as by Chan et al., 1979.)
    """
    counts = np.arange(1, blocks.shape[1] + 1)
    means = np.cumsum(blocks, axis=1) / counts
    change = blocks - np.concatenate([np.zeros((blocks.shape[0], 1)), means[:, :-1]], axis=1)
    return means, np.cumsum(change * change * ((counts - 1) / counts), axis=1)


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
