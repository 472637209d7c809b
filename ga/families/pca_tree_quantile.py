"""PCA and trees: predict the next returns, trade what lies beyond the window's quantiles.

At bars 500, 1000, ... the forest is renewed by a quarter: n_estimators / 4 extremely randomised
trees (Geurts, Ernst and Wehenkel, 2006; scikit-learn's ExtraTreeRegressor) of at most `depth`
levels are fitted on the first `components` principal components of the features over the last
`feature_window` bars whose outcome five bars on is known by then; the oldest quarter is dropped.
They predict which of `quantile_bins` quantiles the outcome falls in, scaled to -1..1. Each quarter
keeps its own components; draws are keyed by genome and bar. Long while the mean prediction is above
the (1 + signal_quantile) / 2 quantile of its predictions over the window, short below the mirror.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ga.families.base import Changes, Family, Floats, Gene, Ints, seed_of
from ga.families.features import HORIZON, REFIT, ahead, features, trusting_scikit_learn
from ga.jit import kernel
from ga.panel import Panel

_QUARTERS: Final = 4


@dataclass(frozen=True, kw_only=True)
class _Quarter:
    """Trees of one fit, laid end to end, and the components they were fitted on."""

    mean: Floats
    axes: Floats
    """(F, K)"""
    left: Ints
    """(N,) child of a node if its value is at most the threshold; itself for a leaf."""
    right: Ints
    feature: Ints
    threshold: Floats
    value: Floats
    roots: Ints


@kernel()
def _sums(rows, left, right, feature, threshold, value, roots, out):
    """Add every tree's prediction for rows (N, K) to out (N,)."""
    for i in range(rows.shape[0]):
        total = 0.0
        for root in roots:
            node = root
            while left[node] != node:
                # scikit-learn compares in float32.
                below = np.float32(rows[i, feature[node]]) <= threshold[node]
                node = left[node] if below else right[node]
            total += value[node]
        out[i] += total


def _fit(
    rows: Floats, target: Floats, *, components: int, depth: int, trees: int, seed: int
) -> _Quarter:
    from sklearn.tree import ExtraTreeRegressor

    mean = rows.mean(axis=0)
    away = rows - mean
    vectors = np.linalg.eigh(away.T @ away)[1]
    axes = np.ascontiguousarray(vectors[:, ::-1][:, :components])
    # An eigenvector's sign is arbitrary: the largest part is made positive.
    axes *= np.sign(axes[np.argmax(np.abs(axes), axis=0), np.arange(components)])
    scores = np.ascontiguousarray(away @ axes, dtype=np.float32)
    parts: dict[str, list[np.ndarray]] = {
        k: [] for k in ("left", "right", "feature", "threshold", "value")
    }
    roots, nodes = [], 0
    draws = np.random.RandomState(seed)
    for _ in range(trees):
        tree = ExtraTreeRegressor(max_depth=depth, max_features=None, random_state=draws)
        tree.fit(scores, target, check_input=False)
        found = tree.tree_
        own = np.arange(found.node_count)
        leaf = found.children_left < 0
        roots.append(nodes)
        parts["left"].append(nodes + np.where(leaf, own, found.children_left))
        parts["right"].append(nodes + np.where(leaf, own, found.children_right))
        parts["feature"].append(found.feature)
        parts["threshold"].append(found.threshold)
        parts["value"].append(found.value[:, 0, 0])
        nodes += found.node_count
    return _Quarter(
        mean=mean,
        axes=axes,
        roots=np.array(roots, dtype=np.int64),
        left=np.concatenate(parts["left"]).astype(np.int64),
        right=np.concatenate(parts["right"]).astype(np.int64),
        feature=np.concatenate(parts["feature"]).astype(np.int64),
        threshold=np.concatenate(parts["threshold"]),
        value=np.concatenate(parts["value"]),
    )


def _mean_prediction(quarters: list[_Quarter], rows: Floats) -> Floats:
    out, trees = np.zeros(len(rows)), 0
    for q in quarters:
        scores = (rows - q.mean) @ q.axes
        _sums(scores, q.left, q.right, q.feature, q.threshold, q.value, q.roots, out)
        trees += q.roots.size
    return out / trees


def predict(panel: Panel, genes: Floats) -> Floats:
    """(T,) target positions of one genome (G,)."""
    components, depth, trees = int(genes[0]), int(genes[1]), int(genes[2])
    level, window, bins = 0.5 * (1.0 + float(genes[3])), int(genes[4]), int(genes[5])
    table, outcome = features(panel), ahead(panel)
    seed = seed_of(FAMILY.name, genes)
    out = np.zeros(panel.bars)
    quarters: list[_Quarter] = []
    for at in range(REFIT, panel.bars, REFIT):
        first = max(0, at - HORIZON - window + 1)
        rows, result = table[first : at - HORIZON + 1], outcome[first : at - HORIZON + 1]
        edges = np.quantile(result, np.arange(1, bins) / bins)
        target = 2.0 * np.searchsorted(edges, result) / (bins - 1) - 1.0
        if result.min() == result.max():
            continue
        # Rounded up, so that four quarters are never fewer trees than asked for.
        share = -(-trees // _QUARTERS)
        fresh = _fit(
            rows,
            target,
            components=components,
            depth=depth,
            trees=share,
            seed=int(np.random.SeedSequence([seed, at]).generate_state(1)[0]) // 2,
        )
        quarters = [*quarters[-_QUARTERS + 1 :], fresh]
        usual = _mean_prediction(quarters, rows)
        upper, lower = np.quantile(usual, [level, 1.0 - level])
        new = _mean_prediction(quarters, table[at : at + REFIT])
        out[at : at + REFIT] = np.where(new > upper, 1.0, np.where(new < lower, -1.0, 0.0))
    return out


def signals(panel: Panel, genes: Floats, out: Changes) -> None:
    """See ``ga.families.base.Signals``."""
    with trusting_scikit_learn():
        for lane in range(len(genes)):
            out.put(lane, predict(panel, genes[lane]))


FAMILY = Family(
    name="pca_tree_quantile",
    kind="learned",
    rule="trees on principal components predict the next returns; trade beyond their quantiles",
    genes=(
        Gene(name="components", low=2, high=5, integer=True),
        Gene(name="depth", low=3, high=7, integer=True),
        Gene(name="n_estimators", low=10, high=200, integer=True),
        Gene(name="signal_quantile", low=0.1, high=0.9),
        Gene(name="feature_window", low=50, high=500, integer=True),
        Gene(name="quantile_bins", low=2, high=4, integer=True),
    ),
    signals=signals,
    history=REFIT,
    learned=True,
)
