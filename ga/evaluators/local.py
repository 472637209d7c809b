"""Evaluate on this machine, in worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ga.evaluators.base import (
    PATIENCE_SECONDS,
    Abandoned,
    BatchResult,
    CostModel,
    allowed,
    cut,
    probes,
)
from ga.evaluators.pool import Pool
from ga.fitness import Settings
from ga.genome import Genome
from ga.market import Market

_COMPILE_SECONDS: Final = 600.0
"""Compiling all kernels takes under a minute on a whole core, and a node may be half of one."""


class LocalEvaluator:
    """A pool of processes, even of one: what a genome breaks is then never the run itself."""

    def __init__(
        self,
        *,
        market: Market,
        settings: Settings,
        families: Sequence[str],
        workers: int,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._families, self._workers, self._patience = families, workers, patience
        self._costs = CostModel()
        self._pool = Pool(market=market, settings=settings, workers=workers, patience=patience)

    @property
    def mode(self) -> str:
        """See ``Evaluator``."""
        return "local"

    @property
    def workers(self) -> int:
        """See ``Evaluator``."""
        return self._workers

    @property
    def abandoned(self) -> Abandoned:
        """See ``Evaluator``."""
        return self._pool.abandoned

    def warm_up(self) -> None:
        """Compile (or load from the cache) every kernel in every process."""
        genomes = probes(self._families)
        every = tuple(range(len(genomes)))
        # One alone first: what it compiles, the others load from the cache.
        list(self._pool.run(genomes, [every], lambda _: _COMPILE_SECONDS))
        self._pool.wait_up()
        list(self._pool.run(genomes, [every] * self._workers, lambda _: _COMPILE_SECONDS))
        for result in self._pool.run(genomes, [(index,) for index in every]):
            self._learn(genomes, result)

    def evaluate(self, genomes: Sequence[Genome]) -> Iterator[BatchResult]:
        """See ``Evaluator``."""
        batches = cut(genomes, self._costs, self._workers)
        for result in self._pool.run(genomes, batches, self._allowed):
            self._learn(genomes, result)
            yield result

    def close(self) -> None:
        """See ``Evaluator``."""
        self._pool.close()

    def _allowed(self, genomes: Sequence[Genome]) -> float:
        return allowed(genomes, self._costs, self._patience)

    def _learn(self, genomes: Sequence[Genome], result: BatchResult) -> None:
        self._costs.learn([genomes[i] for i in result.indices], result.batch.cpu_seconds)
