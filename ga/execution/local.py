"""Evaluate on this machine, in worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from ga.backtest.kernel_cache import Compiling
from ga.errors import MachineError
from ga.evaluation.settings import Settings
from ga.execution.numerics_check import expected
from ga.execution.pool import LOCAL, Pool
from ga.execution.protocol import (
    PATIENCE_SECONDS,
    BatchResult,
    CostModel,
    NodeReport,
    UnansweredAttempts,
    batch_timeout,
    make_batches,
    report,
    warmup_genomes,
)
from ga.genome import Genome
from ga.market import Market

_COMPILE_SECONDS: Final = 600.0
"""Seconds for compiling all kernels: under a minute on a whole core, and a node may have half of
one.
"""


class LocalEvaluator:
    """A pool of processes, even with one worker, so that a genome cannot end the run itself."""

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
        self._nodes: list[NodeReport] = []

    @property
    def mode(self) -> str:
        """See ``Evaluator``."""
        return "local"

    @property
    def workers(self) -> int:
        """See ``Evaluator``."""
        return self._workers

    @property
    def unanswered_attempts(self) -> UnansweredAttempts:
        """See ``Evaluator``."""
        return self._pool.unanswered_attempts

    @property
    def nodes(self) -> Sequence[NodeReport]:
        """See ``Evaluator``."""
        return self._nodes

    def warm_up(self) -> None:
        """Compile (or load from the cache) every kernel in every process, and check its numerics.

        Raises:
            MachineError: this machine computes other bits.
        """
        genomes = warmup_genomes(self._families)
        every = tuple(range(len(genomes)))
        # First family by family, so that one process compiles and the others load from the cache.
        alone = [(index,) for index in every]
        compiling = Compiling(len(every))
        with self._refusing():
            for result in self._pool.run(genomes, alone, lambda _: _COMPILE_SECONDS):
                self._require_sound(genomes, result)
                compiling.done()
            compiling.end()
            self._pool.wait_up()
            list(self._pool.run(genomes, [every] * self._workers, lambda _: _COMPILE_SECONDS))
        # A process that computes other bits has raised an error before.
        self._nodes = [report(expected(self._families), id=LOCAL, node=LOCAL)]
        for result in self._pool.run(genomes, [(index,) for index in every]):
            self._update_costs(genomes, result)

    def evaluate(self, genomes: Sequence[Genome]) -> Iterator[BatchResult]:
        """See ``Evaluator``."""
        batches = make_batches(genomes, self._costs, self._workers)
        with self._refusing():
            for result in self._pool.run(genomes, batches, self._allowed):
                self._update_costs(genomes, result)
                yield result

    def close(self) -> None:
        """See ``Evaluator``."""
        self._pool.close()

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Report this machine as refused if it cannot evaluate."""
        try:
            yield
        except MachineError as error:
            right = report(expected(self._families), id=LOCAL, node=LOCAL)
            self._nodes = [replace(right, digest="", refused=str(error))]
            raise

    def _require_sound(self, genomes: Sequence[Genome], result: BatchResult) -> None:
        """Raise if a genome in the middle of its bounds crashed or hung a worker."""
        for index, outcome in zip(result.indices, result.batch.outcomes, strict=True):
            if result.tried and outcome.error is not None:
                raise MachineError(
                    f"this machine cannot evaluate {genomes[index].family}: a harmless genome"
                    f" {outcome.error}; reinstall the versions of constraints.txt"
                )

    def _allowed(self, genomes: Sequence[Genome]) -> float:
        return batch_timeout(genomes, self._costs, self._patience)

    def _update_costs(self, genomes: Sequence[Genome], result: BatchResult) -> None:
        self._costs.learn([genomes[i] for i in result.indices], result.batch.cpu_seconds)
