"""The functions of Ray's tasks, executed in worker processes of a cluster."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ga.errors import MachineError
from ga.evaluation.settings import Settings
from ga.execution.numerics_check import Proof, prove
from ga.execution.pool import Pool
from ga.execution.protocol import (
    BatchResult,
    warmup_genomes,
)
from ga.execution.ray.tasks import EVALUATE, EVALUATE_APART
from ga.execution.worker import fault_of, work
from ga.genome import Genome
from ga.market import Market

ONCE: Final[Mapping[str, Any]] = {"num_cpus": 1, "max_retries": 0}
"""No retries by Ray: it does not distinguish a lost node from a crashing genome, queues lost tasks
behind all others, and retries for ever after an out-of-memory kill.
"""


@dataclass(frozen=True)
class MarketRef:
    """A market in Ray's store."""

    hash: str
    reference: Any
    """Wrapped in an object, so that Ray does not fetch it for each task."""


_held: list[Market] = []
"""Market cache of a worker process."""


def _cached_market(market: MarketRef) -> Market:
    """The market itself, fetched once. As a direct argument it would be a new object for every
    task, but values that are computed once per market (its indicator banks) belong to one
    object.
    """
    if not _held or _held[0].hash != market.hash:
        import ray

        _held[:] = [ray.get(market.reference)]
        # As in a local worker: modules that are loaded now stay loaded.
        gc.freeze()
    return _held[0]


@dataclass(frozen=True, kw_only=True)
class Unfit:
    """Answer of a node that cannot evaluate."""

    id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Answer of a node."""

    id: str
    results: tuple[BatchResult, ...]


def warm(market: MarketRef, settings: Settings, families: Sequence[str]) -> tuple[str, Proof]:
    """Load market and kernels in this worker process, and check its numerics; returns the node's
    id, too.
    """
    import ray

    proof = prove(families)
    if proof.refusal is None:
        work(_cached_market(market), settings, warmup_genomes(families))
    return ray.get_runtime_context().get_node_id(), proof


def evaluation_task(ray: Any, *, apart: bool) -> Any:
    """The remote function that evaluates a batch, with its name from ``tasks``."""
    name, function = (EVALUATE_APART, evaluate_apart) if apart else (EVALUATE, evaluate)
    return ray.remote(name=name, **ONCE)(function)


def evaluate(market: MarketRef, settings: Settings, genomes: Sequence[Genome]) -> Answer | Unfit:
    """Evaluate a batch in this worker process."""
    import ray

    node, id = str(ray.util.get_node_ip_address()), ray.get_runtime_context().get_node_id()
    seen = _cached_market(market)
    try:
        batch = work(seen, settings, genomes)
    except Exception as error:
        # Any error outside the evaluation of a genome is not caused by a genome.
        return Unfit(id=id, reason=fault_of(error))
    result = BatchResult(indices=tuple(range(len(genomes))), batch=batch, node=node)
    return Answer(id=id, results=(result,))


def evaluate_apart(
    market: MarketRef, settings: Settings, genomes: Sequence[Genome], patience: float
) -> Answer | Unfit:
    """Like ``evaluate``, in a separate process and genome by genome."""
    import ray

    node, id = str(ray.util.get_node_ip_address()), ray.get_runtime_context().get_node_id()
    pool = Pool(market=_cached_market(market), settings=settings, workers=1, patience=patience)
    with contextlib.closing(pool):
        one_by_one = [(index,) for index in range(len(genomes))]
        try:
            results = tuple(
                replace(result, node=node, tried=tuple(replace(t, node=node) for t in result.tried))
                for result in pool.run(genomes, one_by_one)
            )
        except MachineError as error:
            return Unfit(id=id, reason=str(error))
    return Answer(id=id, results=results)
