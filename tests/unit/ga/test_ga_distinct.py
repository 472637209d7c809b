"""Distinct strategies: clusters of correlated returns, against SciPy's hierarchical clustering."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from ga.analysis.distinct import CORRELATION, clusters, correlations, distinct


def families_of_returns(seed: int, count: int, groups: int, noise: float) -> np.ndarray:
    """(count, 300) returns: each is one of ``groups`` random series, or its negative, and noise."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(groups, 300))
    member = rng.integers(groups, size=count)
    sign = rng.choice([-1.0, 1.0], size=(count, 1))
    return sign * base[member] + noise * rng.normal(size=(count, 300))


def partition(labels) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(np.asarray(labels) == one).tolist()) for one in set(labels)}


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(2, 25),
    groups=st.integers(1, 6),
    noise=st.floats(0.1, 2.0),
    threshold=st.floats(0.05, 0.95),
)
def test_clusters_equal_scipy_single_linkage(seed, count, groups, noise, threshold):
    returns = families_of_returns(seed, count, groups, noise)
    distance = 1.0 - np.corrcoef(returns)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "single")
    expected = fcluster(tree, 1.0 - threshold, "distance").tolist()
    assert partition(clusters(correlations(returns), threshold)) == partition(expected)


@given(seed=st.integers(0, 10_000), noise=st.floats(0.1, 2.0), per_family=st.integers(1, 4))
def test_listed_strategies_are_pairwise_distinct(seed, noise, per_family):
    returns = families_of_returns(seed, 30, 8, noise)
    families = [f"family {i % 3}" for i in range(30)]
    chosen = distinct(returns, families, limit=10, per_family=per_family)
    assert chosen == sorted(chosen)
    assert chosen[0] == 0
    assert len(chosen) <= 10
    table = np.corrcoef(returns[chosen]) if len(chosen) > 1 else np.eye(1)
    assert np.all(table[~np.eye(len(chosen), dtype=bool)] < CORRELATION)
    for family in set(families):
        assert sum(families[i] == family for i in chosen) <= per_family


def test_correlations_equal_numpy():
    returns = families_of_returns(1, 12, 3, 0.5) * 1e-4 + 3e-5
    np.testing.assert_allclose(correlations(returns), np.corrcoef(returns), atol=1e-12)


def test_unchanging_returns_form_one_cluster():
    rng = np.random.default_rng(0)
    returns = np.vstack([np.zeros(50), rng.normal(size=50), np.zeros(50)])
    assert clusters(correlations(returns), CORRELATION) == [0, 1, 0]


def test_chain_of_correlated_strategies_is_one_cluster():
    table = np.array([[1.0, 0.8, 0.1], [0.8, 1.0, 0.8], [0.1, 0.8, 1.0]])
    assert clusters(table, 0.7) == [0, 0, 0]
    assert clusters(table, 0.81) == [0, 1, 2]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]])
def test_opposite_strategies_are_distinct(order):
    rng = np.random.default_rng(5)
    base = rng.normal(size=400)
    rows = np.vstack([base, base + 0.1 * rng.normal(size=400), -base, rng.normal(size=400)])
    chosen = distinct(rows[order], ["a", "b", "c", "d"], limit=9)
    kept = {order[i] for i in chosen}
    assert kept >= {2, 3}
    assert len(kept & {0, 1}) == 1
