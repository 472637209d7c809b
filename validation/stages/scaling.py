"""Planned changes of nodes: removal with notice, and Ray's autoscaler."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evolution_gate.fixtures.backends.autoscaling import ElasticCluster
from evolution_gate.fixtures.protocols import Node, Receipt, Stack, StackError
from evolution_gate.fixtures.ray.gcs import LOOK_SECONDS, wait_until_true
from validation.evidence.records import Fault, Note
from validation.evidence.records_load import Scaling
from validation.evidence.records_network import Drain
from validation.limits import SCALING_S
from validation.safety.guarded_stack import GuardedNode, GuardedStack
from validation.stages.fault_records import as_fault
from validation.stages.scale import REPEATS
from validation.stages.workloads import WORKLOAD_SECONDS

if TYPE_CHECKING:
    from validation.stages.context import Context

NOTICE_S: Final = 4.0
"""Seconds between the notice and the kill in the first try; clouds give 30 s to 2 min."""
LEAST, MOST = 1, 3
_AFTER_READY: Final = 0.5
_BACK_SECONDS: Final = 60.0
_DRAIN: Final = Path(__file__).parents[1] / "scripts" / "drain_node.py"


def preempt(context: Context) -> None:
    """Drain a node during a run, as a cloud does when it reclaims a spot machine; then kill it.

    A drain or a kill that was not confirmed is tried again, with twice the notice.
    """
    notice = NOTICE_S
    for _ in range(1 + REPEATS):
        if _preempted(context, notice):
            return
        notice *= 2


def _preempted(context: Context, notice: float) -> bool:
    """Whether a node was drained and killed during a run, both confirmed.

    Args:
        notice: seconds between the request of the drain and the kill.
    """
    stack, writer, outages = context.stack, context.writer, context.outages
    workloads = context.workloads
    node, spec = stack.nodes[-1], workloads.real()
    context.say(f"preemption: {node.name} is drained with {notice:.0f} s of notice, then killed")
    name = workloads.name("preemption", "distributed")
    confirmed = False
    with workloads.evolve(spec, name, workloads.cluster_arguments()) as evolve:
        if evolve.wait_ready(WORKLOAD_SECONDS):
            time.sleep(_AFTER_READY)
            outages.down(node.name)
            deadline = time.monotonic() + notice
            drain = _permitted_drain(stack, node, name, notice)
            if drain is not None:
                writer.add(drain)
                writer.add(_as_fault(drain))
                time.sleep(max(0.0, deadline - time.monotonic()))
                running = evolve.running
                killed = node.kill()
                writer.add(as_fault(killed, name))
                confirmed = drain.accepted and drain.confirmed and killed.confirmed and running
        ended = evolve.finish(WORKLOAD_SECONDS)
    writer.add(as_fault(node.start(), name))
    wait_until_true(lambda: node.name in stack.alive_nodes(), time.time() + _BACK_SECONDS)
    outages.up(node.name)
    nodes = len(stack.nodes)
    workloads.record(
        name, spec, ended, purpose="preemption", arm="distributed", pair=None,
        nodes=nodes, workers=nodes,
    )  # fmt: skip
    return confirmed


def _permitted_drain(stack: Stack, node: Node, workload: str, notice: float) -> Drain | None:
    """Drain a node; None if the guard of a deployed target refuses."""
    found: list[Drain] = []

    def do() -> Receipt:
        found.append(_drain(stack, node.name, workload, notice))
        fault = _as_fault(found[0])
        return Receipt(
            fault=fault.fault, target=fault.target, requested_at=fault.requested_at,
            confirmed_at=fault.confirmed_at, confirmed=fault.confirmed, before=fault.before,
            after=fault.after, detail=fault.detail,
        )  # fmt: skip

    if isinstance(stack, GuardedStack) and isinstance(node, GuardedNode):
        stack.drain(node, do)
    else:
        do()
    return found[0] if found else None


def _as_fault(drain: Drain) -> Fault:
    """Record a drain as a fault: a drained node ends by itself when its work is done."""
    return Fault(
        fault="drain",
        target=drain.target,
        requested_at=drain.requested_at,
        confirmed_at=time.time(),
        confirmed=drain.accepted and drain.confirmed,
        before={},
        after={"said": drain.detail},
        detail="" if drain.confirmed else drain.detail,
        workload=drain.workload,
    )


def _drain(stack: Stack, node: str, workload: str, notice: float) -> Drain:
    asked = time.time()
    which = _id_of(stack, node)
    argv = [sys.executable, "-c", _DRAIN.read_text(), stack.endpoints.ray, which, str(notice)]
    # Inside the stack, because the control service requires the token.
    with stack.driver(argv, stack.endpoints.env) as process:
        try:
            out, err = process.communicate(timeout=notice)
            answer = json.loads(out.splitlines()[-1])
        except subprocess.TimeoutExpired:
            process.kill()
            answer = {"detail": "no answer in time"}
        except (ValueError, IndexError):
            answer = {"detail": (err.strip().splitlines() or ["no answer"])[-1]}
    return Drain(
        workload=workload,
        target=node,
        requested_at=asked,
        deadline_s=notice,
        accepted=bool(answer.get("accepted", False)),
        confirmed=bool(answer.get("confirmed", False)),
        detail=str(answer.get("detail", "")),
    )


def _id_of(stack: Stack, node: str) -> str:
    """Ray's id of a node, whose name in Ray may be another one; the name if it is not known."""
    try:
        return next(iter(stack.alive_ids().get(node, ())), node)
    except StackError:
        return node


def autoscale(context: Context) -> None:
    """A run on a separate cluster that Ray's autoscaler grows from one node to three."""
    writer, say = context.writer, context.say
    say(f"autoscaling: {LEAST} to {MOST} nodes, as a run requests them")
    try:
        cluster = ElasticCluster(least=LEAST, most=MOST, on_progress=say).start(0)
    except StackError as error:
        writer.add(Note(text=f"no cluster that autoscales: {error}"))
        return
    place = (context.work or context.folder) / "autoscaling"
    place.mkdir()
    with cluster:
        workloads = context.on(cluster, place).workloads
        spec, name = workloads.real(), workloads.name("autoscaling", "distributed")
        arguments = [*workloads.cluster_arguments(), "--workers", str(MOST)]
        before = peak = cluster.size()
        began, up = time.time(), None
        with workloads.evolve(spec, name, arguments) as evolve:
            while evolve.running and time.time() < began + WORKLOAD_SECONDS:
                peak = max(peak, cluster.size())
                if peak >= MOST and up is None:
                    up = time.time() - began
                time.sleep(LOOK_SECONDS)
            ended = evolve.finish(WORKLOAD_SECONDS)
        down = None
        while down is None and time.time() < ended.finished_at + SCALING_S:
            if 0 < cluster.size() <= LEAST:
                down = time.time() - ended.finished_at
            time.sleep(LOOK_SECONDS)
        workloads.record(
            name, spec, ended, purpose="autoscaling", arm="distributed", pair=None,
            nodes=MOST, workers=MOST,
        )  # fmt: skip
    writer.add(
        Scaling(
            workload=name,
            least=LEAST,
            most=MOST,
            before=before,
            peak=peak,
            up_s=up,
            down_s=down,
            window_s=SCALING_S,
        )
    )
