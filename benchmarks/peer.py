"""An evolution that distributes its work over a Ray cluster differently from the engine.

Fitness, breeding and history are the engine's, so that only the distribution of work differs. Equal
genomes are evaluated once. Nothing is stored, and the loss of a node ends the run. The output is
one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import ray

from ga.evaluation.folds import visible
from ga.evaluation.settings import Outcome, Settings, evaluation_key
from ga.evolution import Evolution, Plan
from ga.execution.ray.connection import local_address
from ga.genome import Genome
from ga.market import Market
from ga.sources import MarketSpec

SETTINGS: Final = Settings()
_held: dict[str, Market] = {}
"""The market of a worker, read once."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """The evolution, and the number of workers."""

    market: str
    workers: int
    plan: Plan


Answer: TypeAlias = tuple[Outcome, float, str]
"""Result of a genome: its outcome, its CPU seconds, and the node."""
Spread: TypeAlias = Callable[[Sequence[Genome]], Sequence[Answer]]
"""Evaluates genomes; returns results in their order."""


def market_here(spec: str) -> Market:
    """The market in a worker."""
    if spec not in _held:
        _held[spec] = visible(MarketSpec(spec=spec).load(), SETTINGS)
    return _held[spec]


def main(description: str | None, make: Callable[[Work], Spread]) -> None:
    """Run the evolution on the cluster that the arguments describe."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--address", required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--market", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--population-size", type=int, required=True)
    parser.add_argument("--generations", type=int, required=True)
    options, started = parser.parse_args(), time.perf_counter()
    ray.init(
        address=options.address,
        _node_ip_address=local_address(options.address),
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    plan = Plan(
        seed=options.seed,
        population_size=options.population_size,
        generations=options.generations,
    )
    spread = make(Work(market=options.market, workers=options.workers, plan=plan))
    startup = time.perf_counter() - started
    print(json.dumps({"startup_seconds": startup, **_evolve(options.market, plan, spread)}))


def _evolve(spec: str, plan: Plan, spread: Spread) -> dict[str, object]:
    hash_ = visible(MarketSpec(spec=spec).load(), SETTINGS).hash
    evolution = Evolution(plan)
    known: dict[str, Outcome] = {}
    cpu: dict[str, float] = defaultdict(float)
    evaluated, began = 0, time.perf_counter()
    while not evolution.done:
        genomes = evolution.ask()
        keys = [evaluation_key(genome, hash_, SETTINGS) for genome in genomes]
        fresh = {key: g for key, g in zip(keys, genomes, strict=True) if key not in known}
        for key, (outcome, seconds, node) in zip(fresh, spread(list(fresh.values())), strict=True):
            known[key] = outcome
            cpu[node] += seconds
        evaluated += len(fresh)
        evolution.tell([known[key] for key in keys])
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": sum(cpu.values()),
        "nodes_used": len(cpu),
        "digest": evolution.digest,
        "evaluations": evaluated,
    }


def warming(work: Work) -> list[Genome]:
    """Enough genomes of every family for all workers, so that every worker has its market, kernels
    and banks before the clock starts, like the engine's workers.
    """
    each = {genome.family: genome for genome in Evolution(work.plan).ask()}
    return list(each.values()) * work.workers * 2
