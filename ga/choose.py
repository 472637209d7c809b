"""``--mode auto``: measure, choose where to evaluate, and say why."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ga.errors import ClusterError, InputError
from ga.evaluators import Evaluator, LocalEvaluator
from ga.evaluators.base import calibrate
from ga.evaluators.cluster import ClusterEvaluator
from ga.evolution import Evolution, Plan
from ga.fitness import Settings
from ga.market import Market

_PROBE_GENOMES: Final = 256


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The evaluator, and the sentence that says why it was chosen."""

    evaluator: Evaluator
    reason: str


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
    return _measured(local, cluster, market, settings, plan)


def _measured(
    local: Callable[[], LocalEvaluator],
    cluster: Callable[[], ClusterEvaluator],
    market: Market,
    settings: Settings,
    plan: Plan,
) -> Choice:
    costs = calibrate(market, settings, plan.families)
    generation = sum(costs.values()) / len(costs) * plan.population_size
    here = local()
    seconds_here = generation / min(here.workers, os.cpu_count() or 1)
    remote = cluster()
    try:
        remote.warm_up()
        sample = Evolution(plan).ask()[:_PROBE_GENOMES]
        began = time.perf_counter()
        cpu = sum(result.batch.cpu_seconds for result in remote.evaluate(sample))
        spent = time.perf_counter() - began
    except ClusterError as error:
        remote.close()
        return Choice(evaluator=here, reason=f"local: {error}")
    # What the sample took beyond its own share of the work is the cost of the barrier.
    barrier = max(0.0, spent - cpu / max(remote.workers, 1))
    scaled = spent - barrier if spent > barrier else 0.0
    seconds_there = barrier + scaled * plan.population_size / len(sample)
    numbers = (
        f"a generation of {plan.population_size} would take {seconds_there:.3f} s on the cluster"
        f" ({remote.workers} slots) and {seconds_here:.3f} s here ({here.workers} processes)"
    )
    if seconds_there < seconds_here:
        here.close()
        return Choice(evaluator=remote, reason=f"distributed: {numbers}")
    remote.close()
    return Choice(evaluator=here, reason=f"local: {numbers}")
