"""Simulates a cluster batch by batch: 1 to 10,000 nodes, with failures. Equal seeds give equal
results.

The coordinator dispatches one batch after the other to the least busy node, as the driver does, and
receives results. A generation is a barrier; its commit runs during the next generation. A failing
node loses its batches. After a delay they are repeated, and later the node returns.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

import numpy as np

from ga.capacity.cost_model import Costs
from ga.execution.protocol import BATCHES_A_SLOT, CostModel, make_batches, max_in_flight
from ga.genome import Genome

DAY: Final = 86_400.0
_DONE, _FAILS, _NOTICED, _BACK = range(4)


@dataclass(frozen=True, kw_only=True)
class Failures:
    """Parameters of node failures."""

    per_node_day: float = 0.0
    """Mean number of failures per node and day; the times between them are exponential."""
    detection: float = 5.0
    """Seconds until the coordinator detects a failure."""
    away: float = 60.0
    """Seconds until the node returns."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """Result of a simulated run."""

    seconds: float
    """Seconds from the first generation to the last commit."""
    generations: tuple[float, ...]
    """Seconds from one barrier to the next."""
    busy: float
    """Share of all slots' time that was spent in evaluations whose results were used."""
    handing_out: float
    """Share of the time in which the coordinator dispatched."""
    failures: int
    redone: int
    """Batches that were lost with a node and repeated."""


class _Known(CostModel):
    """Estimates that are exact."""

    def __init__(self, costs: Costs) -> None:
        super().__init__()
        self._known = costs.genome

    def estimate(self, family: str) -> float:
        return self._known[family]


def play(
    costs: Costs,
    *,
    population: int,
    generations: int,
    nodes: int,
    slots: int,
    failures: Failures | None = None,
    seed: int = 0,
    evaluated: Sequence[Mapping[str, int]] | None = None,
) -> Played:
    """Simulate a run.

    Args:
        slots: slots of each node.
        evaluated: evaluated genomes by family, for each generation; None: the whole population in
            every generation, with families in equal numbers.
    """
    cluster = _Cluster(nodes, slots, failures or Failures(), seed)
    if evaluated is None:
        each, more = divmod(population, len(costs.genome))
        evaluated = [{f: each + (i < more) for i, f in enumerate(costs.genome)}] * generations
    now = committed = dispatching = useful = 0.0
    marks = [0.0]
    work: list[float] = []
    for number, genomes in enumerate(evaluated):
        if number == 0 or genomes != evaluated[number - 1]:
            work = _batches(costs, genomes, nodes * slots)
        useful += sum(work) - costs.task * len(work)
        now, spent = cluster.generation(now, work, costs.dispatch)
        dispatching += spent
        now += costs.breeding[0] + costs.breeding[1] * population
        now = max(now, committed)
        committed = now + costs.commit[0] + costs.commit[1] * population
        marks.append(now)
    return Played(
        seconds=committed,
        generations=tuple(np.diff(marks).tolist()),
        busy=useful / (committed * nodes * slots),
        handing_out=dispatching / committed,
        failures=cluster.failed,
        redone=cluster.redone,
    )


def _batches(costs: Costs, genomes: Mapping[str, int], slots: int) -> list[float]:
    """Seconds of each batch of a generation."""
    each = [Genome(family, ()) for family, number in genomes.items() for _ in range(number)]
    return [
        costs.task + sum(costs.genome[each[i].family] for i in batch)
        for batch in make_batches(each, _Known(costs), slots)
    ]


class _Cluster:
    """State of the nodes, which continues from one generation to the next."""

    def __init__(self, nodes: int, slots: int, failures: Failures, seed: int) -> None:
        self._slots, self._failures = slots, failures
        self._dice = np.random.Generator(np.random.Philox(key=[seed, 0xD15C]))
        self._order = count()
        self._events: list[tuple[float, int, int, int, int, int]] = []
        self._free_at = [[0.0] * slots for _ in range(nodes)]
        self._load = [0] * nodes
        self._known_up, self._up = [True] * nodes, nodes
        self._down = [False] * nodes
        self._life = [0] * nodes
        """Number of failures of each node, so that results from before a failure are dropped."""
        self._held: list[set[int]] = [set() for _ in range(nodes)]
        self._idle = [(0, node) for node in range(nodes)]
        self.failed = self.redone = 0
        for node in range(nodes):
            self._will_fail(node, 0.0)

    def generation(
        self, now: float, work: Sequence[float], dispatch: tuple[float, float]
    ) -> tuple[float, float]:
        """Run all batches; returns the time of the last result, and the time of dispatching."""
        todo, left, flying, spent = deque(range(len(work))), len(work), 0, 0.0
        fixed, each = dispatch
        while left:
            due = self._events and self._events[0][0] <= now
            node = None if due or not todo else self._least_busy(len(todo))
            if node is not None:
                takes = fixed + each * flying
                now += takes
                spent += takes
                self._start(node, todo.popleft(), now, work)
                flying += 1
                continue
            at, _, kind, node, batch, life = heapq.heappop(self._events)
            now = max(now, at)
            if kind == _DONE:
                if life == self._life[node]:
                    self._held[node].remove(batch)
                    self._changed(node, -1)
                    left -= 1
                    flying -= 1
            elif kind == _FAILS:
                self._fail(node, at)
            elif kind == _NOTICED:
                lost = sorted(self._held[node])
                self._held[node].clear()
                self._known_up[node] = False
                self._up -= 1
                self._load[node] = 0
                flying -= len(lost)
                self.redone += len(lost)
                todo.extendleft(reversed(lost))
            else:
                self._down[node] = False
                self._known_up[node] = True
                self._up += 1
                self._free_at[node] = [at] * self._slots
                self._will_fail(node, at)
                heapq.heappush(self._idle, (0, node))
        return now, spent

    def _event(self, at: float, kind: int, node: int, batch: int = 0) -> None:
        heapq.heappush(self._events, (at, next(self._order), kind, node, batch, self._life[node]))

    def _fail(self, node: int, at: float) -> None:
        self.failed += 1
        self._life[node] += 1
        self._down[node] = True
        noticed = at + self._failures.detection
        self._event(noticed, _NOTICED, node)
        self._event(max(at + self._failures.away, noticed), _BACK, node)

    def _will_fail(self, node: int, now: float) -> None:
        if self._failures.per_node_day > 0:
            wait = float(self._dice.exponential(DAY / self._failures.per_node_day))
            self._event(now + wait, _FAILS, node)

    def _least_busy(self, todo: int) -> int | None:
        """The least busy node; None if all nodes that count as up have enough batches."""
        most = max_in_flight(self._slots * self._up, todo)
        while self._idle:
            load, node = self._idle[0]
            if self._known_up[node] and load == self._load[node]:
                return node if load < most * self._slots else None
            heapq.heappop(self._idle)
        return None

    def _changed(self, node: int, by: int) -> None:
        self._load[node] += by
        if self._known_up[node] and self._load[node] < BATCHES_A_SLOT * self._slots:
            heapq.heappush(self._idle, (self._load[node], node))

    def _start(self, node: int, batch: int, now: float, work: Sequence[float]) -> None:
        self._held[node].add(batch)
        self._changed(node, +1)
        if self._down[node]:
            return
        free = self._free_at[node]
        done = max(heapq.heappop(free), now) + work[batch]
        heapq.heappush(free, done)
        self._event(done, _DONE, node, batch)
