"""PCA and trees: predict the next returns, trade what lies beyond the window's quantiles.

At bars 500, 1000, ... the forest is renewed by a quarter: n_estimators / 4 extremely randomised
trees (Geurts, Ernst and Wehenkel, 2006, as scikit-learn's ExtraTreeRegressor: at each node one
threshold a component, drawn evenly between its extremes, the best of them by squared error) of at
most `depth` levels are fitted on the first `components` principal components of the features over
the last `feature_window` bars whose outcome five bars on is known by then; the oldest quarter is
dropped. They predict which of `quantile_bins` quantiles the outcome falls in, scaled to -1..1. Each
quarter keeps its own components; draws are keyed by genome and bar. Long while the mean prediction
is above the (1 + signal_quantile) / 2 quantile of its predictions over the window, short below the
mirror.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ga.backtest.jit import kernel
from ga.backtest.panel import Panel
from ga.families.base import Changes, Family, Floats, Gene, Ints, seed_of
from ga.families.features import HORIZON, REFIT, ahead, features
from ga.numerics import Stream, eigenvectors, product, quantiles, scatter_matrix, totals

_QUARTERS = 4


@kernel()
def grow(
    rows: Floats,
    target: Floats,
    draws: Floats,
    feature: Ints,
    threshold: Floats,
    value: Floats,
) -> None:
    """Grow one tree: node i has children 2 i + 1 and 2 i + 2.

    Args:
        rows: (N, K), by columns. target: (N,). draws: (nodes, K) uniform numbers.
        feature: (nodes,) filled; -1 for a leaf. threshold: (nodes,) up to which a row goes left.
        value: (nodes,) mean target.
    """
    count, width = rows.shape
    # Unsigned places: numba looks for negative ones otherwise, in every loop.
    order, spare = np.arange(count).astype(np.uint64), np.empty(count, np.uint64)
    starts, stops = np.zeros(feature.size, np.int64), np.zeros(feature.size, np.int64)
    stops[0] = count
    for node in range(feature.size):
        feature[node] = -1
        mine = order[starts[node] : stops[node]]
        size = mine.size
        if size == 0:
            continue
        total = 0.0
        first = target[mine[0]]
        alike = True
        for i in range(size):
            y = target[mine[i]]
            total += y
            alike = alike and y == first
        value[node] = total / size
        if alike or size < 2 or 2 * node + 2 >= feature.size:
            continue
        best, best_cut, best_gain = -1, 0.0, -1.0
        for k in range(width):
            column = rows[:, k]
            low = high = column[mine[0]]
            for i in range(size):
                x = column[mine[i]]
                low = x if x < low else low
                high = x if x > high else high
            if not high > low:
                continue
            cut = low + draws[node, k] * (high - low)
            if cut >= high:
                cut = low
            left, left_total = 0, 0.0
            for i in range(size):
                below = column[mine[i]] <= cut
                left += 1 if below else 0
                left_total += target[mine[i]] if below else 0.0
            right, right_total = size - left, total - left_total
            # Least squared error is the greatest sum of squared totals over sizes.
            gain = left_total * left_total / left + right_total * right_total / right
            if gain > best_gain:
                best, best_cut, best_gain = k, cut, gain
        if best < 0:
            continue
        feature[node], threshold[node] = best, best_cut
        column = rows[:, best]
        at, other = 0, 0
        for i in range(size):
            row = mine[i]
            if column[row] <= best_cut:
                mine[at] = row
                at += 1
            else:
                spare[other] = row
                other += 1
        mine[at:] = spare[:other]
        turn = starts[node] + at
        starts[2 * node + 1], stops[2 * node + 1] = starts[node], turn
        starts[2 * node + 2], stops[2 * node + 2] = turn, stops[node]


@kernel()
def forest(
    rows: Floats,
    target: Floats,
    draws: Floats,
    features_: Ints,
    thresholds: Floats,
    values: Floats,
) -> None:
    """Grow trees into (trees, nodes) tables; draws (trees, nodes, K)."""
    for tree in range(draws.shape[0]):
        grow(rows, target, draws[tree], features_[tree], thresholds[tree], values[tree])


@kernel()
def add_predictions(
    rows: Floats, features_: Ints, thresholds: Floats, values: Floats, out: Floats
) -> None:
    """Add every tree's prediction for rows (N, K) to out (N,)."""
    one, two = np.uint64(1), np.uint64(2)
    for tree in range(features_.shape[0]):
        feature, threshold, value = features_[tree], thresholds[tree], values[tree]
        for i in range(rows.shape[0]):
            row, node = rows[i], np.uint64(0)
            while feature[node] >= 0:
                left = row[np.uint64(feature[node])] <= threshold[node]
                node = two * node + (one if left else two)
            out[i] += value[node]


@dataclass(frozen=True, kw_only=True)
class _Quarter:
    """Trees of one fit, and the components they were fitted on."""

    centre: Floats
    axes: Floats
    """(F, K)"""
    features: Ints
    """(trees, nodes), likewise the others."""
    thresholds: Floats
    values: Floats


def _fit(
    rows: Floats,
    target: Floats,
    *,
    components: int,
    depth: int,
    trees: int,
    rng: Stream,
) -> _Quarter:
    centre = totals(rows) / len(rows)
    away = rows - centre
    axes = np.ascontiguousarray(eigenvectors(scatter_matrix(away))[:, :components])
    # An eigenvector's sign is arbitrary: the largest part is made positive.
    axes *= np.sign(axes[np.argmax(np.abs(axes), axis=0), np.arange(components)])
    nodes = 2 ** (depth + 1) - 1
    quarter = _Quarter(
        centre=centre,
        axes=axes,
        features=np.empty((trees, nodes), np.int64),
        thresholds=np.empty((trees, nodes)),
        values=np.empty((trees, nodes)),
    )
    draws = rng.random((trees, nodes, components))
    forest(
        np.asfortranarray(product(away, axes)),
        target,
        draws,
        quarter.features,
        quarter.thresholds,
        quarter.values,
    )
    return quarter


def _mean_prediction(quarters: list[_Quarter], rows: Floats) -> Floats:
    out, trees = np.zeros(len(rows)), 0
    for q in quarters:
        add_predictions(product(rows - q.centre, q.axes), q.features, q.thresholds, q.values, out)
        trees += len(q.features)
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
        if result.min() == result.max():
            continue
        edges = quantiles(result, np.arange(1, bins) / bins)
        fresh = _fit(
            rows,
            2.0 * np.searchsorted(edges, result) / (bins - 1) - 1.0,
            components=components,
            depth=depth,
            # Rounded up, so that four quarters are never fewer trees than asked for.
            trees=-(-trees // _QUARTERS),
            rng=Stream(key=(seed, at)),
        )
        quarters = [*quarters[-_QUARTERS + 1 :], fresh]
        usual = _mean_prediction(quarters, rows)
        upper, lower = quantiles(usual, np.array([level, 1.0 - level]))
        new = _mean_prediction(quarters, table[at : at + REFIT])
        out[at : at + REFIT] = np.where(new > upper, 1.0, np.where(new < lower, -1.0, 0.0))
    return out


def signals(panel: Panel, genes: Floats, out: Changes) -> None:
    """See ``ga.families.base.Signals``."""
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
