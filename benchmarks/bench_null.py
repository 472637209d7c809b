"""Runs on markets with known truth: random walks, where any claim of an edge is false, and the same
walks with a planted trend, where it is true.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from evolution_gate.benchmarks.samples import Effort
from ga.analysis.holdout import test_for_edge
from ga.analysis.overfitting import Edge
from ga.evaluation.evaluate import evaluate
from ga.evaluation.folds import visible
from ga.evaluation.settings import Settings
from ga.evolution import Evolution, Plan
from ga.families import FAMILIES, usable_families
from ga.genome import Genome
from ga.market import Market

BARS = 3000
SETTINGS = Settings()


def walk(seed: int, *, persistence: float = 0.0) -> Market:
    """A random walk of hourly closes; with ``persistence`` returns are positively correlated."""
    rng = np.random.Generator(np.random.Philox(key=[seed, 0xB0]))
    steps = 0.004 * rng.standard_normal(BARS)
    for t in range(1, BARS):
        steps[t] += persistence * steps[t - 1]
    close = 100.0 * np.exp(np.cumsum(steps))
    open_ = np.concatenate([[100.0], close[:-1]])
    reach = np.exp(0.001 * np.abs(rng.standard_normal((2, BARS))))
    rows = {
        "open": open_,
        "high": np.maximum(open_, close) * reach[0],
        "low": np.minimum(open_, close) / reach[1],
        "close": close,
        "volume": rng.lognormal(5.0, 0.5, BARS),
    }
    return Market(
        name=f"walk {seed}",
        assets=("WALK",),
        times=np.arange(BARS, dtype=np.int64) * 3600 * 10**9,
        **{name: row[None, :].copy() for name, row in rows.items()},
    )


def edge_of(market: Market, seed: int) -> Edge:
    """Evolve on a market and appraise the best, as the command does."""
    seen = visible(market, SETTINGS)
    rules = [n for n, f in FAMILIES.items() if not f.learned and not f.needs_funding]
    families, _ = usable_families(seen, rules)
    evolution = Evolution(Plan(seed=seed, population_size=100, generations=10, families=families))
    tried: dict[str, tuple[float, Genome]] = {}
    while not evolution.done:
        group = evolution.ask()
        outcomes = evaluate(seen, SETTINGS, group)
        for genome, outcome in zip(group, outcomes, strict=True):
            if outcome.fitness is not None:
                tried[outcome.key] = (outcome.fitness, genome)
        evolution.tell(outcomes)
    best = max(tried.values(), key=lambda pair: pair[0])[1]
    sample = [tried[key][1] for key in sorted(tried)[:64]]
    return test_for_edge(market, SETTINGS, best, sample, len(tried))


def test_random_walks(benchmark: Any, effort: Effort) -> None:
    """The share of runs that claim an edge although there is none: 5 % at most."""
    edges = [edge_of(walk(seed), seed) for seed in range(effort.null_seeds)]
    benchmark.pedantic(lambda: None, rounds=1)
    claims = sum(edge.shown for edge in edges)
    benchmark.extra_info.update(
        suite="honesty",
        label="random walks: deflated Sharpe of the best",
        unit="probability",
        samples=[edge.deflated for edge in edges],
        note=f"edge claimed in {claims} of {len(edges)} runs",
    )
    assert claims <= 0.05 * len(edges)


def test_planted_trends(benchmark: Any, effort: Effort) -> None:
    """The share of runs that find a planted edge, because never claiming one would pass the test
    above.
    """
    seeds = range(effort.null_seeds // 2)
    edges = [edge_of(walk(seed, persistence=0.6), seed) for seed in seeds]
    benchmark.pedantic(lambda: None, rounds=1)
    claims = sum(edge.shown for edge in edges)
    benchmark.extra_info.update(
        suite="honesty",
        label="planted trends: deflated Sharpe of the best",
        unit="probability",
        samples=[edge.deflated for edge in edges],
        note=f"edge claimed in {claims} of {len(edges)} runs",
    )
    assert claims >= 0.5 * len(edges)
