"""Chooses strategies that behave differently: clusters by the correlation of their returns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ga.backtest.jit import kernel
from ga.numerics import mean

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CORRELATION: Final = 0.7
"""Two strategies whose returns correlate by this or more are linked. At 0.7, half of the variance
of one is explained by the other (0.7 squared is 0.49)."""
PER_FAMILY: Final = 2
"""Strategies of one family that are listed by default."""


def correlations(returns: Floats) -> Floats:
    """(N, N) Pearson correlations of the rows of (N, T) returns.

    Returns that never change have no correlation: it counts as 0 with others, and as 1 with
    other returns that never change.
    """
    scaled = np.zeros_like(returns, dtype=np.float64)
    constant = np.zeros(len(returns), dtype=np.bool_)
    for row, values in enumerate(returns):
        away = values - mean(values)
        size = sqrt(mean(away * away) * values.size)
        if size > 1e-15:
            scaled[row] = away / size
        else:
            constant[row] = True
    found = _products(scaled)
    found[np.ix_(constant, constant)] = 1.0
    return np.asarray(np.minimum(found, 1.0), dtype=np.float64)


@kernel()
def _products(rows: Floats) -> Floats:
    """(N, N) inner products of the rows of (N, T), each summed from the first to the last."""
    count, bars = rows.shape
    found = np.empty((count, count))
    for i in range(count):
        found[i, i] = 1.0
        for j in range(i):
            total = 0.0
            for t in range(bars):
                total += rows[i, t] * rows[j, t]
            found[i, j] = found[j, i] = total
    return found


def clusters(correlation: Floats, threshold: float) -> list[int]:
    """The cluster of each strategy: single linkage, cut at ``threshold``.

    Two strategies are in one cluster if a chain of strategies connects them in which each
    correlates with the next by ``threshold`` or more. So any two strategies of different clusters
    correlate by less. The result does not depend on the order of the strategies.

    Returns:
        For each strategy, the index of the first one of its cluster.
    """
    count = len(correlation)
    labels = list(range(count))
    for i in range(count):
        for j in range(i):
            if correlation[i, j] >= threshold and labels[i] != labels[j]:
                low, high = sorted((labels[i], labels[j]))
                labels = [low if label == high else label for label in labels]
    return labels


def distinct(
    returns: Floats,
    families: Sequence[str],
    *,
    limit: int,
    threshold: float = CORRELATION,
    per_family: int = PER_FAMILY,
) -> list[int]:
    """The first strategy of each cluster, at most ``per_family`` of a family and ``limit`` in all.

    Args:
        returns: (N, T) returns of the strategies, best first. families: their families.

    Returns:
        Indices of the chosen ones, in order.
    """
    labels = clusters(correlations(returns), threshold)
    chosen: list[int] = []
    count: Counter[str] = Counter()
    for index, label in enumerate(labels):
        if index == label and count[families[index]] < per_family:
            count[families[index]] += 1
            chosen.append(index)
    return chosen[:limit]
