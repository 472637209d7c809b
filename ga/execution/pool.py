"""Worker processes on this machine, and attribution of lost workers to genomes.

Each worker has one batch at a time, so the batch of a crashed or hung worker is known. Such a batch
is repeated genome by genome. A genome is quarantined (answered with an error) when it alone crashes
three workers or hangs two, and a harmless genome of its family then succeeds on this machine.
Workers that were killed, for memory or by hand, count as faults of the machine: a genome that
exceeds its memory gets a ``MemoryError`` long before (``ga.execution.worker``).
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Final

from ga.errors import ClusterError, MachineError
from ga.evaluation.evaluate import Batch
from ga.evaluation.settings import Settings, evaluation_key
from ga.execution.forkserver import CONTEXT, single_threaded_env
from ga.execution.protocol import (
    HANGS_ALONE,
    PATIENCE_SECONDS,
    TRIES_ALONE,
    BatchResult,
    FailedAttempt,
    SuspendAwareClock,
    UnansweredAttempts,
    crashed,
    failed_attempt,
    quarantined,
    too_slow,
    warmup_genomes,
)
from ga.execution.worker import serve
from ga.genome import Genome
from ga.market import Market

LOCAL: Final = "local"
"""Name of this machine as a node."""
_KILLED_FOR_MEMORY: Final = "out of memory"
_KILLED: Final = (_KILLED_FOR_MEMORY, signal.SIGKILL.name)
"""Exit causes of a worker that its genome cannot have caused."""
_TICK: Final = 0.5
_START_TRIES: Final = 3


@dataclass(frozen=True, kw_only=True)
class _Task:
    indices: tuple[int, ...]
    lost: int = 0
    """Number of workers that it crashed or hung as a batch of one."""
    since: float | None = None
    """When the task, or the batch that it is part of, was first dispatched."""
    tried: tuple[FailedAttempt, ...] = ()
    error: str | None = None
    """The error for the quarantine of its genome, pending the check with a harmless genome."""

    @property
    def exclusive(self) -> bool:
        """Whether it must run alone, because its result decides about the quarantine of its
        genome.
        """
        return self.lost == TRIES_ALONE - 1 or self.error is not None


class _Worker:
    """A worker process and its current batch, if any."""

    def __init__(self, market: Market, settings: Settings) -> None:
        self.connection, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(
            target=serve,
            args=(theirs, market, settings),
            name="ga-worker",
            daemon=True,
        )
        try:
            with single_threaded_env():
                self.process.start()
        except BaseException:
            # Ctrl-C, which waits until the process has started: nobody else knows it.
            if self.process.pid is not None:
                self.process.kill()
            raise
        theirs.close()
        self.up = False
        self.task: _Task | None = None
        self.since, self.limit = 0.0, 0.0
        self._oom_kills = oom_kills()

    def end(self) -> str:
        """Kill the process if it is alive; returns how it ended."""
        self.process.kill()
        self.process.join()
        self.connection.close()
        status = self.process.exitcode or 0
        if status == -signal.SIGKILL and oom_kills() > self._oom_kills:
            return _KILLED_FOR_MEMORY
        return signal.Signals(-status).name if status < 0 else f"exit status {status}"


class Pool:
    """A number of workers for one market.

    Args:
        patience: wall seconds after which the worker of any batch counts as hung.
    """

    def __init__(
        self,
        *,
        market: Market,
        settings: Settings,
        workers: int,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        # Computed once here and sent along; otherwise each worker would hash the whole market.
        self._market_hash = market.hash
        self._market, self._settings, self._patience = market, settings, patience
        self._failed_starts = 0
        self._clock = SuspendAwareClock()
        self.unanswered_attempts: UnansweredAttempts = {}
        """See ``Evaluator``."""
        self._workers: list[_Worker] = []
        try:
            for _ in range(workers):
                self._workers.append(_Worker(market, settings))
        except BaseException:
            self.close()
            raise

    def wait_up(self) -> None:
        """Return when all workers are up."""
        while starting := [worker for worker in self._workers if not worker.up]:
            for ready in wait([worker.connection for worker in starting]):
                self._receive(next(worker for worker in starting if worker.connection is ready))

    def run(
        self,
        genomes: Sequence[Genome],
        batches: Sequence[tuple[int, ...]],
        allowed: Callable[[Sequence[Genome]], float] | None = None,
    ) -> Iterator[BatchResult]:
        """Evaluate batches of indices into ``genomes``, in any order.

        Args:
            allowed: wall seconds allowed for a batch of these genomes; None: ``patience`` for all.

        Raises:
            ClusterError: workers cannot be started on this machine.
            MachineError: this machine computes other bits, or fails for a reason other than a
                genome.
        """
        self.unanswered_attempts = {}
        todo = deque(_Task(indices=indices) for indices in batches)
        try:
            while todo or any(worker.task is not None for worker in self._workers):
                self._dispatch(todo, genomes, allowed)
                connections = [w.connection for w in self._workers if w.task or not w.up]
                ready = wait(connections, timeout=_TICK)
                for worker in [w for w in self._workers if w.connection in ready]:
                    task = worker.task
                    answer = self._receive(worker)
                    if task is None:
                        continue
                    if isinstance(answer, Batch) and task.error is not None:
                        yield self._quarantine(task, task.error, answer, genomes)
                    elif isinstance(answer, Batch):
                        # Give the worker its next batch before this result is processed.
                        self._dispatch(todo, genomes, allowed)
                        yield self._result(task, answer)
                    else:
                        self._handle_failure(task, answer, genomes, todo)
                now = self._clock()
                for worker in self._workers:
                    if worker.task is not None and now - worker.since > worker.limit:
                        task, limit = worker.task, worker.limit
                        self._replace(worker)
                        self._handle_failure(task, None, genomes, todo, limit=limit)
        finally:
            left = list(todo)
            for worker in self._workers:
                if worker.task is not None:
                    left.append(
                        _with_failed_attempt(
                            worker.task, "withdrawn", "its result was no longer needed"
                        )
                    )
                    # A late answer could be matched to the wrong batch.
                    self._replace(worker)
            self.unanswered_attempts = {
                i: task.tried for task in left if task.tried for i in task.indices
            }

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.end()
        self._workers = []

    def _dispatch(
        self,
        todo: deque[_Task],
        genomes: Sequence[Genome],
        allowed: Callable[[Sequence[Genome]], float] | None,
    ) -> None:
        for worker in self._workers:
            if not todo or not worker.up or worker.task is not None:
                continue
            running = [w.task for w in self._workers if w.task is not None]
            if running and (todo[0].exclusive or any(task.exclusive for task in running)):
                return
            group = [genomes[i] for i in todo[0].indices]
            if todo[0].error is not None:
                group = warmup_genomes([group[0].family])
            now = self._clock()
            try:
                worker.connection.send(tuple(zip(*group, strict=True)))
            except BrokenPipeError:
                # An idle worker died: no batch caused it.
                self._replace(worker)
                continue
            worker.since = now
            task = todo.popleft()
            worker.task = replace(task, since=now) if task.since is None else task
            worker.limit = max(self._patience, allowed(group) if allowed else 0.0)

    def _receive(self, worker: _Worker) -> Batch | str | None:
        """Message of a worker: a batch, None when it has started, or how it died."""
        try:
            answer: Batch | MachineError | None = worker.connection.recv()
        except (EOFError, OSError):
            # OSError: it died while it sent a long answer.
            return self._replace(worker)
        if isinstance(answer, MachineError):
            raise answer
        worker.up, worker.task = True, None
        self._failed_starts = 0
        return answer

    def _replace(self, worker: _Worker) -> str:
        how = worker.end()
        if not worker.up:
            self._failed_starts += 1
            if self._failed_starts >= _START_TRIES:
                raise ClusterError(
                    f"local workers could not be started {_START_TRIES} times ({how}); use fewer"
                    " --workers, and check the free memory"
                )
        self._workers[self._workers.index(worker)] = _Worker(self._market, self._settings)
        return how

    def _handle_failure(
        self,
        task: _Task,
        how: str | None,
        genomes: Sequence[Genome],
        todo: deque[_Task],
        *,
        limit: float = 0.0,
    ) -> None:
        """Handle a task whose worker died (``how``) or hung (None)."""
        family = genomes[task.indices[0]].family
        why = too_slow(limit) if how is None else how
        word = "hung" if how is None else "memory" if how == _KILLED_FOR_MEMORY else "crashed"
        again = _with_failed_attempt(task, word, why)
        if len(task.indices) > 1:
            todo.extendleft(replace(again, indices=(i,)) for i in reversed(task.indices))
            return
        # Also before an error is raised, which reports the attempts.
        again = replace(again, lost=task.lost + 1)
        todo.appendleft(again)
        if task.error is not None:
            ended = why if how is None else f"ended its worker ({how})"
            raise MachineError(
                f"a genome of {family} {task.error}, and then a harmless one {ended}: this machine"
                " cannot evaluate; check its memory, disk and load"
            )
        if again.lost < (HANGS_ALONE if how is None else TRIES_ALONE):
            return
        if how in _KILLED:
            raise MachineError(
                f"a worker that evaluated one genome of {family} was killed {again.lost} times"
                f" ({how}); free some memory, or use fewer --workers"
            )
        todo[0] = replace(again, error=too_slow(limit) if how is None else crashed(how))

    def _quarantine(
        self, task: _Task, error: str, control: Batch, genomes: Sequence[Genome]
    ) -> BatchResult:
        """The answer for a suspect genome after the check with a harmless one."""
        genome = genomes[task.indices[0]]
        for outcome in control.outcomes:
            if outcome.error is not None:
                raise MachineError(
                    f"a genome of {genome.family} {error}, and a harmless one failed, too:"
                    f" {outcome.error}; check this machine"
                )
        key = evaluation_key(genome, self._market_hash, self._settings)
        # The outcome itself reports the last attempt.
        return self._result(replace(task, tried=task.tried[:-1]), quarantined(key, error))

    def _result(self, task: _Task, batch: Batch) -> BatchResult:
        now = self._clock()
        return BatchResult(
            indices=task.indices,
            batch=batch,
            node=LOCAL,
            attempt=len(task.tried),
            seconds=now - (now if task.since is None else task.since),
            tried=task.tried,
        )


def _with_failed_attempt(task: _Task, outcome: str, error: str) -> _Task:
    """The task after a failed attempt."""
    return replace(task, tried=(*task.tried, failed_attempt(LOCAL, outcome, error)))


def oom_kills() -> int:
    """Number of out-of-memory kills since boot; 0 if the kernel does not report it."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except FileNotFoundError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
