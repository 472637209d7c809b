"""Statistics of overfitting: deflated Sharpe ratio and probability of backtest overfitting.

Pure functions over returns per bar; Sharpe ratios here are per bar, not annualised.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import e as euler_number
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ga.backtest.jit import kernel
from ga.normal import normal_cdf, normal_quantile
from ga.numerics import mean

Floats = NDArray[np.float64]

_EULER_MASCHERONI: Final = 0.5772156649015329
_BLOCKS: Final = 16
"""Number of blocks; there are 12,870 ways to choose half of them."""


def sharpe_ratio(returns: Floats) -> float:
    """Mean over standard deviation (n-1) of (T,) returns; 0 for constant equity."""
    if returns.size < 2:
        return 0.0
    away = returns - mean(returns)
    spread = sqrt(mean(away * away) * returns.size / (returns.size - 1))
    return mean(returns) / spread if spread > 1e-15 else 0.0


def probabilistic_sharpe(returns: Floats, benchmark: float = 0.0) -> float:
    """Probability that the true Sharpe ratio of (T,) returns is above ``benchmark``.

    Allows for skew and kurtosis (Bailey and Lopez de Prado, "The Sharpe Ratio Efficient Frontier",
    2012, eq. 11). 0 for returns that never move.
    """
    n = returns.size
    ratio = sharpe_ratio(returns)
    if n < 3:
        return 0.0
    away = returns - mean(returns)
    square = away * away
    variance = mean(square)
    if variance < 1e-30:
        return 0.0
    skew = mean(square * away) / (variance * sqrt(variance))
    kurtosis = mean(square * square) / (variance * variance)
    spread = 1.0 - skew * ratio + (kurtosis - 1.0) / 4.0 * ratio * ratio
    if spread <= 0.0:
        return 0.0
    return normal_cdf((ratio - benchmark) * sqrt(n - 1) / sqrt(spread))


def expected_maximum(trials: int, spread: float) -> float:
    """Expected maximum of ``trials`` estimated Sharpe ratios with true value 0 and standard
    deviation ``spread``.

    Bailey and Lopez de Prado, "The Deflated Sharpe Ratio", 2014, eq. 1.
    """
    if trials < 2:
        return 0.0
    first = normal_quantile(1.0 - 1.0 / trials)
    second = normal_quantile(1.0 - 1.0 / (trials * euler_number))
    return spread * ((1.0 - _EULER_MASCHERONI) * first + _EULER_MASCHERONI * second)


def deflated_sharpe(returns: Floats, *, trials: int) -> float:
    """Probability that (T,) returns beat the expected best of ``trials`` strategies without an
    edge.

    The spread of the trials' Sharpe ratios is that of estimates without an edge, 1 / sqrt(T) (Lo,
    2002), not the observed one. In an evolved population the observed spread includes the edge
    itself, so a true edge would raise its own threshold. Trials count as independent, which is
    conservative.
    """
    return probabilistic_sharpe(returns, expected_maximum(trials, 1.0 / sqrt(max(returns.size, 1))))


def backtest_overfitting(returns: Floats) -> float | None:
    """Probability that the best of N strategies in-sample is below the median out-of-sample.

    Combinatorially symmetric cross-validation over 16 blocks (Bailey, Borwein, Lopez de Prado and
    Zhu, "The Probability of Backtest Overfitting", 2017).

    Args:
        returns: (T, N) of N strategies.

    Returns:
        0..1; None for fewer than 2 strategies or 32 bars.
    """
    bars, count = returns.shape
    if count < 2 or bars < 2 * _BLOCKS:
        return None
    size = bars // _BLOCKS
    blocks = returns[: size * _BLOCKS].reshape(_BLOCKS, size, count)
    total, squares = _block_sums(blocks), _block_sums(blocks * blocks)
    half = size * _BLOCKS // 2
    below = ties = 0.0
    chosen = np.array(list(combinations(range(_BLOCKS), _BLOCKS // 2)))
    for part in np.array_split(chosen, 30):
        mask = np.zeros((len(part), _BLOCKS), dtype=np.bool_)
        np.put_along_axis(mask, part, True, axis=1)
        inside = _ratios(_chosen_sums(mask, total), _chosen_sums(mask, squares), half)
        outside = _ratios(_chosen_sums(~mask, total), _chosen_sums(~mask, squares), half)
        best = inside.argmax(axis=1)
        mine = np.take_along_axis(outside, best[:, None], axis=1)
        # Relative rank as in the paper: rank / (N + 1), ties shared.
        rank = (outside < mine).sum(axis=1) + 0.5 * ((outside == mine).sum(axis=1) + 1.0)
        below += float((rank < 0.5 * (count + 1)).sum())
        ties += float((rank == 0.5 * (count + 1)).sum())
    return (below + 0.5 * ties) / len(chosen)


def _ratios(total: Floats, squares: Floats, n: int) -> Floats:
    average = total / n
    spread = np.sqrt(np.maximum(squares / n - average * average, 0.0))
    return np.divide(average, spread, out=np.zeros_like(average), where=spread > 1e-15)


@kernel()
def _block_sums(blocks: Floats) -> Floats:
    """(B, N) sums over the bars of (B, bars, N), from the first to the last."""
    found = np.zeros((blocks.shape[0], blocks.shape[2]))
    for block in range(blocks.shape[0]):
        for bar in range(blocks.shape[1]):
            for k in range(blocks.shape[2]):
                found[block, k] += blocks[block, bar, k]
    return found


@kernel()
def _chosen_sums(chosen: NDArray[np.bool_], sums: Floats) -> Floats:
    """(C, N): for each row of (C, B) the sum of the chosen rows of (B, N), in their order."""
    found = np.zeros((chosen.shape[0], sums.shape[1]))
    for row in range(chosen.shape[0]):
        for block in range(chosen.shape[1]):
            if chosen[row, block]:
                for k in range(sums.shape[1]):
                    found[row, k] += sums[block, k]
    return found


@dataclass(frozen=True, kw_only=True)
class Edge:
    """Evidence of an edge of a run's final strategy, corrected for the number of trials."""

    trials: int
    deflated: float
    """Probability by the deflated Sharpe ratio, over all bars that evolution saw or selection
    used."""
    overfitting: float | None
    """Probability of backtest overfitting; None if it cannot be computed."""
    holdout_probability: float | None
    """Probability that the true Sharpe ratio is above zero, from the hold-out alone. The hold-out's
    Sharpe ratio itself is in the statistics of the strategy."""

    @property
    def shown(self) -> bool:
        """Whether an edge is claimed: 95 % by both the deflated ratio and the hold-out, and the
        selection is more likely right than wrong.
        """
        return (
            self.deflated > 0.95
            and self.holdout_probability is not None
            and self.holdout_probability > 0.95
            and self.overfitting is not None
            and self.overfitting < 0.5
        )

    def __str__(self) -> str:
        return self.statement

    @property
    def statement(self) -> str:
        """One line with the conclusion and its numbers."""
        numbers = f"probabilities: deflated Sharpe {self.deflated:.2f} after {self.trials:,} trials"
        if self.overfitting is not None:
            numbers += f", overfitting {self.overfitting:.2f}"
        if self.holdout_probability is not None:
            numbers += f", Sharpe above zero on the hold-out {self.holdout_probability:.2f}"
        if self.shown:
            return f"evidence of an edge ({numbers})"
        return f"no evidence of an edge ({numbers}; 0.95, below 0.50 and 0.95 are needed)"
