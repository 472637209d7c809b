"""Statistics of accounts -> Sharpe ratios and fitness."""

from __future__ import annotations

import numpy as np

from ga.backtest.kernel import scores
from ga.evaluation.settings import Settings
from ga.typing import Floats


def sharpe(statistics: Floats, bars_per_year: float) -> Floats:
    """Annualised Sharpe ratio, mean / std * sqrt(bars per year); 0 for constant equity, NaN for
    NaN.

    Args:
        statistics: (..., 6) as ``ga.backtest.simulation.run`` returns them.
    """
    mean, std = statistics[..., 0], statistics[..., 1]
    moved = std > 1e-15
    ratio = np.where(moved, mean / np.where(moved, std, 1.0), 0.0)
    # A comparison with NaN is false: without this line a broken evaluation would score 0.
    ratio = np.where(np.isnan(mean) | np.isnan(std), np.nan, ratio)
    return np.asarray(ratio * np.sqrt(bars_per_year), dtype=np.float64)


def score(statistics: Floats, bars_per_year: float, settings: Settings) -> Floats:
    """(L, 3) from statistics (L, A, F, 6): fitness, fills, and the largest drawdown. Fitness is the
    mean of the annualised net Sharpe ratios over assets and folds; ratios above zero are scaled
    down where there were few trades.
    """
    found = np.empty((len(statistics), 3))
    scores(statistics.swapaxes(0, 1), bars_per_year, settings.min_trades, found)
    return found
