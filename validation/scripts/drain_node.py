"""Drain a node of a Ray cluster, and report its state in the control service.

A separate program, run where the cluster is reachable: ``ADDRESS NODE SECONDS``. It prints one JSON
object: whether the drain was accepted, and whether the control service then reported the node as
draining or gone.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

_POLL = 0.1
_ALIVE = 0


def main(address: str, name: str, seconds: float) -> dict[str, object]:
    """Drain ``name`` with a deadline in ``seconds``."""
    raylet = importlib.import_module("ray._raylet")
    messages = importlib.import_module("ray.core.generated.autoscaler_pb2")

    deadline = time.time() + seconds
    client = raylet.GcsClient(address=address)
    alive = _alive(client, name)
    if len(alive) != 1:
        return {"accepted": False, "detail": f"{len(alive)} live nodes are called {name}"}
    node = alive.pop()
    reason = messages.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    accepted, why = client.drain_node(node, reason, "the gate", int(1000 * deadline))
    while accepted and time.time() < deadline - 1:
        if node in client.get_draining_nodes():
            return {"accepted": True, "confirmed": True, "detail": "draining"}
        if node not in _alive(client, name):
            return {"accepted": True, "confirmed": True, "detail": "gone"}
        time.sleep(_POLL)
    return {"accepted": bool(accepted), "confirmed": False, "detail": str(why)}


def _alive(client: Any, name: str) -> set[str]:
    """Ids of the live nodes with a name, or with that id."""
    return {
        node.hex()
        for node, info in client.get_all_node_info().items()
        if name in (info.node_name, node.hex()) and info.state == _ALIVE
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], float(sys.argv[3]))))
