"""An evolution whose work is spread over a Ray cluster in another way than the engine's.

Fitness, breeding and history are the engine's, so that only how work is spread differs; equal
genomes are not evaluated again. Nothing is kept, and a lost node ends it. One line of JSON.
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
"""Of a worker: read once."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is evolved, and on how many workers."""

    market: str
    workers: int
    plan: Plan


Answer: TypeAlias = tuple[Outcome, float, str]
"""Of a genome: its outcome, the CPU seconds that it took, and the node."""
Spread: TypeAlias = Callable[[Sequence[Genome]], Sequence[Answer]]
"""Gets genomes evaluated; answers in their order."""


def market_here(spec: str) -> Market:
    """The market in a worker."""
    if spec not in _held:
        _held[spec] = visible(MarketSpec(spec=spec).load(), SETTINGS)
    return _held[spec]


def main(description: str | None, make: Callable[[Work], Spread]) -> None:
    """Run it on a cluster whose address, and how many workers it has, is given."""
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
    """So many genomes of every family that each worker is given some: before the clock starts every
    worker then has its market, its kernels and its banks, as the engine's have."""
    each = {genome.family: genome for genome in Evolution(work.plan).ask()}
    return list(each.values()) * work.workers * 2
