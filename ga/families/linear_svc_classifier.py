"""Linear support vector classifier: the sign of the next returns from features of the past.

At bars 500, 1000, ... models are fitted on the last `lookback` bars whose outcome five bars on is
known by then: weights w that minimise |w|^2 / 2 + C sum max(0, 1 - y w.x)^2, the L2-regularised
squared hinge loss of LIBLINEAR (Fan et al., 2008) and of scikit-learn's LinearSVC, by Newton's
method (Keerthi and DeCoste, 2005), on the first `feature_count` features, standardised on the
window, and a constant. Only bars in the outer two of `quantile_bins` quantiles of the outcome are
trained on, up against down. `ensemble_size` models are fitted on halves of them drawn at random,
keyed by the genome; the position is the mean of their votes. Before that the window is cut into
`cv_folds` consecutive parts, each predicted from the others: if that is right in no more than half
of the cases, the position is flat until the next fit.
"""

from __future__ import annotations

import numpy as np

from ga.backtest.jit import kernel
from ga.backtest.panel import Panel
from ga.families.base import Changes, Family, Floats, Gene, seed_of
from ga.families.features import COUNT, HORIZON, REFIT, ahead, features
from ga.numerics import Stream, dot, quantiles, totals

_SHORTEST = 20
_STEPS = 50


@kernel()
def solve(matrix: Floats, right: Floats) -> Floats:
    """x with matrix x = right, for a positive definite matrix (D, D), by Cholesky in place."""
    size = right.size
    for i in range(size):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = np.sqrt(total) if i == j else total / matrix[j, j]
    out = right.copy()
    for i in range(size):
        for k in range(i):
            out[i] -= matrix[i, k] * out[k]
        out[i] /= matrix[i, i]
    for i in range(size - 1, -1, -1):
        for k in range(i + 1, size):
            out[i] -= matrix[k, i] * out[k]
        out[i] /= matrix[i, i]
    return out


@kernel()
def _loss(rows: Floats, up: Floats, used: Floats, weights: Floats, penalty: float) -> float:
    total = 0.5 * dot(weights, weights)
    for i in range(rows.shape[0]):
        if used[i] != 0.0:
            short = 1.0 - up[i] * dot(rows[i], weights)
            if short > 0.0:
                total += penalty * short * short
    return total


@kernel()
def fit(rows: Floats, up: Floats, used: Floats, penalty: float) -> Floats:
    """(D,) weights of a linear SVM.

    Args:
        rows: (N, D) with a constant column. up: (N,) 1 or -1. used: (N,) 0 for rows left out.
    """
    size = rows.shape[1]
    weights = np.zeros(size)
    loss = _loss(rows, up, used, weights, penalty)
    for _ in range(_STEPS):
        slope = weights.copy()
        curve = np.eye(size)
        for i in range(rows.shape[0]):
            if used[i] == 0.0:
                continue
            short = 1.0 - up[i] * dot(rows[i], weights)
            if short > 0.0:
                for j in range(size):
                    pull = 2.0 * penalty * rows[i, j]
                    slope[j] -= pull * up[i] * short
                    for k in range(j + 1):
                        curve[j, k] += pull * rows[i, k]
        if dot(slope, slope) < 1e-16 * (1.0 + dot(weights, weights)):
            break
        step = solve(curve, slope)
        size_of_step = 1.0
        while size_of_step > 1e-6:
            tried = weights - size_of_step * step
            lower = _loss(rows, up, used, tried, penalty)
            if lower < loss:
                break
            size_of_step *= 0.5
        if size_of_step <= 1e-6:
            break
        weights, loss = tried, lower
    return weights


@kernel()
def _both(up: Floats, used: Floats) -> bool:
    """Whether both classes are among the rows that are used."""
    ups = downs = 0
    for i in range(up.size):
        if used[i] != 0.0:
            if up[i] > 0.0:
                ups += 1
            else:
                downs += 1
    return ups > 0 and downs > 0


@kernel()
def _trusted(rows: Floats, up: Floats, penalty: float, folds: int) -> bool:
    """Whether consecutive parts are predicted from the others better than by chance."""
    count = rows.shape[0]
    used = np.ones(count)
    right = 0
    for fold in range(folds):
        start, stop = fold * count // folds, (fold + 1) * count // folds
        used[start:stop] = 0.0
        if stop > start and _both(up, used):
            weights = fit(rows, up, used, penalty)
            for i in range(start, stop):
                right += 1 if (dot(rows[i], weights) > 0.0) == (up[i] > 0.0) else 0
        used[start:stop] = 1.0
    return 2 * right > count


@kernel()
def _votes(
    rows: Floats, up: Floats, coming: Floats, drawn: Floats, penalty: float, folds: int
) -> Floats:
    """(M,) mean vote of the ensemble for coming rows (M, D); nothing if it is not trusted.

    Args:
        drawn: (ensemble, N) 1 for the rows that a model is fitted on.
    """
    votes = np.zeros(coming.shape[0])
    if not _trusted(rows, up, penalty, folds):
        return votes
    everything = np.ones(rows.shape[0])
    for model in range(drawn.shape[0]):
        used = drawn[model] if _both(up, drawn[model]) else everything
        weights = fit(rows, up, used, penalty)
        for i in range(coming.shape[0]):
            votes[i] += np.sign(dot(coming[i], weights))
    return votes / drawn.shape[0]


def predict(panel: Panel, genes: Floats) -> Floats:
    """(T,) target positions of one genome (G,)."""
    lookback, count, penalty = int(genes[0]), int(genes[1]), float(genes[2])
    ensemble, folds, bins = int(genes[3]), int(genes[4]), int(genes[5])
    table, outcome = features(panel)[:, :count], ahead(panel)
    seed = seed_of(FAMILY.name, genes)
    out = np.zeros(panel.bars)
    for at in range(REFIT, panel.bars, REFIT):
        window = slice(at - HORIZON - lookback + 1, at - HORIZON + 1)
        result = outcome[window]
        lower, upper = quantiles(result, np.array([1.0 / bins, 1.0 - 1.0 / bins]))
        chosen = ((result > upper) | (result <= lower)) & (result != 0.0)
        up = np.where(result[chosen] > 0.5 * (upper + lower), 1.0, -1.0)
        if up.size < 4 or not _both(up, np.ones(up.size)):
            continue
        seen = table[window]
        mean = totals(seen) / lookback
        away = seen - mean
        spread = np.sqrt(totals(away * away) / lookback)
        scale = np.where(spread > 0.0, spread, 1.0)
        rows = np.ones((up.size, count + 1))
        rows[:, :count] = away[chosen] / scale
        after = table[at : at + REFIT]
        coming = np.ones((len(after), count + 1))
        coming[:, :count] = (after - mean) / scale
        drawn = np.ones((ensemble, up.size))
        if ensemble > 1:
            draws = Stream(key=(seed, at)).random((ensemble, up.size))
            drawn = (draws < 0.5).astype(np.float64)
        out[at : at + REFIT] = _votes(rows, up, coming, drawn, penalty, folds)
    return out


def signals(panel: Panel, genes: Floats, out: Changes) -> None:
    """See ``ga.families.base.Signals``."""
    for lane in range(len(genes)):
        out.put(lane, predict(panel, genes[lane]))


FAMILY = Family(
    name="linear_svc_classifier",
    kind="learned",
    rule="a linear SVM on features of a rolling past window predicts the sign of the next returns",
    genes=(
        Gene(name="lookback", low=_SHORTEST, high=200, integer=True),
        Gene(name="feature_count", low=3, high=COUNT, integer=True),
        Gene(name="C", low=0.5, high=2.0),
        Gene(name="ensemble_size", low=1, high=5, integer=True),
        Gene(name="cv_folds", low=3, high=10, integer=True),
        Gene(name="quantile_bins", low=2, high=4, integer=True),
    ),
    signals=signals,
    history=REFIT,
    learned=True,
)
