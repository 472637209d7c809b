"""The scalability law recovers what made the data, and the simulation predicts it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from evolution_gate.benchmarks.bench_scaleout import ScaleOut
from evolution_gate.benchmarks.cluster_arms import evaluated
from evolution_gate.benchmarks.scaling import fit, predict, slope, throughput
from ga.capacity.cost_model import Costs
from ga.capacity.simulate import play
from ga.cli.main import main

SIZES = (1, 2, 4, 8)


def times(one: float, serial: float, coherence: float, noise: float) -> dict[int, list[float]]:
    dice = np.random.Generator(np.random.Philox(5))
    rates = throughput(np.array(SIZES, dtype=np.float64), one, serial, coherence)
    return {
        size: (np.exp(noise * dice.standard_normal(6)) / rate).tolist()
        for size, rate in zip(SIZES, rates, strict=True)
    }


def test_scalability_law_is_recovered() -> None:
    law = fit(times(0.05, 0.08, 0.004, 0.0))
    assert law is not None
    assert law.one[0] == pytest.approx(0.05)
    assert law.serial[0] == pytest.approx(0.08, rel=1e-3)
    assert law.coherence[0] == pytest.approx(0.004, rel=1e-3)
    assert law.peak == pytest.approx(math.sqrt(0.92 / 0.004), rel=1e-3)


def test_interval_covers_the_truth_under_noise() -> None:
    law = fit(times(0.05, 0.08, 0.004, 0.02))
    assert law is not None
    for (value, low, high), truth in (
        (law.one, 0.05),
        (law.serial, 0.08),
        (law.coherence, 0.004),
    ):
        assert low <= value <= high
        assert low <= truth <= high
    for nodes, rate, low, high in law.band:
        assert low <= rate <= high, nodes


def test_too_few_sizes_or_repeats_are_not_fitted() -> None:
    some = times(0.05, 0.1, 0.0, 0.01)
    assert fit({}) is None
    assert fit({n: some[n] for n in (1, 4)}) is None
    assert fit({n: some[n][:1] for n in SIZES}) is None


COSTS = Costs(
    genome={"ema_crossover": 1e-3, "pca_tree_quantile": 20e-3},
    task=0.5e-3,
    dispatch=(0.5e-3, 0.6e-6),
    breeding=(3e-3, 18e-6),
    commit=(5e-3, 20e-6),
)


EVALUATED = [dict.fromkeys(COSTS.genome, 600 // len(COSTS.genome))] * 3


def test_prediction_matches_simulated_arms() -> None:
    """Nodes of 0.4 CPU that lose 8 % of it to something else."""
    slow = 0.4 * 0.92
    true = Costs(
        genome={name: cost / slow for name, cost in COSTS.genome.items()},
        task=COSTS.task / slow,
        dispatch=COSTS.dispatch,
        breeding=COSTS.breeding,
        commit=COSTS.commit,
    )
    seconds = {
        n: [play(true, population=600, generations=3, nodes=n, slots=1).seconds] for n in (1, 2, 4)
    }
    found = predict(
        seconds=seconds,
        cpu_seconds=dict.fromkeys(seconds, 600 * 3 * COSTS.mean),
        costs=COSTS,
        population=600,
        cpus_per_node=0.4,
        evaluated=EVALUATED,
    )
    assert [one.nodes for one in found] == [1, 2, 4]
    assert all(abs(one.error) < 0.02 for one in found)
    # An arm on cores that were half as fast for its time is told by its CPU time.
    slow_spell = predict(
        seconds={**seconds, 4: [2 * seconds[4][0]]},
        cpu_seconds={**dict.fromkeys(seconds, 600 * 3 * COSTS.mean), 4: 2 * 600 * 3 * COSTS.mean},
        costs=COSTS,
        population=600,
        cpus_per_node=0.4,
        evaluated=EVALUATED,
    )
    assert abs(slow_spell[-1].error) < 0.1
    # A cluster that stops scaling is not what the simulation says.
    seconds[4] = seconds[2]
    bad = predict(
        seconds=seconds,
        cpu_seconds=dict.fromkeys(seconds, 600 * 3 * COSTS.mean),
        costs=COSTS,
        population=600,
        cpus_per_node=0.4,
        evaluated=EVALUATED,
    )
    assert abs(bad[-1].error) > 0.3


def test_evaluated_counts_of_a_run_are_stored(tmp_path: Path) -> None:
    argv = ["evolve", "--market", "synthetic:bars=1000,seed=1", "--seed", "3", "--top", "0"]
    argv += ["--families", "ema_crossover,rsi_filter", "--population-size", "20"]
    argv += ["--generations", "2", "--mode", "local", "--workers", "1"]
    assert main([*argv, "--store", str(tmp_path / "a.db")]) == 0
    found = evaluated(tmp_path / "a.db")
    assert found[0] == {"ema_crossover": 10, "rsi_filter": 10}
    assert sum(found[1].values()) <= 20
    kept = json.loads(json.dumps(asdict(ScaleOut(evaluated=found))))
    assert kept["evaluated"] == list(found)


def test_exponent_is_the_slope_of_logarithms() -> None:
    assert slope({10: 3.0, 100: 3.0 * 10**1.5, 1000: 3.0 * 10**3.0}) == pytest.approx(1.5)
