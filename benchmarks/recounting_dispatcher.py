"""The dispatcher as it was before it kept counts: each decision reads every batch in flight.

The benchmark of the coordinator measures the present one beside it, and a test compares what both
hand out.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Final, Generic

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
from ga.execution.ray.dispatcher import (
    BEAT_SECONDS,
    STARVED_SECONDS,
    BatchFailure,
    ClusterBackend,
    H,
)
from ga.genome import Genome

_TRIES: Final = 2
_LAUNCHES: Final = 20
_DUPLICATE_AFTER: Final = 8.0
_COPIES: Final = 3


@dataclass(eq=False, kw_only=True)
class _Job:
    indices: tuple[int, ...]
    limit: float
    """Seconds allowed for one flight."""
    apart: bool = False
    launched: int = 0
    since: float | None = None
    """When its genomes were first dispatched."""
    tried: list[FailedAttempt] = field(default_factory=list)
    """The ended attempts of all its flights."""
    flying: int = 0
    faults: list[tuple[BatchFailure, str]] = field(default_factory=list)
    """Lost flights that no known node failure explains, with their nodes."""
    done: bool = False


@dataclass(frozen=True, kw_only=True)
class _InFlight:
    job: _Job
    copy: int
    node: str
    since: float


class RecountingDispatcher(Generic[H]):
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
        self._todo: deque[_Job] = deque()
        self._flying: dict[H, _InFlight] = {}
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
            if nodes:
                fed = now
            elif now - fed > STARVED_SECONDS:
                raise TimeoutError(f"no worker node for {STARVED_SECONDS:.0f} s")
            while self._todo and (node := self._free_node(nodes)) is not None:
                self._launch(self._todo.popleft(), node)
            if len(self._todo) <= sum(nodes.values()):
                # The last batches wait for free slots, so that a stuck flight does not block them.
                self._duplicate(nodes, now)
            if not self._flying:
                # No usable node; one may join.
                self._beat()
                self._sleep(BEAT_SECONDS)
                continue
            ready = self._fleet.wait(list(self._flying), BEAT_SECONDS)
            if not ready:
                self._beat()
            for handle in ready:
                # The flight belonged to a batch that was split, and was removed with it.
                if handle in self._flying:
                    yield from self._on_complete(handle)
            self._end_overdue()
        for handle in self._flying:
            self._fleet.cancel(handle, force=False)

    def _add(self, indices: tuple[int, ...], *, part_of: _Job | None = None) -> None:
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

    def _free_node(self, nodes: Mapping[str, int]) -> str | None:
        """The least busy node; None if all have enough batches."""
        most = max_in_flight(sum(nodes.values()), len(self._todo))
        # Overtaken flights may never end.
        busy = Counter(f.node for f in self._flying.values() if not f.job.done)
        load = {node: busy[node] / slots for node, slots in nodes.items()}
        node = min(load, key=load.__getitem__, default=None)
        return node if node is not None and load[node] < most else None

    def _launch(self, job: _Job, node: str) -> None:
        group = [self._genomes[i] for i in job.indices]
        now = self._clock()
        handle = self._fleet.launch(group, node, apart=job.apart)
        self._on_dispatch(job.indices, self._fleet.address(node))
        self._flying[handle] = _InFlight(job=job, copy=job.launched, node=node, since=now)
        job.since = now if job.since is None else job.since
        job.launched += 1
        job.flying += 1

    def _duplicate(self, nodes: Mapping[str, int], now: float) -> None:
        for flight in list(self._flying.values()):
            job = flight.job
            # Evaluated apart, a batch takes longer: a process must start, and may hang.
            after = (3 * self._patience if job.apart else _DUPLICATE_AFTER) * job.flying
            newest = flight.copy == job.launched - 1
            if not job.done and newest and job.flying < _COPIES and now - flight.since > after:
                others = [node for node in nodes if node != flight.node]
                self._launch(job, others[flight.copy % len(others)] if others else flight.node)

    def _on_complete(self, handle: H) -> Iterator[BatchResult]:
        flight = self._flying.pop(handle)
        job = flight.job
        job.flying -= 1
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

    def _failed(self, job: _Job) -> Iterator[BatchResult]:
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

    def _requeue(self, job: _Job) -> None:
        if job.launched >= _LAUNCHES:
            raise RuntimeError(f"a batch was started {job.launched} times and never came back")
        if not job.flying:
            self._todo.appendleft(job)

    def _end_overdue(self) -> None:
        now = self._clock()
        for handle, flight in list(self._flying.items()):
            job = flight.job
            if job.done or now - flight.since <= job.limit or handle not in self._flying:
                continue
            self._withdraw(handle, "hung", too_slow(job.limit))
            if not job.apart:
                self._split(job)
                continue
            # The pool would have ended a hanging genome, so the node itself hangs.
            self._requeue(job)

    def _split(self, job: _Job) -> None:
        """Evaluate the genomes of a suspect batch apart, on as many nodes as possible."""
        for handle in [h for h, flight in self._flying.items() if flight.job is job]:
            self._withdraw(handle, "withdrawn", "another try at its batch failed")
        self._close(job)
        count = len(job.indices)
        slots = max(sum(self._fleet.nodes().values()), 1)
        size = 1 if job.apart else ceil(count / slots)
        for at in range(0, count, size):
            self._add(job.indices[at : at + size], part_of=job)

    def _quarantine(self, job: _Job) -> BatchResult:
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

    def _withdraw(self, handle: H, outcome: str, error: str) -> None:
        flight = self._flying.pop(handle)
        flight.job.flying -= 1
        self._record_failed_attempt(flight, outcome, error)
        self._fleet.cancel(handle, force=True)

    def _record_failed_attempt(self, flight: _InFlight, outcome: str, error: str) -> None:
        flight.job.tried.append(failed_attempt(self._fleet.address(flight.node), outcome, error))

    def _close(self, job: _Job) -> None:
        """Close a job; its remaining flights are recorded as overtaken."""
        job.done = True
        self._open -= 1
        for flight in self._flying.values():
            if flight.job is job:
                self._record_failed_attempt(
                    flight, "overtaken", "another try at its batch was faster"
                )

    def _seconds(self, job: _Job) -> float:
        now = self._clock()
        return now - (now if job.since is None else job.since)
