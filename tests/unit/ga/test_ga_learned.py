"""The learned families' solvers against scikit-learn, and the past-only schedule of their fits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import LinearSVC
from sklearn.tree import ExtraTreeRegressor

from ga.backtest.panel import Panel
from ga.families.base import seed_of
from ga.families.features import HORIZON, REFIT
from ga.families.linear_svc_classifier import fit, solve
from ga.families.linear_svc_classifier import predict as svc
from ga.families.pca_tree_quantile import add_predictions, forest
from ga.families.pca_tree_quantile import predict as trees
from ga.market import Market
from ga.sources import synthetic


def rows_of(seed: int, count: int, width: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = np.ones((count, width + 1))
    rows[:, :width] = rng.standard_normal((count, width))
    up = np.sign(rows[:, :width] @ rng.standard_normal(width) + noise * rng.standard_normal(count))
    up[0], up[1] = 1.0, -1.0
    return rows, up


def loss(rows, up, weights, penalty):
    return 0.5 * weights @ weights + penalty * (np.maximum(0, 1 - up * (rows @ weights)) ** 2).sum()


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(4, 200),
    width=st.integers(1, 15),
    penalty=st.floats(0.5, 2.0),
    noise=st.sampled_from([0.0, 0.5, 3.0]),
)
def test_svm_matches_scikit_learn(seed, count, width, penalty, noise):
    rows, up = rows_of(seed, count, width, noise)
    model = LinearSVC(C=penalty, dual=False, tol=1e-10, max_iter=100_000, intercept_scaling=1.0)
    model.fit(rows[:, :-1], up)
    wanted = np.append(model.coef_[0], model.intercept_[0])
    found = fit(rows, up, np.ones(count), penalty)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    # And no worse in what both minimise.
    assert loss(rows, up, found, penalty) <= loss(rows, up, wanted, penalty) * (1 + 1e-9)


def test_unused_rows_do_not_affect_fit():
    rows, up = rows_of(1, 80, 5)
    used = np.ones(80)
    used[::3] = 0.0
    changed = up.copy()
    changed[::3] *= -1.0
    kept = used > 0
    alone = fit(rows[kept].copy(), up[kept].copy(), np.ones(int(kept.sum())), 1.0)
    np.testing.assert_allclose(fit(rows, changed, used, 1.0), alone, rtol=1e-10)


def test_solver_matches_numpy():
    rng = np.random.default_rng(0)
    for size in (1, 2, 16):
        half = rng.standard_normal((size, size))
        matrix, right = half @ half.T + np.eye(size), rng.standard_normal(size)
        np.testing.assert_allclose(
            solve(matrix.copy(), right), np.linalg.solve(matrix, right), rtol=1e-9
        )


def grown(rows, target, depth, count, seed):
    nodes = 2 ** (depth + 1) - 1
    draws = np.random.default_rng(seed).random((count, nodes, rows.shape[1]))
    tables = (
        np.empty((count, nodes), np.int64),
        np.empty((count, nodes)),
        np.empty((count, nodes)),
    )
    forest(np.asfortranarray(rows), target, draws, *tables)
    return tables


def predicted(tables, rows):
    out = np.zeros(len(rows))
    add_predictions(rows, *tables, out)
    return out / len(tables[0])


@pytest.mark.parametrize("depth", [3, 7])
@pytest.mark.parametrize("width", [2, 5])
def test_trees_are_as_accurate_as_scikit_learn(depth, width):
    """Draws differ; what a forest of 300 says does not, in-sample or out."""
    rng = np.random.default_rng(7)
    rows = np.float32(rng.standard_normal((400, width))).astype(np.float64)
    target = np.sign(rows[:, 0]) * (rows[:, 1] > 0.3) + 0.3 * rng.standard_normal(400)
    new = np.float32(rng.standard_normal((500, width))).astype(np.float64)
    mine = grown(rows, target, depth, 300, 1)
    theirs = [
        ExtraTreeRegressor(max_depth=depth, max_features=None, random_state=i).fit(rows, target)
        for i in range(300)
    ]
    for points in (rows, new):
        wanted = np.mean([tree.predict(points) for tree in theirs], axis=0)
        found = predicted(mine, points)
        assert np.corrcoef(found, wanted)[0, 1] > 0.99
        assert found.std() == pytest.approx(wanted.std(), rel=0.1)


def test_tree_matches_manual_construction():
    rows = np.array([[0.0], [1.0], [2.0], [3.0]])
    target = np.array([0.0, 0.0, 4.0, 8.0])
    features, thresholds, values = (t[0] for t in grown(rows, target, 2, 1, 0))
    draws = np.random.default_rng(0).random((1, 7, 1))[0, :, 0]
    assert features[0] == 0
    assert thresholds[0] == 3.0 * draws[0]
    assert values[0] == 3.0
    left = rows[:, 0] <= thresholds[0]
    assert values[1] == target[left].mean()
    assert values[2] == target[~left].mean()
    # Depth is bounded, and a node of one value is a leaf.
    assert (features[3:] == -1).all()
    constant = grown(rows, np.full(4, 2.0), 3, 1, 0)
    assert constant[0][0, 0] == -1
    assert predicted(constant, rows).tolist() == [2.0] * 4


@pytest.fixture(scope="module")
def market() -> Market:
    return synthetic(assets=1, bars=2600, seed=11)


GENES = {
    svc: np.array([120.0, 8.0, 1.0, 3.0, 4.0, 2.0]),
    trees: np.array([3.0, 5.0, 60.0, 0.4, 200.0, 3.0]),
}


@pytest.mark.parametrize("predict", [svc, trees])
def test_fit_uses_only_past_outcomes(predict, market):
    """Prices from one bar on are changed: nothing before changes, and the fit at a schedule bar
    takes in the last close before it."""
    at = 2 * REFIT
    whole = predict(Panel(market, 0), GENES[predict])
    assert not whole[:REFIT].any()
    assert whole[REFIT:].any()
    for first in (at, at - 1):
        close = market.close.copy()
        close[:, first:] *= 1.4
        bent = Market(
            name="bent",
            assets=market.assets,
            times=market.times.copy(),
            open=market.open.copy(),
            high=np.maximum(market.high, close),
            low=np.minimum(market.low, close),
            close=close,
            volume=market.volume.copy(),
        )
        found = predict(Panel(bent, 0), GENES[predict])
        assert found[:first].tobytes() == whole[:first].tobytes()
    assert HORIZON == 5


@pytest.mark.parametrize("predict", [svc, trees])
def test_draws_depend_on_genes_alone(predict, market):
    genes = GENES[predict]
    one = predict(Panel(market, 0), genes)
    assert predict(Panel(market, 0), genes).tobytes() == one.tobytes()
    assert seed_of("a", genes) != seed_of("b", genes)
    assert seed_of("a", genes) != seed_of("a", np.nextafter(genes, 9e9))
    assert 0 <= seed_of("a", genes) < 2**63
