"""Evaluate on this machine: in this process for one worker, else in a pool of processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Final

from ga.errors import ClusterError
from ga.evaluators.base import BatchResult, CostModel, cut, probes
from ga.fitness import Batch, Settings, evaluate_batch
from ga.genome import Genome
from ga.market import Market

_POOL_TRIES: Final = 3

_state: tuple[Market, Settings] | None = None
"""A pool worker's market and settings; set once by ``_initialise`` in the worker."""


def _initialise(market: Market, settings: Settings) -> None:
    global _state
    _state = (market, settings)


def _work(genomes: Sequence[Genome]) -> Batch:
    if _state is None:
        raise RuntimeError("pool worker was not initialised")
    return evaluate_batch(*_state, genomes)


class LocalEvaluator:
    """A process pool. A worker that dies is replaced and its batches are done again."""

    def __init__(
        self, *, market: Market, settings: Settings, families: Sequence[str], workers: int
    ) -> None:
        self._market, self._settings = market, settings
        self._families = families
        self._workers = workers
        self._costs = CostModel()
        self._pool = self._new_pool() if workers > 1 else None

    @property
    def mode(self) -> str:
        """See ``Evaluator``."""
        return "local"

    @property
    def workers(self) -> int:
        """See ``Evaluator``."""
        return self._workers

    def warm_up(self) -> None:
        """Compile (or load from the cache) every kernel in every process."""
        genomes = probes(self._families)
        if self._pool is None:
            evaluate_batch(self._market, self._settings, genomes)
        else:
            # One alone first: what it compiles, the others load from the cache.
            self._pool.submit(_work, genomes).result()
            # More tasks than workers, so that each process is likely to get one.
            waiting = [self._pool.submit(_work, genomes) for _ in range(2 * self._workers)]
            for future in waiting:
                future.result()
        for genome in genomes:
            self._learn([genome], self._one([genome]))

    def evaluate(self, genomes: Sequence[Genome]) -> Iterator[BatchResult]:
        """See ``Evaluator``."""
        batches = cut(genomes, self._costs, self._workers)
        if self._pool is None:
            for indices in batches:
                group = [genomes[i] for i in indices]
                batch = evaluate_batch(self._market, self._settings, group)
                self._learn(group, batch)
                yield BatchResult(indices=indices, batch=batch, node="local")
            return
        yield from self._pooled(genomes, batches)

    def close(self) -> None:
        """See ``Evaluator``."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _pooled(
        self, genomes: Sequence[Genome], batches: list[tuple[int, ...]]
    ) -> Iterator[BatchResult]:
        left = set(batches)
        for attempt in range(_POOL_TRIES):
            try:
                for indices, batch in self._round(genomes, sorted(left, key=batches.index)):
                    left.discard(indices)
                    self._learn([genomes[i] for i in indices], batch)
                    yield BatchResult(indices=indices, batch=batch, node="local", attempt=attempt)
                return
            except BrokenProcessPool:
                self.close()
                self._pool = self._new_pool()
        raise ClusterError(
            f"local workers died {_POOL_TRIES} times (out of memory?);"
            " use fewer --workers or a smaller --population-size"
        )

    def _round(
        self, genomes: Sequence[Genome], batches: list[tuple[int, ...]]
    ) -> Iterator[tuple[tuple[int, ...], Batch]]:
        assert self._pool is not None
        waiting: dict[Future[Batch], tuple[int, ...]] = {
            self._pool.submit(_work, [genomes[i] for i in indices]): indices for indices in batches
        }
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield waiting.pop(future), future.result()

    def _one(self, genomes: Sequence[Genome]) -> Batch:
        if self._pool is None:
            return evaluate_batch(self._market, self._settings, genomes)
        return self._pool.submit(_work, genomes).result()

    def _learn(self, genomes: Sequence[Genome], batch: Batch) -> None:
        self._costs.learn(genomes, batch.cpu_seconds)

    def _new_pool(self) -> ProcessPoolExecutor:
        # spawn: the parent has threads (progress, database), and a fork would copy their locks.
        return ProcessPoolExecutor(
            max_workers=self._workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_initialise,
            initargs=(self._market, self._settings),
        )
