"""Injects a fault to test that its alert fires and clears."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from evolution_gate.fixtures.protocols import Receipt, Stack
from evolution_gate.fixtures.ray.gcs import wait_until_true
from validation.evidence.log import Sink
from validation.evidence.queries import OWN_STACKS
from validation.evidence.records import Note
from validation.evidence.records_monitoring import AlertWatch, Probe
from validation.limits import (
    CACHE_DOWN,
    CLEARS,
    DATABASE_DOWN,
    FIRES,
    HEAD_LOST,
    NODE_LOST,
    NODE_RESTARTED,
    WORKER_KILLED,
)
from validation.monitors.alert_webhook import Webhook
from validation.monitors.cluster import ExcusedOutages
from validation.stages.evaluating import await_batch
from validation.stages.fault_records import as_fault
from validation.stages.workloads import WORKLOAD_SECONDS, Workloads

_SERVICES: Final = {"redis": CACHE_DOWN, "postgres": DATABASE_DOWN}
_QUIET_SECONDS: Final = 60.0
"""While the stack starts, nodes that are not up yet count as lost."""
_BACK_SECONDS: Final = 60.0


def plant_alert(
    stack: Stack,
    writer: Sink,
    outages: ExcusedOutages,
    webhook: Webhook,
    *,
    seed: int,
    say: Callable[[str], None],
) -> None:
    """Kill a node, wait for its alert, start the node, and wait until the alert clears.

    A deployed node is cut off instead: one that was killed is replaced before its alert is due. The
    start must fire an alert, too, which the rule holds for ten minutes. Call it while the
    cluster has no work. It only records the alerts.
    """
    missing = [n for n in ("alertmanager", "prometheus") if getattr(stack.endpoints, n) is None]
    for name in missing:
        detail = f"no {name.capitalize()}: {stack.endpoints.absent.get(name, 'not started')}"
        writer.add(Probe(probe=name, ok=False, latency_s=0.0, detail=detail, excused=False))
    if missing:
        return
    node = stack.nodes[seed % len(stack.nodes)]
    if not webhook.wait(NODE_LOST, node.name, firing=False, seconds=_QUIET_SECONDS):
        writer.add(Note(text=f"{NODE_LOST} of {node.name} fires already; no fault was injected"))
        return
    rested = webhook.wait(NODE_RESTARTED, node.name, firing=False, seconds=0)
    own = stack.backend in OWN_STACKS
    say(f"alert: {'kill' if own else 'cut off'} {node.name} until {NODE_LOST} is received")
    outages.down(node.name)
    broken = node.kill() if own else node.partition()
    writer.add(as_fault(broken, None))
    webhook.wait(NODE_LOST, node.name, firing=True, seconds=FIRES.planned)
    if not own:
        writer.add(as_fault(node.heal(), None))
    started = node.start()
    writer.add(as_fault(started, None))
    wait_until_true(lambda: node.name in stack.alive_nodes(), time.time() + _BACK_SECONDS)
    outages.up(node.name)
    webhook.wait(NODE_LOST, node.name, firing=False, seconds=CLEARS.planned)
    if rested:
        left = started.requested_at + FIRES.planned - time.time()
        webhook.wait(NODE_RESTARTED, node.name, firing=True, seconds=max(left, 0.0))
        writer.add(_watch(NODE_RESTARTED, started))
    writer.add(
        AlertWatch(
            alert=NODE_LOST,
            target=node.name,
            fault_at=broken.requested_at,
            until=time.time(),
            fault=broken.fault,
        )
    )


def alert_at_work(
    stack: Stack,
    writer: Sink,
    webhook: Webhook,
    workloads: Workloads,
    *,
    seed: int,
    say: Callable[[str], None],
) -> None:
    """Kill a worker process, the cache and the database under an evolution, wait for their alerts,
    and start both services again.

    Services of a deployed target are stopped instead, one after the other: they are replaced before
    the alert of a kill is due.
    """
    ends = stack.endpoints
    if None in (ends.alertmanager, ends.prometheus, ends.postgres, ends.redis) or (
        ends.engine_metrics_port is None
    ):
        writer.add(Note(text="alerts of a running engine were not tested: a service is missing"))
        return
    # The rule remembers a killed worker for ten minutes.
    rested = [
        n for n in stack.nodes if webhook.wait(WORKER_KILLED, n.name, firing=False, seconds=0)
    ]
    node = (rested or stack.nodes)[seed % len(rested or stack.nodes)]
    own = stack.backend in OWN_STACKS
    verb, end = ("kill", stack.kill_service) if own else ("stop", stack.stop_service)
    say(f"alerts at work: kill a worker of {node.name}, {verb} the cache and the database")
    with workloads.endless("alerts-at-work") as evolve:
        if not evolve.wait_ready(WORKLOAD_SECONDS):
            writer.add(Note(text="alerts of a running engine were not tested: none became ready"))
            return
        await_batch(evolve, node)
        worker = node.kill_worker()
        writer.add(as_fault(worker, None))
        watched = [(WORKER_KILLED, worker)] if rested else []
        for names in (tuple(_SERVICES),) if own else tuple((name,) for name in _SERVICES):
            ended = {name: end(name) for name in names}
            watched += [(_SERVICES[name], receipt) for name, receipt in ended.items()]
            try:
                while watched:
                    alert, fault = watched.pop(0)
                    left = fault.requested_at + FIRES.planned - time.time()
                    webhook.wait(alert, fault.target, firing=True, seconds=max(left, 0.0))
                    writer.add(_watch(alert, fault))
            finally:
                for name, receipt in ended.items():
                    writer.add(as_fault(receipt, None))
                    writer.add(as_fault(stack.start_service(name), None))


def await_head_alert(killed: Receipt, writer: Sink, webhook: Webhook) -> None:
    """Wait for the alert of a head that was killed and stays away, and record what came since."""
    left = killed.requested_at + FIRES.planned - time.time()
    webhook.wait(HEAD_LOST, "", firing=True, seconds=max(left, 0.0))
    writer.add(_watch(HEAD_LOST, killed))
    for notification in webhook.notifications:
        if notification.received_at >= killed.requested_at:
            writer.add(notification)


def _watch(alert: str, fault: Receipt) -> AlertWatch:
    """The watch of an alert that is not waited for until it clears."""
    return AlertWatch(
        alert=alert,
        target=fault.target,
        fault_at=fault.requested_at,
        until=time.time(),
        fault=fault.fault,
        clears=False,
    )
