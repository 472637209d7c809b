"""Each family's signals, accounting and complete evaluation, with 10,000 bars on one core.

Nanoseconds are per bar and genome. Banks are built before and reported separately.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier, ExtraTreesRegressor
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from evolution_gate.benchmarks.rounds import timed
from evolution_gate.benchmarks.samples import Effort
from ga.backtest import simulation
from ga.backtest.panel import Panel
from ga.evaluation.evaluate import measure
from ga.evaluation.folds import split
from ga.evaluation.settings import Settings
from ga.families import FAMILIES, Changes, usable_families
from ga.families.base import Floats
from ga.families.features import HORIZON, REFIT, ahead, features
from ga.market import Market
from ga.operators import Purpose, keyed, scatter

UNIT = "ns/bar"
RULES = [name for name, family in FAMILIES.items() if not family.learned]
LEARNED = [name for name, family in FAMILIES.items() if family.learned]


def genes_of(family: str, count: int) -> Floats:
    """Random genes (count, G) of one family, always the same."""
    rule = FAMILIES[family]
    return scatter(rule, keyed(1, Purpose.AUDIT, 0).random((count, len(rule.genes))))


def _info(
    benchmark: BenchmarkFixture,
    label: str,
    unit: str,
    scale: float,
    note: str = "",
    suite: str = "kernels",
) -> None:
    benchmark.extra_info.update(suite=suite, label=label, unit=unit, scale=scale, note=note)


@pytest.mark.parametrize("family", RULES)
def test_bank(benchmark: BenchmarkFixture, market: Market, effort: Effort, family: str) -> None:
    """Building the indicator banks of one family for one genome's signals."""
    panel, genes = Panel(market, 0), genes_of(family, 1)
    changes = Changes.empty(1, market.bars)

    def build() -> None:
        panel.forget()
        FAMILIES[family].signals(panel, genes, changes)

    timed(benchmark, build, rounds=effort.rounds, warm_up=2)
    _info(benchmark, family, "ms a market", 1e3, suite="banks")


@pytest.mark.parametrize("family", RULES)
def test_signals(benchmark: BenchmarkFixture, market: Market, effort: Effort, family: str) -> None:
    """Only the changes of the target position."""
    panel, genes = Panel(market, 0), genes_of(family, effort.lanes)
    changes = Changes.empty(effort.lanes, market.bars)
    signals = FAMILIES[family].signals
    timed(benchmark, signals, panel, genes, changes, rounds=effort.rounds, warm_up=2)
    _info(benchmark, f"signals: {family}", UNIT, 1e9 / changes.targets.size)


@pytest.mark.parametrize("family", RULES)
def test_accounting(
    benchmark: BenchmarkFixture, market: Market, effort: Effort, family: str
) -> None:
    """Fills, costs and statistics of given changes over the folds."""
    panel, genes = Panel(market, 0), genes_of(family, effort.lanes)
    changes = Changes.empty(effort.lanes, market.bars)
    FAMILIES[family].signals(panel, genes, changes)
    ranges, settings = split(market.bars, Settings()).in_sample, Settings()
    out = np.empty((effort.lanes, len(ranges), len(simulation.STATISTICS)))
    args = (panel, changes, ranges, settings.costs, out)
    timed(benchmark, simulation.simulate, *args, rounds=effort.rounds, warm_up=2)
    fills = out[..., 4].sum(axis=1).mean()
    note = f"{fills:.0f} fills, {out[..., 5].mean():.0%} of bars held"
    _info(benchmark, f"accounting: {family}", UNIT, 1e9 / changes.targets.size, note)


@pytest.mark.parametrize("family", RULES)
def test_evaluation(
    benchmark: BenchmarkFixture, market: Market, effort: Effort, family: str
) -> None:
    """Signals and accounting as in a worker, with all costs and statistics."""
    genes, ranges = genes_of(family, effort.lanes), split(market.bars, Settings()).in_sample
    args = (market, Settings(), family, genes, ranges)
    timed(benchmark, measure, *args, rounds=effort.rounds, warm_up=2)
    _info(benchmark, f"evaluation: {family}", UNIT, 1e9 / (market.bars * effort.lanes))


@pytest.mark.parametrize("family", LEARNED)
def test_learned(benchmark: BenchmarkFixture, market: Market, effort: Effort, family: str) -> None:
    """One genome of a learned family, including refits; random genomes, one per round."""
    usable_families(market, [family])
    ranges, settings = split(market.bars, Settings()).in_sample, Settings()
    every = iter(np.tile(genes_of(family, 30), (4, 1)))

    def one() -> None:
        measure(market, settings, family, next(every)[None], ranges)

    timed(benchmark, one, rounds=effort.rounds, warm_up=2)
    _info(benchmark, family, "ms an evaluation", 1e3, suite="learned")


def test_plain_scikit_learn(benchmark: BenchmarkFixture, market: Market, effort: Effort) -> None:
    """The same schedule of fits in plain scikit-learn with LinearSVC, for comparison."""
    genes = iter(np.tile(genes_of("linear_svc_classifier", 30), (4, 1)))
    panel = Panel(market, 0)
    table, outcome = features(panel), ahead(panel)

    def one() -> None:
        lookback, count, penalty, ensemble, folds, _ = next(genes)
        for at in range(REFIT, market.bars, REFIT):
            window = slice(at - HORIZON - int(lookback) + 1, at - HORIZON + 1)
            rows, up = table[window, : int(count)], outcome[window] > 0.0
            model = make_pipeline(StandardScaler(), LinearSVC(C=penalty, dual=False, tol=1e-3))
            cross_val_score(model, rows, up, cv=KFold(int(folds)), error_score=0.0)
            if 0 < up.sum() < up.size:
                bagged = BaggingClassifier(model, int(ensemble), max_samples=0.5, random_state=0)
                bagged.fit(rows, up).predict(table[at : at + REFIT, : int(count)])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        timed(benchmark, one, rounds=max(3, effort.rounds // 5), warm_up=1)
    _info(benchmark, "plain scikit-learn, SVC", "ms an evaluation", 1e3, suite="learned")


def test_plain_scikit_learn_trees(
    benchmark: BenchmarkFixture, market: Market, effort: Effort
) -> None:
    """The same schedule of fits in plain scikit-learn with PCA and ExtraTreesRegressor, for
    comparison.
    """
    genes = iter(np.tile(genes_of("pca_tree_quantile", 30), (4, 1)))
    panel = Panel(market, 0)
    table, outcome = features(panel), ahead(panel)

    def one() -> None:
        components, depth, trees, _, length, _ = next(genes)
        kept: list[Any] = []
        for at in range(REFIT, market.bars, REFIT):
            window = slice(max(0, at - HORIZON - int(length) + 1), at - HORIZON + 1)
            forest = ExtraTreesRegressor(-(-int(trees) // 4), max_depth=int(depth), random_state=0)
            model = make_pipeline(PCA(int(components)), forest)
            kept = [*kept[-3:], model.fit(table[window], outcome[window])]
            for rows in (table[window], table[at : at + REFIT]):
                np.mean([m.predict(rows) for m in kept], axis=0)

    timed(benchmark, one, rounds=max(3, effort.rounds // 5), warm_up=1)
    _info(benchmark, "plain scikit-learn, trees", "ms an evaluation", 1e3, suite="learned")
