"""The same evolution on EvoTorch's actors: the solutions of a problem are split evenly over one
actor per node. A solution is a family's number and its genes, padded with zeros.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import ray
import torch
from evotorch import Problem, SolutionBatch

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
from ga.evaluation.settings import Outcome, evaluation_key
from ga.families import FAMILIES
from ga.genome import Genome

_NAMES = tuple(FAMILIES)
_LONGEST = max(len(family.genes) for family in FAMILIES.values())
_BESIDE = 4
"""Additional values per fitness: fills, drawdown, CPU seconds, and the actor."""


class Backtests(Problem):  # type: ignore[misc]
    """Genomes as rows of numbers.

    Args:
        work: the cluster, and the number of actors.
    """

    def __init__(self, work: Work) -> None:
        super().__init__(
            "max",
            solution_length=1 + _LONGEST,
            initial_bounds=(0.0, 1.0),
            dtype=torch.float64,
            eval_dtype=torch.float64,
            eval_data_length=_BESIDE,
            num_actors=work.workers,
            actor_config={"num_cpus": 1},
        )
        self._work = work

    def _evaluate_batch(self, solutions: SolutionBatch) -> None:
        """Evaluate all rows of an actor at once."""
        market, began = market_here(self._work.market), time.thread_time()
        genomes = [_genome(row) for row in solutions.values.tolist()]
        outcomes = evaluate(market, SETTINGS, genomes)
        each = (time.thread_time() - began) / max(len(outcomes), 1)
        rows = [
            (_number(o.fitness), o.trades, o.max_drawdown, each, self._here()) for o in outcomes
        ]
        solutions.set_evals(torch.tensor(rows, dtype=torch.float64))

    def _here(self) -> float:
        """This node as a number that a double can represent."""
        return float(int(ray.get_runtime_context().get_node_id()[:12], 16))


def _genome(row: Sequence[float]) -> Genome:
    name = _NAMES[int(row[0])]
    return Genome(name, tuple(row[1 : 1 + len(FAMILIES[name].genes)]))


def _row(genome: Genome) -> list[float]:
    padding = [0.0] * (_LONGEST - len(genome.genes))
    return [float(_NAMES.index(genome.family)), *genome.genes, *padding]


def _number(fitness: float | None) -> float:
    return float("nan") if fitness is None else fitness


def actors(work: Work) -> Spread:
    """A problem with all actors warmed up."""
    problem, hash_ = Backtests(work), market_here(work.market).hash

    def answer(genome: Genome, evals: Sequence[Any]) -> Answer:
        fitness, trades, drawdown, seconds, node = evals
        if fitness != fitness:
            raise ValueError(f"{genome.family} failed; its error cannot be sent as a number")
        key = evaluation_key(genome, hash_, SETTINGS)
        outcome = Outcome(key=key, fitness=fitness, trades=int(trades), max_drawdown=drawdown)
        return outcome, seconds, str(node)

    def spread(genomes: Sequence[Genome]) -> Sequence[Answer]:
        batch = SolutionBatch(problem, popsize=len(genomes), empty=True)
        batch.set_values(torch.tensor([_row(g) for g in genomes], dtype=torch.float64))
        problem.evaluate(batch)
        return [answer(g, row) for g, row in zip(genomes, batch.evals.tolist(), strict=True)]

    spread(warming(work))
    return spread


if __name__ == "__main__":
    main(__doc__, actors)
