"""Linear support vector classifier: the sign of the next returns from features of the past.

At bars 500, 1000, ... models are fitted on the last `lookback` bars whose outcome five bars on is
known by then: scikit-learn's LinearSVC (squared hinge loss, penalty C; Fan et al., LIBLINEAR, 2008)
on the first `feature_count` features, standardised on the window. Only bars in the outer two of
`quantile_bins` quantiles of the outcome are trained on, up against down. `ensemble_size` models are
fitted on halves of them drawn at random, keyed by the genome; the position is the mean of their
votes. Before that the window is cut into `cv_folds` consecutive parts, each predicted from the
others: if that is right in no more than half of the cases, the position is flat until the next fit.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ga.families.base import Changes, Family, Floats, Gene, seed_of
from ga.families.features import (
    COUNT,
    HORIZON,
    REFIT,
    ahead,
    features,
    trusting_scikit_learn,
)
from ga.panel import Panel

_SHORTEST: Final = 20
_TOLERANCE: Final = 1e-3
_NO_DRAWS: Final = np.random.RandomState(0)
"""LinearSVC wants a source of random numbers; the primal solver draws none."""


def _fit(rows: Floats, up: Floats, penalty: float) -> Floats:
    """(F + 1,) weights and intercept of a LinearSVC."""
    from sklearn.svm import LinearSVC

    model = LinearSVC(C=penalty, dual=False, tol=_TOLERANCE, random_state=_NO_DRAWS)
    model.fit(rows, up)
    weights: Floats = np.append(model.coef_[0], model.intercept_[0])
    return weights


def _votes(weights: Floats, rows: Floats) -> Floats:
    votes: Floats = np.sign(rows @ weights[:-1] + weights[-1])
    return votes


def _two_classes(up: Floats) -> bool:
    return bool(up.any() and not up.all())


def _trusted(rows: Floats, up: Floats, penalty: float, folds: int) -> bool:
    """Whether consecutive parts are predicted from the others better than by chance."""
    edges = np.linspace(0, len(rows), folds + 1).astype(np.int64)
    right = 0
    for i in range(folds):
        inside = np.zeros(len(rows), dtype=np.bool_)
        inside[edges[i] : edges[i + 1]] = True
        if not inside.any() or not _two_classes(up[~inside]):
            continue
        votes = _votes(_fit(rows[~inside], up[~inside], penalty), rows[inside])
        right += int(np.sum((votes > 0) == up[inside]))
    return 2 * right > len(rows)


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
        lower, upper = np.quantile(result, [1.0 / bins, 1.0 - 1.0 / bins])
        chosen = ((result > upper) | (result <= lower)) & (result != 0.0)
        if chosen.sum() < 4:
            continue
        rows, up = table[window], result[chosen] > 0.5 * (upper + lower)
        mean, spread = rows.mean(axis=0), rows.std(axis=0)
        scale = np.where(spread > 0.0, spread, 1.0)
        rows = ((rows - mean) / scale)[chosen]
        if not _two_classes(up) or not _trusted(rows, up, penalty, folds):
            continue
        ahead_rows = (table[at : at + REFIT] - mean) / scale
        rng = np.random.Generator(np.random.Philox(key=[seed, at]))
        votes = np.zeros(len(ahead_rows))
        for _ in range(ensemble):
            drawn = rng.random(len(rows)) < 0.5
            if ensemble == 1 or not _two_classes(up[drawn]):
                drawn[:] = True
            votes += _votes(_fit(rows[drawn], up[drawn], penalty), ahead_rows)
        out[at : at + REFIT] = votes / ensemble
    return out


def signals(panel: Panel, genes: Floats, out: Changes) -> None:
    """See ``ga.families.base.Signals``."""
    with trusting_scikit_learn():
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
