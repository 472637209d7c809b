"""The dispatcher's kept counts decide exactly as counting everything again does."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from evolution_gate.benchmarks.recounting_dispatcher import RecountingDispatcher
from ga.evaluation.evaluate import Batch
from ga.evaluation.settings import Outcome
from ga.execution.protocol import BatchResult, CostModel
from ga.execution.ray.dispatcher import BatchFailure, Dispatcher
from ga.execution.ray.node_load import Deadlines, NodeLoads
from ga.genome import Genome

PATIENCE = 5.0
Event = tuple[object, ...]


class ScriptedFleet:
    """Nodes that join and leave at given times. The fate of the n-th flight depends on the seed and
    on n only: it answers, fails in one of three ways, or hangs.
    """

    def __init__(self, seed: int, changes: Sequence[tuple[float, str, int]], faults: float) -> None:
        self.now, self.log = 0.0, list[Event]()
        self._seed, self._faults = seed, faults
        self._changes = sorted(changes)
        self._slots = {"n0": 2, "n1": 1}
        self._mapping: Mapping[str, int] = dict(self._slots)
        self._ends: dict[int, float] = {}
        self._sizes: dict[int, int] = {}
        self._replies: dict[int, BatchFailure | None] = {}

    def nodes(self) -> Mapping[str, int]:
        while self._changes and self._changes[0][0] <= self.now:
            _, node, slots = self._changes.pop(0)
            self._slots.pop(node, None)
            if slots:
                self._slots[node] = slots
            self._mapping = dict(self._slots)
        return self._mapping

    def address(self, node: str) -> str:
        return f"address of {node}"

    def launch(self, genomes: Sequence[Genome], node: str, *, apart: bool) -> int:
        handle = len(self._ends)
        dice = random.Random(self._seed * 1_000_003 + handle)
        seconds = dice.choice([0.25, 0.5, dice.uniform(0.0, 3.0), dice.uniform(0.0, 30.0)])
        bad = dice.random() < self._faults
        hangs = bad and dice.random() < 0.3
        self._ends[handle] = float("inf") if hangs else self.now + seconds
        self._replies[handle] = dice.choice(list(BatchFailure)) if bad else None
        self._sizes[handle] = len(genomes)
        self.log.append(("launch", self.now, tuple(g.genes for g in genomes), node, apart))
        return handle

    def wait(self, handles: Collection[int], seconds: float) -> Sequence[int]:
        first = min(self._ends[handle] for handle in handles)
        self.now = max(self.now, min(first, self.now + seconds))
        assert self.now < 100_000, "a batch is neither answered nor started again"
        return [handle for handle in handles if self._ends[handle] <= self.now]

    def result(self, handle: int) -> Sequence[BatchResult] | BatchFailure:
        reply, size = self._replies[handle], self._sizes[handle]
        if reply is not None:
            return reply
        outcomes = tuple(Outcome(key="0", fitness=0.0) for _ in range(size))
        batch = Batch(outcomes=outcomes, cpu_seconds=0.1, started_at=0.0, finished_at=0.0)
        return [BatchResult(indices=tuple(range(size)), batch=batch, node="n0")]

    def cancel(self, handle: int, *, force: bool) -> None:
        self.log.append(("cancel", self.now, handle, force))

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def played(make: Callable[..., Any], fleet: ScriptedFleet, genomes: list[Genome]) -> list[Event]:
    """Everything that a dispatcher does with a fleet, in order, with times of virtual seconds."""
    log = fleet.log
    dispatcher = make(
        fleet=fleet,
        costs=CostModel(),
        genomes=genomes,
        key=lambda genome: genome.hash,
        patience=PATIENCE,
        beat=lambda: log.append(("beat", fleet.now)),
        on_dispatch=lambda indices, node: log.append(("dispatched", indices, node)),
        clock=lambda: fleet.now,
        sleep=fleet.sleep,
    )
    try:
        for result in dispatcher.run():
            tried = [(one.node, one.outcome, one.error) for one in result.tried]
            log.append(("result", result.indices, result.attempt, result.seconds, tried))
    except (TimeoutError, RuntimeError) as error:
        log.append(("ended", type(error), str(error)))
    return log


CHANGES = st.lists(
    st.tuples(
        st.floats(0.0, 40.0), st.sampled_from([f"n{i}" for i in range(5)]), st.integers(0, 3)
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    counts=st.tuples(st.integers(1, 400), st.integers(0, 60)),
    changes=CHANGES,
    faults=st.sampled_from([0.0, 0.1, 0.5]),
)
def test_kept_counts_hand_out_as_recounting_does(seed, counts, changes, faults):
    families = ("ema_crossover", "pca_tree_quantile")
    genomes = [
        Genome(family, (float(number),))
        for family, count in zip(families, counts, strict=True)
        for number in range(count)
    ]
    before = played(RecountingDispatcher, ScriptedFleet(seed, changes, faults), genomes)
    now = played(Dispatcher, ScriptedFleet(seed, changes, faults), genomes)
    assert now == before


NODES = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 4))


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(
        st.one_of(NODES, st.tuples(st.sampled_from("abcdefg"), st.booleans())), max_size=200
    ),
    below=st.sampled_from([0.5, 1, 2]),
)
def test_least_busy_node_equals_full_scan(steps, below):
    loads, nodes, busy = NodeLoads(), dict[str, int](), dict[str, int]()
    for step in steps:
        if isinstance(step, dict):
            nodes = step
            loads.follow(nodes)
        elif step[1]:
            busy[step[0]] = busy.get(step[0], 0) + 1
            loads.add(step[0])
        elif busy.get(step[0], 0):
            busy[step[0]] -= 1
            loads.remove(step[0])
        load = {node: busy.get(node, 0) / slots for node, slots in nodes.items()}
        least = min(load, key=load.__getitem__, default=None)
        assert loads.least_busy(below) == (
            least if least is not None and load[least] < below else None
        )
        assert loads.slots == sum(nodes.values())


@given(
    items=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 300)), max_size=300),
    now=st.integers(0, 20),
    dead=st.sets(st.integers(0, 300)),
)
def test_due_items_come_once_in_their_order(items, now, dead):
    deadlines = Deadlines[int](live=lambda item: item not in dead, order=lambda item: -item)
    for at, item in items:
        deadlines.add(float(at), item)
    found = deadlines.due(float(now))
    early = {item for at, item in items if at <= now}
    assert found == sorted(early - dead, reverse=True)
    later = [item for at, item in items if at > now and item not in dead]
    assert deadlines.due(100.0) == sorted(set(later), reverse=True)


def test_one_decision_reads_few_nodes():
    """Counted, not timed: comparisons of a heap grow with the logarithm of the nodes."""

    class Counted(str):
        read = 0

        def __hash__(self) -> int:
            Counted.read += 1
            return super().__hash__()

        __eq__ = str.__eq__

    per_decision = []
    for count in (10, 1000):
        nodes = {Counted(f"n{number}"): 8 for number in range(count)}
        loads = NodeLoads()
        loads.follow(nodes)
        for node in nodes:
            loads.add(node)
        Counted.read = 0
        for _ in range(500):
            node = loads.least_busy(2)
            assert node is not None
            loads.add(node)
            loads.remove(node)
        per_decision.append(Counted.read / 500)
    assert per_decision[1] < per_decision[0] + 10
