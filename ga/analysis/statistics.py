"""Statistics of a portfolio on one part of the history: what tables, pages and JSON show.

A part consists of one or more ranges of bars (folds). Returns are those of the bars within the
ranges, joined; n is their number, N the number of bars in a year, r a return of a bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from ga.analysis.accounts import Accounts
from ga.numerics import exp_of, log_of, mean, total

Floats = NDArray[np.float64]
Range = tuple[int, int]
"""Bars from the first up to, but not including, the second."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Statistics of one portfolio on one part; all are net of costs."""

    part: str
    bars: int
    sharpe: float
    """Annualised Sharpe ratio, mean over the part's folds and assets, as in the fitness."""
    cagr: float
    """See ``cagr``."""
    volatility: float
    """See ``volatility``."""
    max_drawdown: float
    """See ``max_drawdown``."""
    turnover: float
    """See ``turnover``."""
    exposure: float
    """See ``exposure``."""
    trades: int
    """Fills over all assets."""


def cagr(returns: Floats, bars_per_year: float) -> float:
    """Compound annual growth rate: the product of (1 + r), to the power N / n, less 1.

    As ``empyrical.cagr`` computes it. -1 if everything is lost.
    """
    growth = 0.0
    for value in (1.0 + returns).tolist():
        if value <= 0.0:
            return -1.0
        growth += log_of(value)
    # More than the largest float would be infinite, which JSON cannot write.
    return float(exp_of(min(growth * bars_per_year / returns.size, 700.0))) - 1.0


def volatility(returns: Floats, bars_per_year: float) -> float:
    """Annualised volatility: the standard deviation (n - 1) of r, times the square root of N.

    As ``empyrical.annual_volatility`` computes it (Hull, "Options, Futures, and Other
    Derivatives", chapter on volatility). 0 for fewer than 2 returns.
    """
    if returns.size < 2:
        return 0.0
    away = returns - mean(returns)
    return sqrt(total(away * away) / (returns.size - 1)) * sqrt(bars_per_year)


def max_drawdown(curve: Floats, ranges: Sequence[Range]) -> float:
    """Largest loss from an earlier peak within one range, as a fraction of the peak, from 0 to 1.

    Magdon-Ismail and Atiya, "Maximum Drawdown", Risk, 2004. The peak begins with the equity before
    the range's first bar.
    """
    worst = 0.0
    for start, stop in ranges:
        worst = max(worst, float(drawdowns(curve[max(start - 1, 0) : stop]).max()))
    return worst


def drawdowns(curve: Floats) -> Floats:
    """(T,) loss from the highest equity so far, as a fraction of it."""
    peak = np.maximum.accumulate(curve)
    return 1.0 - np.divide(curve, peak, out=np.ones_like(curve), where=peak > 0.0)


def turnover(accounts: Accounts, ranges: Sequence[Range], bars_per_year: float) -> float:
    """Annual turnover: traded value over equity, summed over the bars, times N / n.

    Purchases and sales both count, so a position that is opened and closed once a year with all
    equity gives 2. Traded value is that of all assets at the opens of their fills, equity that of
    all accounts at the close before (``pyfolio.txn.get_turnover`` divides by the same).
    """
    count = accounts.equity.shape[1]
    before = np.concatenate([np.ones(1), accounts.curve[:-1]]) * count
    share = np.zeros(len(before))
    for asset in range(count):
        share += np.divide(
            accounts.traded[:, asset], before, out=np.zeros_like(before), where=before > 0.0
        )
    return mean(joined(share, ranges)) * bars_per_year


def exposure(accounts: Accounts, ranges: Sequence[Range]) -> float:
    """Share of bars at whose close a position is held, mean over the assets, from 0 to 1.

    The "Exposure Time" of backtesting.py, as a fraction.
    """
    held = accounts.exposed.astype(np.float64)
    return mean([mean(joined(held[:, asset], ranges)) for asset in range(held.shape[1])])


def joined(values: Floats, ranges: Sequence[Range]) -> Floats:
    """The values (T,) of the bars of all ranges, in order."""
    return np.concatenate([values[start:stop] for start, stop in ranges])


def statistics_of(
    part: str,
    accounts: Accounts,
    ranges: Sequence[Range],
    *,
    sharpe: float,
    bars_per_year: float,
) -> Statistics:
    """All statistics of a portfolio on the ranges of one part."""
    returns = joined(accounts.returns, ranges)
    fills = [total(joined(column, ranges)) for column in accounts.fills.T]
    return Statistics(
        part=part,
        bars=returns.size,
        sharpe=sharpe,
        cagr=cagr(returns, bars_per_year),
        volatility=volatility(returns, bars_per_year),
        max_drawdown=max_drawdown(accounts.curve, ranges),
        turnover=turnover(accounts, ranges, bars_per_year),
        exposure=exposure(accounts, ranges),
        trades=int(total(np.array(fills))),
    )
