"""An evolution as one writes it first, in DEAP's manner: a map over Ray's pool, a genome a call.

Fitness, breeding and history are the engine's, so that only how work is spread differs; equal
genomes are not evaluated again. Nothing is kept, and a lost node ends it. One line of JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections import defaultdict
from typing import Final

import ray
from ray.util.multiprocessing import Pool

from ga.evaluators.driver import local_address
from ga.evolution import Evolution, Plan
from ga.fitness import Outcome, Settings, evaluate, evaluation_key, visible
from ga.genome import Genome
from ga.market import Market
from ga.sources import MarketSpec

SETTINGS: Final = Settings()
_held: dict[str, Market] = {}
"""Of a worker: read once."""


def one(task: tuple[str, Genome]) -> tuple[Outcome, float, str]:
    """DEAP would have it registered as ``evaluate``; also its CPU seconds, and the node's id."""
    spec, genome = task
    if spec not in _held:
        _held[spec] = visible(MarketSpec(spec=spec).load(), SETTINGS)
    began = time.thread_time()
    outcome = evaluate(_held[spec], SETTINGS, [genome])[0]
    return outcome, time.thread_time() - began, ray.get_runtime_context().get_node_id()


def main() -> None:
    """Run it on a cluster whose address, and how many workers it has, is given."""
    parser = argparse.ArgumentParser(description=__doc__)
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
    market = visible(MarketSpec(spec=options.market).load(), SETTINGS)
    plan = Plan(
        seed=options.seed,
        population_size=options.population_size,
        generations=options.generations,
    )
    evolution = Evolution(plan)
    known: dict[str, Outcome] = {}
    cpu: dict[str, float] = defaultdict(float)
    evaluated = 0
    with Pool(processes=options.workers, ray_remote_args={"num_cpus": 1}) as pool:
        # Every worker has its market and its kernels before the clock starts, as the engine's have.
        warm = {genome.family: genome for genome in evolution.ask()}
        pool.map(one, [(options.market, g) for g in warm.values()] * options.workers * 2)
        began = time.perf_counter()
        while not evolution.done:
            genomes = evolution.ask()
            keys = [evaluation_key(genome, market.hash, SETTINGS) for genome in genomes]
            fresh = {key: g for key, g in zip(keys, genomes, strict=True) if key not in known}
            found = pool.map(one, [(options.market, genome) for genome in fresh.values()])
            for key, (outcome, seconds, node) in zip(fresh, found, strict=True):
                known[key] = outcome
                cpu[node] += seconds
            evaluated += len(fresh)
            evolution.tell([known[key] for key in keys])
        seconds = time.perf_counter() - began
    result = {
        "seconds": seconds,
        "startup_seconds": began - started,
        "cpu_seconds": sum(cpu.values()),
        "nodes_used": len(cpu),
        "digest": evolution.digest,
        "evaluations": evaluated,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
