"""A straightforward evolution in the style of DEAP: a map over Ray's pool, one genome per call."""

from __future__ import annotations

import time
from collections.abc import Sequence

import ray
from ray.util.multiprocessing import Pool

from evolution_gate.benchmarks.peer import (
    SETTINGS,
    Answer,
    Spread,
    Work,
    main,
    market_here,
    warming,
)
from ga.evaluation.evaluate import evaluate
from ga.genome import Genome


def one(task: tuple[str, Genome]) -> Answer:
    """Evaluate one genome, like DEAP's ``evaluate``."""
    spec, genome = task
    market, began = market_here(spec), time.thread_time()
    outcome = evaluate(market, SETTINGS, [genome])[0]
    return outcome, time.thread_time() - began, ray.get_runtime_context().get_node_id()


def pool(work: Work) -> Spread:
    """A pool with all workers warmed up."""
    workers = Pool(processes=work.workers, ray_remote_args={"num_cpus": 1})

    def spread(genomes: Sequence[Genome]) -> Sequence[Answer]:
        found: Sequence[Answer] = workers.map(one, [(work.market, genome) for genome in genomes])
        return found

    spread(warming(work))
    return spread


if __name__ == "__main__":
    main(__doc__, pool)
