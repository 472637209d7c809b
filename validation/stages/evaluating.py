"""Waits until processes of the cluster evaluate."""

from __future__ import annotations

import time
from typing import Final

from evolution_gate.fixtures.protocols import Node
from evolution_gate.fixtures.system import process_table
from ga.execution.ray.tasks import evaluates
from validation.stages.evolve_process import Evolve

_POLL: Final = 0.01
_IDLE_SECONDS: Final = 5.0
"""How long a node may be without a batch before it is killed all the same."""


def await_batch(evolve: Evolve, node: Node) -> None:
    """A node is killed while it evaluates: what it has in flight then must come from elsewhere."""
    deadline = time.monotonic() + _IDLE_SECONDS
    while evolve.running and time.monotonic() < deadline:
        roots = set() if node.pid is None else {node.pid}
        processes = process_table.descendants(roots)
        if any(evaluates(process_table.command(p)) for p in processes):
            return
        time.sleep(_POLL)
