"""Deflated Sharpe ratio and probability of overfitting: figures by hand, and error rates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ga.analysis.overfitting import (
    Edge,
    backtest_overfitting,
    deflated_sharpe,
    expected_maximum,
    probabilistic_sharpe,
    sharpe_ratio,
)


def test_probabilistic_sharpe_matches_published_formula():
    returns = stats.skewnorm.rvs(4, loc=-0.005, scale=0.02, size=500, random_state=1)
    ratio = returns.mean() / returns.std(ddof=1)
    skew, kurtosis = stats.skew(returns), stats.kurtosis(returns, fisher=False)
    for benchmark in (0.0, 0.03, -0.1):
        z = (ratio - benchmark) * np.sqrt(499)
        z /= np.sqrt(1 - skew * ratio + (kurtosis - 1) / 4 * ratio**2)
        found = probabilistic_sharpe(returns, benchmark)
        assert found == pytest.approx(stats.norm.cdf(z), rel=1e-12)


def test_expected_maximum_matches_normal_draws():
    rng = np.random.default_rng(2)
    for trials in (50, 200, 1000):
        drawn = rng.standard_normal((4000, trials)).max(axis=1).mean()
        assert expected_maximum(trials, 1.0) == pytest.approx(drawn, rel=0.02)
    assert expected_maximum(1, 1.0) == 0.0
    assert expected_maximum(100, 0.5) == pytest.approx(expected_maximum(100, 1.0) / 2)


@pytest.mark.slow
def test_best_of_many_noise_strategies_is_rarely_significant():
    """False claims of the deflated ratio over 400 sets of 200 random strategies: 5 % at most."""
    claims = 0
    for seed in range(400):
        returns = np.random.default_rng(seed).normal(0.0, 0.01, (250, 200))
        ratios = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
        best = returns[:, ratios.argmax()]
        assert probabilistic_sharpe(best) > 0.9
        claims += deflated_sharpe(best, trials=200) > 0.95
    assert claims <= 400 * 0.05


def test_true_edge_is_significant():
    returns = np.random.default_rng(3).normal(0.0, 0.01, (1000, 50))
    returns[:, 7] += 0.003
    ratios = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
    assert ratios.argmax() == 7
    found = deflated_sharpe(returns[:, 7], trials=50)
    assert found > 0.95
    assert backtest_overfitting(returns) < 0.05


@pytest.mark.slow
def test_overfitting_probability_of_noise_is_half():
    """Averaged over draws: the best in-sample is as good as any other out-of-sample."""
    found = [
        backtest_overfitting(np.random.default_rng(s).normal(0.0, 0.01, (320, 20)))
        for s in range(30)
    ]
    # A strategy that did well in one half did worse in the other: noise is above one half.
    assert 0.4 < np.mean(found) < 0.75


def test_overfitting_probability_matches_enumeration():
    """Two strategies, one better in every block: never overfit. Reversed in half the blocks by
    design: known by counting."""
    base = np.tile(np.array([0.02, -0.01]), 80)
    better = np.column_stack([base, base - 0.001])
    assert backtest_overfitting(better) == 0.0
    alike = np.column_stack([base, base])
    assert backtest_overfitting(alike) == pytest.approx(0.5)
    assert backtest_overfitting(base[:, None]) is None
    assert backtest_overfitting(better[:31]) is None


@settings(max_examples=100)
@given(
    seed=st.integers(0, 10_000), bars=st.integers(0, 60), scale=st.sampled_from([0.0, 1e-9, 0.1])
)
def test_results_are_probabilities(seed, bars, scale):
    returns = np.random.default_rng(seed).normal(0.0, 1.0, bars) * scale
    assert 0.0 <= probabilistic_sharpe(returns) <= 1.0
    assert 0.0 <= deflated_sharpe(returns, trials=10) <= 1.0
    assert np.isfinite(sharpe_ratio(returns))


def test_more_trials_never_raise_significance():
    returns = np.random.default_rng(5).normal(0.001, 0.01, 500)
    found = [deflated_sharpe(returns, trials=n) for n in (1, 2, 10, 100, 10_000)]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({}, True),
        ({"deflated": 0.9}, False),
        ({"holdout_probability": 0.9}, False),
        ({"holdout_probability": None}, False),
        ({"overfitting": 0.6}, False),
        ({"overfitting": None}, False),
    ],
)
def test_edge_needs_agreement_of_all_statistics(change, shown):
    edge = Edge(
        **{"trials": 9, "deflated": 0.99, "overfitting": 0.1, "holdout_probability": 0.99, **change}
    )
    assert edge.shown is shown
    assert edge.statement.startswith("evidence" if shown else "no evidence of an edge")
