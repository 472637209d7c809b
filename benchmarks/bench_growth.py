"""Growth of costs with bars, assets and population. Sizes are measured in turn; each repeat gives
one exponent, the slope of log cost over log size: 1 is linear.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from evolution_gate.benchmarks.bench_kernels import RULES, genes_of
from evolution_gate.benchmarks.rounds import timed
from evolution_gate.benchmarks.samples import Effort
from evolution_gate.benchmarks.scaling import slope
from ga.evaluation.evaluate import evaluate
from ga.evaluation.folds import visible
from ga.evaluation.settings import Outcome, Settings, evaluation_key
from ga.evolution import Evolution, Plan
from ga.genome import Genome
from ga.market import Market
from ga.sources import synthetic
from validation.statistics import mean

SETTINGS = Settings()
GENOMES = 16


def exponents(
    benchmark: BenchmarkFixture,
    label: str,
    works: Mapping[int, Callable[[], None]],
    repeats: int,
    note: str,
) -> None:
    """Measure all sizes in turn, repeatedly."""
    found: list[float] = []

    def once() -> None:
        seconds = {}
        for size, work in works.items():
            began = time.thread_time()
            work()
            seconds[size] = time.thread_time() - began
        found.append(slope(seconds))

    timed(benchmark, once, rounds=repeats, warm_up=1)
    estimate = mean(found[1:], confidence=0.975)
    sizes = f"{min(works):,} to {max(works):,}"
    benchmark.extra_info.update(
        suite="growth",
        label=label,
        unit="exponent",
        samples=found[1:],
        note=f"{sizes}; 95 % interval {estimate.lower:.2f} to {estimate.upper:.2f}; {note}",
    )


def _evaluating(market: Market, families: list[str], count: int) -> Callable[[], None]:
    genomes = [
        Genome(name, tuple(row)) for name in families for row in genes_of(name, count).tolist()
    ]
    return lambda: _all(market, genomes)


def _all(market: Market, genomes: list[Genome]) -> None:
    evaluate(market, SETTINGS, genomes)


def _markets(assets: tuple[int, ...], bars: tuple[int, ...]) -> list[Market]:
    return [visible(synthetic(assets=a, bars=b, seed=1), SETTINGS) for a in assets for b in bars]


@pytest.mark.parametrize("kind", ["rules", "pca_tree_quantile"])
def test_bars(benchmark: BenchmarkFixture, effort: Effort, kind: str) -> None:
    """Evaluations of rule families, and of the most expensive one."""
    families, count = (RULES, GENOMES) if kind == "rules" else ([kind], 2)
    works = {m.bars: _evaluating(m, families, count) for m in _markets((1,), (2500, 5000, 10000))}
    label = "evaluations, rule families" if kind == "rules" else f"evaluations, {kind}"
    exponents(benchmark, f"{label}: bars", works, effort.whole_rounds + 1, "one asset")


def test_assets(benchmark: BenchmarkFixture, effort: Effort) -> None:
    """Evaluations of rule families."""
    works = {len(m.assets): _evaluating(m, RULES, GENOMES) for m in _markets((1, 2, 4, 8), (2500,))}
    note = "2,500 bars each"
    exponents(benchmark, "evaluations, rule families: assets", works, effort.whole_rounds + 1, note)


def test_population(benchmark: BenchmarkFixture, effort: Effort) -> None:
    """Evaluations of rule families."""
    (market,) = _markets((1,), (2500,))
    works = {12 * n: _evaluating(market, RULES, n) for n in (8, 32, 128)}
    note = "one asset, 2,000 visible bars"
    exponents(
        benchmark, "evaluations, rule families: population", works, effort.whole_rounds + 1, note
    )


def test_breeding(benchmark: BenchmarkFixture, effort: Effort) -> None:
    """The coordinator's own work: keys, digest and breeding of a generation."""

    def breeding(size: int) -> Callable[[], None]:
        plan = Plan(seed=1, population_size=size, generations=10)

        def breed() -> None:
            evolution = Evolution(plan)
            population = evolution.ask()
            evolution.tell(
                [
                    Outcome(key=evaluation_key(genome, "", SETTINGS), fitness=float(number))
                    for number, genome in enumerate(population)
                ]
            )

        return breed

    works = {size: breeding(size) for size in (500, 2_000, 8_000)}
    exponents(
        benchmark, "coordinator: population", works, effort.whole_rounds + 1, "no evaluations"
    )
