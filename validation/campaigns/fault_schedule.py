"""Schedules of faults that may overlap, drawn from a seed and played under an evolution.

``python -m validation schedule --replay SEED`` repeats one: the same faults on the same targets in
the same order, at the same times after the run's workers are ready. A fault is delayed until the
receipts of the other faults are taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evolution_gate.fixtures.faults import impairment
from evolution_gate.fixtures.protocols import SERVICES, Node, Receipt, Stack, StackError
from evolution_gate.fixtures.ray.gcs import LOOK_SECONDS, wait_until_true
from validation.contract import CriterionPlugin, Stage
from validation.criteria.registry import CRITERIA
from validation.evidence.records import Note
from validation.evidence.records_faults import Phases
from validation.limits import SPAN_S
from validation.monitors.cluster import PERIOD_SECONDS, ExcusedOutages
from validation.stages.context import Context
from validation.stages.evolve_process import Evolve
from validation.stages.scale import SHORT, Scale
from validation.stages.workloads import WORKLOAD_SECONDS

COUNT: Final = 4
"""Faults of a schedule."""
LEAST_NODES: Final = 2
"""One of them gets no fault."""
_SCALE: Final = Scale(pairs=0, recoveries=0, speedup=SHORT.speedup, evolution=(700, 34))
_JUDGED: Final = ("no_data_loss", "reproducibility", "container_stability")
_SPREAD_S: Final = 14.0
_LEAST_S, _MOST_S = 1.0, 4.0
_BACK_S: Final = 60.0
_DICE: Final = 0x5C4ED

_Do = Callable[[Node], Receipt]
_Report = Callable[[Receipt], None]
NODE_FAULTS: Final[Mapping[str, tuple[_Do, _Do | None]]] = {
    "kill": (lambda n: n.kill(), None),
    "kill_worker": (lambda n: n.kill_worker(), None),
    "pause": (lambda n: n.pause(), lambda n: n.resume()),
    "partition": (lambda n: n.partition(), lambda n: n.heal()),
    "one_way in": (lambda n: n.impair(impairment.one_way("in")), lambda n: n.restore()),
    "one_way out": (lambda n: n.impair(impairment.one_way("out")), lambda n: n.restore()),
    "loss": (lambda n: n.impair(impairment.loss(0.1)), lambda n: n.restore()),
    "delay": (lambda n: n.impair(impairment.delay(0.05)), lambda n: n.restore()),
    "narrow": (lambda n: n.impair(impairment.narrow(1_000_000)), lambda n: n.restore()),
    "memory under the limit": (lambda n: n.hog_memory(0.6, 1.0), None),
    "memory over the limit": (lambda n: n.hog_memory(1.5, 1.0), None),
}
"""Fault of a node -> its undo. If the node is dead afterwards, it is also started."""
SERVICE_FAULTS: Final = ("kill", "stop")
_AWAY: Final = frozenset({"kill", "pause", "partition", "one_way in", "one_way out"})
"""Faults that remove a node from the cluster, or may do so."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One fault of a schedule."""

    at_s: float
    """Seconds after the workers of the run were ready."""
    for_s: float
    """Seconds until it is undone."""
    fault: str
    target: str
    """Name of a node or a service."""

    def __str__(self) -> str:
        return f"{self.fault} {self.target} at {self.at_s:.1f} s for {self.for_s:.1f} s"


def draw(
    seed: int, *, nodes: Sequence[str], services: Sequence[str], count: int = COUNT
) -> tuple[Step, ...]:
    """A schedule of ``count`` faults in the order of their start.

    They may overlap, but no two are on one target, and one node gets no fault.
    """
    dice = np.random.Generator(np.random.Philox(key=[seed, _DICE]))
    spared = str(dice.choice(list(nodes)))
    targets = [*(name for name in nodes if name != spared), *services]
    chosen = dice.permutation(targets)[:count].tolist()
    steps = []
    for target in chosen:
        kinds = list(NODE_FAULTS) if target in nodes else list(SERVICE_FAULTS)
        steps.append(
            Step(
                at_s=float(dice.uniform(0.5, _SPREAD_S)),
                for_s=float(dice.uniform(_LEAST_S, _MOST_S)),
                fault=str(dice.choice(kinds)),
                target=target,
            )
        )
    return tuple(sorted(steps, key=lambda step: step.at_s))


class InjectedFault:
    """One injected fault: its receipts, and when its target was gone and back."""

    def __init__(self, step: Step, report: _Report) -> None:
        self.step, self._report = step, report
        self._receipts: list[Receipt] = []
        self._undo_at = 0.0
        self._noticed_at: float | None = None
        self._back_at: float | None = None

    def add_receipt(self, receipt: Receipt) -> None:
        """Record the receipt of the fault, or of its undo."""
        self._receipts.append(receipt)
        self._report(receipt)

    def observe(self, alive: Collection[str]) -> None:
        """Note the nodes that the cluster has now, while the fault is active."""
        if self._noticed_at is None and self.step.target not in alive:
            self._noticed_at = time.time()

    def undo(self) -> None:
        """Note that its undo is requested now."""
        self._undo_at = time.time()

    def mark_recovered(self, at: float) -> None:
        """Note that its target is back."""
        self._back_at = at

    def phases(self, workload: str) -> Phases:
        """The times of all phases."""
        first, last = self._receipts[0], self._receipts[-1]
        asked = first.requested_at
        # A fault that ends by itself has no undo.
        undone = max(last.confirmed_at, self._undo_at)
        return Phases(
            workload=workload,
            fault=self.step.fault,
            target=self.step.target,
            asked_at=asked,
            confirmed_s=first.confirmed_at - asked,
            noticed_s=None if self._noticed_at is None else max(0.0, self._noticed_at - asked),
            undo_s=self._undo_at - asked,
            undone_s=undone - asked,
            back_s=None if self._back_at is None else self._back_at - asked,
        )


@contextmanager
def inject(
    stack: Stack, outages: ExcusedOutages, step: Step, report: _Report
) -> Iterator[InjectedFault]:
    """Context in which the fault is active; its undo always runs."""
    fault = InjectedFault(step, report)
    node = next((node for node in stack.nodes if node.name == step.target), None)
    if node is None:
        end = stack.kill_service if step.fault == "kill" else stack.stop_service
        try:
            fault.add_receipt(end(step.target))
            yield fault
        finally:
            fault.undo()
            fault.add_receipt(started := stack.start_service(step.target))
            if started.confirmed:
                fault.mark_recovered(started.confirmed_at)
        return
    do, undo = NODE_FAULTS[step.fault]
    outages.down(node.name)
    try:
        fault.add_receipt(do(node))
        yield fault
    finally:
        fault.undo()
        if undo is not None:
            fault.add_receipt(undo(node))
        if step.fault in _AWAY or node.name not in _alive(stack):
            # A node that the cluster declared dead ends by itself at some time: end it here.
            if step.fault not in ("kill", "kill_worker") and node.alive:
                fault.add_receipt(node.kill())
            fault.add_receipt(node.start())
        back = wait_until_true(lambda: node.name in stack.alive_nodes(), time.time() + _BACK_S)
        if back is not None:
            fault.mark_recovered(back)
        outages.up(node.name)


def _alive(stack: Stack) -> frozenset[str]:
    try:
        return stack.alive_nodes()
    except StackError:
        return frozenset()


def play(
    steps: Sequence[Step],
    stack: Stack,
    outages: ExcusedOutages,
    report: _Report,
    *,
    over: Callable[[], bool],
    say: Callable[[str], None],
) -> list[InjectedFault]:
    """Inject and undo all faults of a schedule at their times; returns those begun before the
    end.
    """
    began, begun = time.monotonic(), list[InjectedFault]()
    names = {node.name for node in stack.nodes}
    with ExitStack() as last:
        left = list(steps)
        held: dict[InjectedFault, ExitStack] = {}
        while left or held:
            now = time.monotonic() - began
            for fault in [s for s in held if now >= s.step.at_s + s.step.for_s or over()]:
                held.pop(fault).close()
            if left and over():
                break
            if left and now >= left[0].at_s:
                step = left.pop(0)
                say(f"schedule: {step}")
                until = last.enter_context(ExitStack())
                begun.append(until.enter_context(inject(stack, outages, step, report)))
                held[begun[-1]] = until
            if on_nodes := [s for s in held if s.step.target in names]:
                alive = _alive(stack)
                for fault in on_nodes:
                    fault.observe(alive)
            time.sleep(LOOK_SECONDS)
    return begun


def gather(context: Context) -> None:
    """Run an evolution on the cluster under a schedule, and an undisturbed one for comparison. It
    lasts at least as long as services must be monitored.
    """
    stack, began = context.stack, time.monotonic()
    services = [name for name in SERVICES if stack.services().get(name) is not None]
    steps = draw(context.seed, nodes=[n.name for n in stack.nodes], services=services)
    workloads = replace(context, scale=_SCALE).workloads
    workloads.reference()
    spec, name = workloads.real(), workloads.name("reproducibility", "distributed")
    for step in steps:
        context.add(Note(text=f"schedule: {step}"))

    def inject_all(evolve: Evolve) -> None:
        begun = play(
            steps, stack, context.outages, lambda one: _report(context, one, name),
            over=lambda: not evolve.running, say=context.say,
        )  # fmt: skip
        for one in begun:
            context.add(one.phases(name))
        if len(begun) < len(steps):
            context.add(Note(text=f"{name} was over after {len(begun)} of {len(steps)} faults"))

    with workloads.evolve(spec, name, workloads.cluster_arguments()) as evolve:
        if evolve.wait_ready(WORKLOAD_SECONDS):
            inject_all(evolve)
        ended = evolve.finish(WORKLOAD_SECONDS)
    nodes = len(stack.nodes)
    workloads.record(
        name, spec, ended, purpose="reproducibility", arm="distributed", pair=None,
        nodes=nodes, workers=nodes,
    )  # fmt: skip
    time.sleep(max(0.0, began + SPAN_S + 2 * PERIOD_SECONDS - time.monotonic()))


def _report(context: Context, receipt: Receipt, workload: str) -> None:
    context.fault(receipt, workload=workload)
    if not receipt.confirmed:
        context.say(f"{receipt.fault} of {receipt.target} has no receipt: {receipt.detail}")


SCHEDULE: Final = CriterionPlugin(
    criteria=tuple(c for c in CRITERIA if c.id in _JUDGED),
    stages=(Stage(name="schedule", feeds=_JUDGED, run=gather),),
    name="schedule",
)
