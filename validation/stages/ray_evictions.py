"""Workers that Ray ended because a node's memory ran out, as counted by Prometheus."""

from __future__ import annotations

import math
import time
from typing import Final

import requests

from evolution_gate.fixtures.system.http_client import session
from validation.evidence.log import Sink
from validation.evidence.records import MemoryFailure, Note
from validation.verdict import plural

EVICTIONS: Final = "ray_memory_manager_worker_eviction_total"
_TIMEOUT: Final = 5.0


def evictions(prometheus: str | None, writer: Sink, *, since: float) -> None:
    """Record each node on which Ray evicted workers after ``since`` (Unix seconds).

    The control groups do not show them, because Ray's monitor acts before the kernel. A node that
    ended is counted by its last sample.
    """
    if prometheus is None:
        writer.add(Note(text="Ray's evictions were not counted: no Prometheus"))
        return
    seconds = max(1, math.ceil(time.time() - since))
    query = f"sum by (node) (max_over_time({EVICTIONS}[{seconds}s]))"
    try:
        with session() as client:
            answer = client.get(
                f"{prometheus}/api/v1/query", params={"query": query}, timeout=_TIMEOUT
            )
        rows = answer.json()["data"]["result"]
        found = {row["metric"].get("node", "a node"): float(row["value"][1]) for row in rows}
    except (requests.RequestException, ValueError, KeyError) as error:
        writer.add(Note(text=f"Ray's evictions were not counted: {type(error).__name__}"))
        return
    for node, count in sorted(found.items()):
        if count:
            detail = f"Ray evicted {plural(round(count), 'worker')} on {node} for lack of memory"
            writer.add(MemoryFailure(workload=None, detail=detail))
