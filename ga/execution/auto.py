"""``--mode auto``: measure local and distributed evaluation, choose one, and give the reason."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ga.errors import ClusterError, InputError, MachineError
from ga.evaluation.settings import Settings
from ga.evolution import Evolution, Plan
from ga.execution.local import LocalEvaluator
from ga.execution.protocol import Evaluator
from ga.execution.ray.evaluator import ClusterEvaluator
from ga.genome import Genome
from ga.market import Market

_SAMPLE: Final = 256
"""Number of genomes whose evaluation is timed."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Time of a generation with an evaluator: ``fixed + each * population_size`` seconds."""

    fixed: float
    """The barrier: a round trip, and the wait for the last batch."""
    each: float
    """One genome's share of the time of all slots."""

    def generation(self, population_size: int) -> float:
        """Seconds of a generation without known genomes."""
        return self.fixed + self.each * population_size


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The chosen evaluator, and the reason."""

    evaluator: Evaluator
    reason: str
    costs: Mapping[str, Cost] = field(default_factory=dict)
    """mode -> its measured cost; only the measured modes."""


def make_evaluator(
    mode: str,
    *,
    market: Market,
    settings: Settings,
    plan: Plan,
    workers: int | None,
    address: str | None,
) -> Choice:
    """Make the evaluator for ``local``, ``distributed`` or ``auto`` on an in-sample market.

    Raises:
        InputError: bad workers or address.
    """
    if workers is not None and not 1 <= workers <= 4096:
        raise InputError(f"--workers must be 1..4096, not {workers}")

    def local() -> LocalEvaluator:
        return LocalEvaluator(
            market=market,
            settings=settings,
            families=plan.families,
            workers=workers or os.cpu_count() or 1,
        )

    def cluster() -> ClusterEvaluator:
        return ClusterEvaluator(
            market=market,
            settings=settings,
            families=plan.families,
            address=address,
            workers=workers,
        )

    if mode == "local":
        return Choice(evaluator=local(), reason="--mode local")
    if mode == "distributed":
        return Choice(evaluator=cluster(), reason="--mode distributed")
    if address is None:
        return Choice(evaluator=local(), reason="local: no --address of a cluster was given")
    return choose(local, cluster, plan)


def measure(evaluator: Evaluator, sample: Sequence[Genome]) -> Cost:
    """Time a sample and a quarter of it: two points of a straight line.

    Uses wall time, which includes the effect of a node's quota, its niceness and other processes.

    Raises:
        ClusterError: the workers were lost.
    """
    # Each genome twice, because the first evaluation corrects the estimated costs of batches.
    seconds = {}
    for size in (len(sample), len(sample), len(sample) // 4):
        began = time.perf_counter()
        for _ in evaluator.evaluate(sample[:size]):
            pass
        seconds[size] = time.perf_counter() - began
    (many, long), (few, short) = seconds.items()
    # Noise may make the smaller sample slower; the time per genome must not be negative.
    each = max(0.0, long - short) / max(many - few, 1)
    return Cost(fixed=max(0.0, long - each * many), each=each)


def choose(
    local: Callable[[], LocalEvaluator], cluster: Callable[[], ClusterEvaluator], plan: Plan
) -> Choice:
    """Time both evaluators on a sample of the first generation and keep the faster one.

    The other one is closed. A cluster that is lost, or a machine that cannot evaluate, loses.
    """
    population = Evolution(plan).ask()
    # Genomes of all families in the same shares as in a generation.
    sample = [population[i * len(population) // _SAMPLE] for i in range(_SAMPLE)]
    remote = cluster()
    try:
        remote.warm_up()
        there = measure(remote, sample)
    except ClusterError as error:
        remote.close()
        return Choice(evaluator=local(), reason=f"local: {error}")
    here_evaluator = local()
    try:
        here_evaluator.warm_up()
        here = measure(here_evaluator, sample)
    except MachineError as error:
        here_evaluator.close()
        return Choice(evaluator=remote, reason=f"distributed: {error}")
    except BaseException:
        here_evaluator.close()
        remote.close()
        raise
    size = plan.population_size
    numbers = "; ".join(
        f"{where} {cost.generation(size):.3f} s a generation of {size}"
        f" ({1e3 * cost.fixed:.1f} ms and {1e6 * cost.each:.0f} us a genome,"
        f" {evaluator.workers} {units})"
        for where, cost, evaluator, units in (
            ("cluster", there, remote, "slots"),
            ("here", here, here_evaluator, "processes"),
        )
    )
    costs = {"distributed": there, "local": here}
    if there.generation(size) < here.generation(size):
        here_evaluator.close()
        return Choice(evaluator=remote, reason=f"distributed: {numbers}", costs=costs)
    remote.close()
    return Choice(evaluator=here_evaluator, reason=f"local: {numbers}", costs=costs)
