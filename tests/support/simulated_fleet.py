"""A fleet of worker nodes that exists only here, in its own time, and a dispatcher on it."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

import numpy as np

from ga.evaluation.evaluate import Batch
from ga.evaluation.settings import Outcome
from ga.execution.protocol import BatchResult, CostModel, FailedAttempt
from ga.execution.ray.dispatcher import BatchFailure, Dispatcher
from ga.genome import Genome

PATIENCE = 60.0


def genomes(count: int) -> list[Genome]:
    return [Genome("ema_crossover", (float(i), 0.0, 0.0, 0.0, 0.0)) for i in range(count)]


@dataclass
class Flight:
    group: list[Genome]
    node: str
    apart: bool
    since: float
    ends_at: float
    reply: tuple[BatchResult, ...] | BatchFailure


class Fleet:
    """Nodes that evaluate in ``each`` seconds a genome, and break in the ways that are planted."""

    def __init__(self, nodes: dict[str, int], *, seed: int = 0, each: float = 0.01) -> None:
        self.now = 0.0
        self.slots = dict(nodes)
        self.each = each
        self.flights: dict[int, Flight] = {}
        self.launched: list[Flight] = []
        self.cancelled: list[tuple[int, bool]] = []
        self.crash: set[Genome] = set()
        """Kill the worker process of any batch they are in; apart they are answered as failed."""
        self.hang: set[Genome] = set()
        self.deadly: set[Genome] = set()
        """Kill the worker process even of a batch that is evaluated apart."""
        self.short_of_memory = 0
        """So many of the next batches lose their worker process to the kernel."""
        self.stuck_leases = 0
        """So many of the next flights never end, whatever is in them."""
        self.lost_after: list[tuple[float, str]] = []
        self._handles = itertools.count()
        self._rng = np.random.default_rng(seed)

    def nodes(self):
        return dict(self.slots)

    def address(self, node):
        return f"address of {node}"

    def launch(self, group, node, *, apart):
        handle = next(self._handles)
        reply, seconds = self.fate(list(group), node, apart)
        self.flights[handle] = Flight(list(group), node, apart, self.now, self.now + seconds, reply)
        self.launched.append(self.flights[handle])
        return handle

    def fate(self, group, node, apart):
        seconds = self.each * len(group) * self._rng.uniform(0.5, 2.0)
        if self.stuck_leases:
            self.stuck_leases -= 1
            return BatchFailure.LOST, float("inf")
        if node not in self.slots:
            return BatchFailure.LOST, 0.1
        if self.deadly & set(group):
            return BatchFailure.CRASHED, seconds
        if self.short_of_memory:
            self.short_of_memory -= 1
            return BatchFailure.MEMORY, seconds
        if apart:
            seconds += PATIENCE * len(self.hang & set(group))
            return self._answer(group, node), seconds
        if self.hang & set(group):
            return BatchFailure.LOST, float("inf")
        if self.crash & set(group):
            return BatchFailure.CRASHED, seconds
        return self._answer(group, node), seconds

    def _answer(self, group, node):
        bad = self.crash | self.hang
        outcomes = tuple(
            Outcome(key=g.hash, fitness=None, error="alone it failed")
            if g in bad
            else Outcome(key=g.hash, fitness=g.genes[0])
            for g in group
        )
        batch = Batch(
            outcomes=outcomes,
            cpu_seconds=self.each * len(group),
            started_at=self.now,
            finished_at=self.now,
        )
        return (BatchResult(indices=tuple(range(len(group))), batch=batch, node=node),)

    def wait(self, handles, seconds):
        until = self.now + seconds
        first = min(self.flights[h].ends_at for h in handles)
        self.now = max(self.now, min(first, until))
        for at, node in [x for x in self.lost_after if x[0] <= self.now]:
            self.lost_after.remove((at, node))
            self.slots.pop(node, None)
            for flight in self.flights.values():
                if flight.node == node and flight.ends_at > self.now:
                    flight.reply, flight.ends_at = BatchFailure.LOST, self.now
        return [h for h in handles if self.flights[h].ends_at <= self.now]

    def result(self, handle):
        return self.flights[handle].reply

    def cancel(self, handle, *, force):
        self.cancelled.append((handle, force))

    def sleep(self, seconds):
        self.now += seconds


def run(fleet, group, *, beat=lambda: None):
    """All outcomes by index; each flight must have been told of, and is a try."""
    dispatched: list[tuple[tuple[int, ...], str]] = []
    tried: dict[int, tuple[FailedAttempt, ...]] = {}
    dispatcher = Dispatcher(
        fleet=fleet,
        costs=CostModel(),
        genomes=group,
        key=lambda genome: genome.hash,
        patience=PATIENCE,
        beat=beat,
        on_dispatch=lambda indices, node: dispatched.append((indices, node)),
        clock=lambda: fleet.now,
        sleep=fleet.sleep,
    )
    found: dict[int, Outcome] = {}
    for result in dispatcher.run():
        assert len(result.indices) == len(result.batch.outcomes)
        for index, outcome in zip(result.indices, result.batch.outcomes, strict=True):
            assert index not in found, "answered twice"
            assert outcome.key == group[index].hash
            found[index] = outcome
            tried[index] = result.tried
            assert 0.0 <= result.seconds <= fleet.now
    assert sorted(found) == list(range(len(group))), "not all were answered"
    assert dispatched == [
        (tuple(int(g.genes[0]) for g in f.group), f"address of {f.node}") for f in fleet.launched
    ]
    for index, genome in enumerate(group):
        flights = [f.node for f in fleet.launched if genome in f.group]
        # All but one: the one that was answered, or that was the last of a quarantined genome.
        nodes = Counter(t.node.removeprefix("address of ") for t in tried[index])
        assert len(tried[index]) == len(flights) - 1
        assert nodes <= Counter(flights)
    return found
