"""Assign batches to the nodes of a cluster, and handle lost batches.

This module does not use Ray: a ``ClusterBackend`` starts batches on nodes and reports their
outcome. A batch that crashes worker processes or takes too long is sent again to be evaluated
*apart*: in a separate process (``ga.execution.pool``) whose end is observed from outside. So node
failures are never attributed to a genome.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from math import ceil
from typing import Final, Generic, Protocol, TypeVar

from ga.execution.protocol import (
    HANGS_ALONE,
    TRIES_ALONE,
    BatchResult,
    CostModel,
    FailedAttempt,
    SuspendAwareClock,
    batch_timeout,
    crashed,
    failed_attempt,
    make_batches,
    max_in_flight,
    quarantined,
    too_slow,
)
from ga.execution.ray.node_load import Deadlines, NodeLoads
from ga.genome import Genome

BEAT_SECONDS: Final = 0.2
STARVED_SECONDS: Final = 60.0
"""Seconds without any worker node after which the cluster counts as lost."""
_TRIES: Final = 2
"""Lost worker processes after which a batch is evaluated apart."""
_LAUNCHES: Final = 20
"""Maximum number of starts of a batch; after that the cluster counts as failed."""
_DUPLICATE_AFTER: Final = 8.0
"""A batch in flight this long is started a second time if there is no other batch to dispatch; the
first result wins. So a stuck lease does not block a generation (ray-project/ray issue 63405).
"""
_COPIES: Final = 3
"""Maximum concurrent flights of one batch; if it hangs, it blocks this many slots."""


class BatchFailure(Enum):
    """Why an attempt at a batch failed."""

    LOST = "its node or its data was lost"
    CRASHED = "its worker process died"
    MEMORY = "its worker process was killed for its memory"


H = TypeVar("H", bound=Hashable)


class ClusterBackend(Protocol[H]):
    """The nodes of a cluster."""

    def nodes(self) -> Mapping[str, int]:
        """Ready node -> number of batches that it can run concurrently.

        A change gives another mapping; the same one counts as unchanged.
        """
        ...

    def address(self, node: str) -> str:
        """Name of a node in results, also after it is gone."""
        ...

    def launch(self, genomes: Sequence[Genome], node: str, *, apart: bool) -> H:
        """Start a batch on a node, or on another one if it is gone."""
        ...

    def wait(self, handles: Collection[H], seconds: float) -> Sequence[H]:
        """Wait until at least one batch has ended; returns all that have."""
        ...

    def result(self, handle: H) -> Sequence[BatchResult] | BatchFailure:
        """Results of a batch that has ended, which answer all its genomes, or its failure."""
        ...

    def cancel(self, handle: H, *, force: bool) -> None:
        """Cancel a batch; ``force``: even if its worker process must be killed."""
        ...


@dataclass(eq=False, kw_only=True)
class _Job(Generic[H]):
    indices: tuple[int, ...]
    limit: float
    """Seconds allowed for one flight."""
    apart: bool = False
    launched: int = 0
    since: float | None = None
    """When its genomes were first dispatched."""
    tried: list[FailedAttempt] = field(default_factory=list)
    """The ended attempts of all its flights."""
    flights: dict[H, _InFlight[H]] = field(default_factory=dict)
    """Its flights that have not ended, by handle, oldest first."""
    faults: list[tuple[BatchFailure, str]] = field(default_factory=list)
    """Lost flights that no known node failure explains, with their nodes."""
    done: bool = False

    @property
    def newest(self) -> _InFlight[H] | None:
        """The flight that was started last, if it has not ended."""
        flight = next(reversed(self.flights.values()), None)
        return flight if flight is not None and flight.copy == self.launched - 1 else None


@dataclass(frozen=True, eq=False, kw_only=True)
class _InFlight(Generic[H]):
    job: _Job[H]
    handle: H
    copy: int
    node: str
    since: float
    number: int
    """Number of earlier flights of this dispatcher."""

    @property
    def wanted(self) -> bool:
        """Whether its result is still needed."""
        return not self.job.done and self.handle in self.job.flights


class Dispatcher(Generic[H]):
    """Dispatches the genomes of one request.

    Args:
        key: the evaluation key of a genome.
        beat: called about every ``BEAT_SECONDS`` while nothing else happens.
        on_dispatch: called with the indices of every batch that is started, and the node's address.
    """

    def __init__(
        self,
        *,
        fleet: ClusterBackend[H],
        costs: CostModel,
        genomes: Sequence[Genome],
        key: Callable[[Genome], str],
        patience: float,
        beat: Callable[[], None],
        on_dispatch: Callable[[tuple[int, ...], str], None],
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._fleet, self._costs, self._genomes = fleet, costs, genomes
        self._key, self._patience, self._beat = key, patience, beat
        self._on_dispatch = on_dispatch
        self._clock, self._sleep = clock or SuspendAwareClock(), sleep
        self._todo: deque[_Job[H]] = deque()
        self._flying: dict[H, _InFlight[H]] = {}
        self._started = 0
        self._loads = NodeLoads()
        """Without overtaken flights, which may never end."""
        self._limits, self._slow = (
            Deadlines[_InFlight[H]](lambda f: f.wanted, lambda f: f.number) for _ in range(2)
        )
        """When flights may be started a second time."""
        self._open = 0

    def run(self) -> Iterator[BatchResult]:
        """Yield the outcome of every genome once.

        Raises:
            TimeoutError: the cluster has had no node for ``STARVED_SECONDS``.
            RuntimeError: the cluster lost the same batch too often.
        """
        slots = max(sum(self._fleet.nodes().values()), 1)
        for indices in make_batches(self._genomes, self._costs, slots):
            self._add(indices)
        fed = self._clock()
        while self._open:
            now, nodes = self._clock(), self._fleet.nodes()
            self._loads.follow(nodes)
            if nodes:
                fed = now
            elif now - fed > STARVED_SECONDS:
                raise TimeoutError(f"no worker node for {STARVED_SECONDS:.0f} s")
            while self._todo and (node := self._free_node()) is not None:
                self._launch(self._todo.popleft(), node)
            if len(self._todo) <= self._loads.slots:
                # The last batches wait for free slots, so that a stuck flight does not block them.
                self._duplicate(nodes, now)
            if not self._flying:
                # No usable node; one may join.
                self._beat()
                self._sleep(BEAT_SECONDS)
                continue
            ready = self._fleet.wait(self._flying.keys(), BEAT_SECONDS)
            if not ready:
                self._beat()
            for handle in ready:
                # The flight belonged to a batch that was split, and was removed with it.
                if handle in self._flying:
                    yield from self._on_complete(handle)
            self._end_overdue()
        for handle in self._flying:
            self._fleet.cancel(handle, force=False)

    def _add(self, indices: tuple[int, ...], *, part_of: _Job[H] | None = None) -> None:
        """Queue genomes; with ``part_of`` (a failed batch) apart and before all others."""
        limit = batch_timeout([self._genomes[i] for i in indices], self._costs, self._patience)
        self._open += 1
        if part_of is None:
            self._todo.append(_Job(indices=indices, limit=limit))
            return
        self._todo.appendleft(
            _Job(
                indices=indices,
                # Each of them may hang for its time limit HANGS_ALONE times, and its process must
                # start.
                limit=limit * (3 + HANGS_ALONE * min(len(indices), 8)),
                apart=True,
                launched=part_of.launched,
                since=part_of.since,
                tried=list(part_of.tried),
            )
        )

    def _free_node(self) -> str | None:
        """The least busy node; None if all have enough batches."""
        return self._loads.least_busy(max_in_flight(self._loads.slots, len(self._todo)))

    def _launch(self, job: _Job[H], node: str) -> None:
        group = [self._genomes[i] for i in job.indices]
        now = self._clock()
        handle = self._fleet.launch(group, node, apart=job.apart)
        self._on_dispatch(job.indices, self._fleet.address(node))
        flight = _InFlight(
            job=job, handle=handle, copy=job.launched, node=node, since=now, number=self._started
        )
        self._started += 1
        self._flying[handle] = job.flights[handle] = flight
        self._loads.add(node)
        job.since = now if job.since is None else job.since
        job.launched += 1
        self._limits.add(now + job.limit, flight)
        self._may_duplicate(job)

    def _duplicate_after(self, job: _Job[H]) -> float:
        """Seconds after which the newest flight of a job is started again."""
        # Evaluated apart, a batch takes longer: a process must start, and may hang.
        return (3 * self._patience if job.apart else _DUPLICATE_AFTER) * len(job.flights)

    def _may_duplicate(self, job: _Job[H]) -> None:
        """Note when the newest flight of a job is due to be started again."""
        flight = job.newest
        if flight is not None and len(job.flights) < _COPIES:
            self._slow.add(flight.since + self._duplicate_after(job), flight)

    def _duplicate(self, nodes: Mapping[str, int], now: float) -> None:
        for flight in self._slow.due(now):
            job = flight.job
            if job.newest is not flight or len(job.flights) >= _COPIES:
                continue
            if now - flight.since > self._duplicate_after(job):
                others = [node for node in nodes if node != flight.node]
                self._launch(job, others[flight.copy % len(others)] if others else flight.node)
            else:
                self._may_duplicate(job)

    def _on_complete(self, handle: H) -> Iterator[BatchResult]:
        flight = self._remove(handle)
        job = flight.job
        if job.done:
            return
        reply = self._fleet.result(handle)
        if isinstance(reply, BatchFailure):
            self._record_failed_attempt(flight, reply.name.lower(), reply.value)
            if reply is not BatchFailure.LOST:
                job.faults.append((reply, flight.node))
            yield from self._failed(job)
            return
        self._close(job)
        seconds = self._seconds(job)
        for part in reply:
            indices = tuple(job.indices[i] for i in part.indices)
            if not job.apart:
                self._costs.learn([self._genomes[i] for i in indices], part.batch.cpu_seconds)
            yield replace(
                part,
                indices=indices,
                attempt=flight.copy,
                seconds=seconds,
                tried=(*job.tried, *part.tried),
            )

    def _failed(self, job: _Job[H]) -> Iterator[BatchResult]:
        """Handle a failed flight of a job."""
        if len(job.faults) >= (TRIES_ALONE if job.apart else _TRIES):
            if not job.apart or len(job.indices) > 1:
                self._split(job)
                return
            # If its node has died since, the node may be the cause. If memory was short although
            # the genome's process was within its limit, other processes are the cause.
            alive = self._fleet.nodes()
            job.faults = [
                (fault, node)
                for fault, node in job.faults
                if fault is BatchFailure.CRASHED and node in alive
            ]
            if len(job.faults) >= TRIES_ALONE:
                yield self._quarantine(job)
                return
        self._requeue(job)

    def _requeue(self, job: _Job[H]) -> None:
        if job.launched >= _LAUNCHES:
            raise RuntimeError(f"a batch was started {job.launched} times and never came back")
        if not job.flights:
            self._todo.appendleft(job)

    def _end_overdue(self) -> None:
        now = self._clock()
        for flight in self._limits.due(now):
            job = flight.job
            if not flight.wanted:
                # It was withdrawn with another flight of its batch.
                continue
            if now - flight.since <= job.limit:
                self._limits.add(flight.since + job.limit, flight)
                continue
            self._withdraw(flight, "hung", too_slow(job.limit))
            if not job.apart:
                self._split(job)
                continue
            # The pool would have ended a hanging genome, so the node itself hangs.
            self._requeue(job)

    def _split(self, job: _Job[H]) -> None:
        """Evaluate the genomes of a suspect batch apart, on as many nodes as possible."""
        for flight in list(job.flights.values()):
            self._withdraw(flight, "withdrawn", "another try at its batch failed")
        self._close(job)
        count = len(job.indices)
        slots = max(sum(self._fleet.nodes().values()), 1)
        size = 1 if job.apart else ceil(count / slots)
        for at in range(0, count, size):
            self._add(job.indices[at : at + size], part_of=job)

    def _quarantine(self, job: _Job[H]) -> BatchResult:
        # The outcome itself reports it.
        node = job.tried.pop().node
        self._close(job)
        error = crashed("and its node's")
        batch = quarantined(self._key(self._genomes[job.indices[0]]), error)
        return BatchResult(
            indices=job.indices,
            batch=batch,
            node=node,
            attempt=job.launched - 1,
            seconds=self._seconds(job),
            tried=tuple(job.tried),
        )

    def _withdraw(self, flight: _InFlight[H], outcome: str, error: str) -> None:
        self._remove(flight.handle)
        self._record_failed_attempt(flight, outcome, error)
        self._fleet.cancel(flight.handle, force=True)

    def _remove(self, handle: H) -> _InFlight[H]:
        """Forget a flight that has ended."""
        flight = self._flying.pop(handle)
        job = flight.job
        del job.flights[handle]
        if not job.done:
            self._loads.remove(flight.node)
            self._may_duplicate(job)
        return flight

    def _record_failed_attempt(self, flight: _InFlight[H], outcome: str, error: str) -> None:
        flight.job.tried.append(failed_attempt(self._fleet.address(flight.node), outcome, error))

    def _close(self, job: _Job[H]) -> None:
        """Close a job; its remaining flights are recorded as overtaken."""
        job.done = True
        self._open -= 1
        for flight in job.flights.values():
            self._loads.remove(flight.node)
            self._record_failed_attempt(flight, "overtaken", "another try at its batch was faster")

    def _seconds(self, job: _Job[H]) -> float:
        now = self._clock()
        return now - (now if job.since is None else job.since)
