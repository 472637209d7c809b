"""Kills a node, starts it again, and times both."""

from __future__ import annotations

from typing import Final

from evolution_gate.fixtures.protocols import Node, Stack
from evolution_gate.fixtures.ray.gcs import wait_until_true
from validation.evidence.log import Sink
from validation.evidence.records import Recovery
from validation.monitors.cluster import ExcusedOutages
from validation.stages.fault_records import as_fault, lost

RECOVERY_WINDOW: Final = 120.0
"""Seconds for which a recovery is watched."""


def kill_and_restore(
    stack: Stack, node: Node, workload: str, writer: Sink, outages: ExcusedOutages
) -> tuple[Recovery, bool]:
    """Kill a node during a workload, start it as soon as its loss is seen, and wait until it is
    back.

    Returns:
        The recovery, without the phases that only the engine knows; and whether the receipt of the
        kill is confirmed.
    """
    outages.down(node.name)
    killed = node.kill()
    writer.add(as_fault(killed, workload))
    fault_at = killed.requested_at
    deadline = fault_at + RECOVERY_WINDOW
    detected = wait_until_true(lambda: lost(stack, node.name, killed), deadline)
    started = node.start()
    writer.add(as_fault(started, workload))
    back = wait_until_true(lambda: node.name in stack.alive_nodes(), deadline)
    outages.up(node.name)
    recovery = Recovery(
        workload=workload,
        target=node.name,
        fault_at=fault_at,
        detected_s=None if detected is None else detected - fault_at,
        rescheduled_s=None,
        first_result_s=None,
        node_back_s=None if back is None else back - fault_at,
        window_s=RECOVERY_WINDOW,
    )
    return recovery, killed.confirmed
