"""Schedules of faults that may overlap, drawn from a seed and played under an evolution.

``python -m validation schedule --replay SEED`` repeats one: the same faults on the same targets in
the same order, at the same moments after the run's workers are ready, or as soon after as the
receipts of the others allow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np

from fixtures import impairment
from fixtures.stack import SERVICES, Node, Receipt, Stack, StackError
from validation.campaign import SHORT, WORKLOAD_SECONDS, Campaign, Scale
from validation.criteria import CRITERIA
from validation.own import Ground, Own
from validation.probes import Outages
from validation.records import Note
from validation.workload import Evolve

COUNT: Final = 4
"""Faults of a schedule."""
LEAST_NODES: Final = 2
"""One of them is left alone."""
_SCALE: Final = Scale(pairs=0, recoveries=0, speedup=SHORT.speedup, evolution=(700, 24))
_JUDGED: Final = ("no_data_loss", "reproducibility", "container_stability")
_SPREAD_S: Final = 14.0
_LEAST_S, _MOST_S = 1.0, 4.0
_BACK_S: Final = 60.0
_POLL: Final = 0.1
_DICE: Final = 0x5C4ED

_Do = Callable[[Node], Receipt]
NODE_FAULTS: Final[Mapping[str, tuple[_Do, _Do | None]]] = {
    "kill": (lambda n: n.kill(), None),
    "kill_worker": (lambda n: n.kill_worker(), None),
    "pause": (lambda n: n.pause(), lambda n: n.resume()),
    "partition": (lambda n: n.partition(), lambda n: n.heal()),
    "one_way in": (lambda n: n.impair(impairment.one_way("in")), lambda n: n.mend()),
    "one_way out": (lambda n: n.impair(impairment.one_way("out")), lambda n: n.mend()),
    "loss": (lambda n: n.impair(impairment.loss(0.1)), lambda n: n.mend()),
    "delay": (lambda n: n.impair(impairment.delay(0.05)), lambda n: n.mend()),
    "narrow": (lambda n: n.impair(impairment.narrow(1_000_000)), lambda n: n.mend()),
    "memory under the limit": (lambda n: n.hog_memory(0.6, 1.0), None),
    "memory over the limit": (lambda n: n.hog_memory(1.5, 1.0), None),
}
"""What is done to a node, and what undoes it; a node that is gone then is started besides."""
SERVICE_FAULTS: Final = ("kill", "stop")
_AWAY: Final = frozenset({"kill", "pause", "partition", "one_way in", "one_way out"})
"""They take a node out of the cluster, or may."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One fault of a schedule."""

    at_s: float
    """After the workers of the run were ready."""
    for_s: float
    """Until it is undone."""
    fault: str
    target: str
    """A node, or a service."""

    def __str__(self) -> str:
        return f"{self.fault} {self.target} at {self.at_s:.1f} s for {self.for_s:.1f} s"


def draw(
    seed: int, *, nodes: Sequence[str], services: Sequence[str], count: int = COUNT
) -> tuple[Step, ...]:
    """A schedule of ``count`` faults in the order of their beginnings.

    They may overlap, but no two are on one target, and one node is left alone.
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


@contextmanager
def struck(
    stack: Stack, outages: Outages, step: Step, tell: Callable[[Receipt], None]
) -> Iterator[None]:
    """The fault is there inside of it; its undo runs whatever happens."""
    node = next((node for node in stack.nodes if node.name == step.target), None)
    if node is None:
        end = stack.kill_service if step.fault == "kill" else stack.stop_service
        try:
            tell(end(step.target))
            yield
        finally:
            tell(stack.start_service(step.target))
        return
    do, undo = NODE_FAULTS[step.fault]
    outages.down(node.name)
    try:
        tell(do(node))
        yield
    finally:
        if undo is not None:
            tell(undo(node))
        if step.fault in _AWAY or node.name not in _alive(stack):
            # One that the cluster gave up ends by itself, sooner or later: it is ended here.
            if step.fault not in ("kill", "kill_worker") and node.alive:
                tell(node.kill())
            tell(node.start())
        deadline = time.monotonic() + _BACK_S
        while node.name not in _alive(stack) and time.monotonic() < deadline:
            time.sleep(_POLL)
        outages.up(node.name)


def _alive(stack: Stack) -> frozenset[str]:
    try:
        return stack.alive_nodes()
    except StackError:
        return frozenset()


def play(
    steps: Sequence[Step],
    stack: Stack,
    outages: Outages,
    tell: Callable[[Receipt], None],
    *,
    over: Callable[[], bool],
    say: Callable[[str], None],
) -> int:
    """Do and undo all of a schedule, each in its time; how many were begun before the end."""
    began, begun = time.monotonic(), 0
    with ExitStack() as last:
        left = list(steps)
        open_: list[Step] = []
        held: dict[Step, ExitStack] = {}
        while left or open_:
            now = time.monotonic() - began
            for step in [s for s in open_ if now >= s.at_s + s.for_s or over()]:
                open_.remove(step)
                held.pop(step).close()
            if left and over():
                break
            if left and now >= left[0].at_s:
                step = left.pop(0)
                say(f"schedule: {step}")
                held[step] = last.enter_context(ExitStack())
                held[step].enter_context(struck(stack, outages, step, tell))
                open_.append(step)
                begun += 1
            time.sleep(_POLL)
    return begun


def gather(ground: Ground) -> None:
    """An evolution on the cluster under a schedule, and the undisturbed history beside it."""
    stack = ground.stack
    services = [name for name in SERVICES if stack.services().get(name) is not None]
    steps = draw(ground.seed, nodes=[n.name for n in stack.nodes], services=services)
    campaign = Campaign(
        stack, ground.writer, seed=ground.seed, scale=_SCALE, folder=ground.folder,
        outages=ground.outages, say=ground.say,
    )  # fmt: skip
    campaign.reference()
    spec, name = campaign.real(), campaign.name("reproducibility", "distributed")
    for step in steps:
        ground.add(Note(text=f"schedule: {step}"))

    def strike(evolve: Evolve) -> None:
        begun = play(
            steps, stack, ground.outages, lambda one: _tell(ground, one, name),
            over=lambda: not evolve.running, say=ground.say,
        )  # fmt: skip
        if begun < len(steps):
            ground.add(Note(text=f"{name} was over after {begun} of {len(steps)} faults"))

    with campaign.evolve(spec, name, campaign.cluster_arguments()) as evolve:
        if evolve.wait_ready(WORKLOAD_SECONDS):
            strike(evolve)
        ended = evolve.finish(WORKLOAD_SECONDS)
    nodes = len(stack.nodes)
    campaign.record(
        name, spec, ended, purpose="reproducibility", arm="distributed", pair=None,
        nodes=nodes, workers=nodes,
    )  # fmt: skip


def _tell(ground: Ground, receipt: Receipt, workload: str) -> None:
    ground.fault(receipt, workload=workload)
    if not receipt.confirmed:
        ground.say(f"{receipt.fault} of {receipt.target} has no receipt: {receipt.detail}")


SCHEDULE: Final = Own(
    criteria=tuple(c for c in CRITERIA if c.id in _JUDGED), gather=gather, name="schedule"
)
