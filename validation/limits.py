"""Limits and names that stages or monitors share with criteria."""

from __future__ import annotations

from typing import Final

from validation.thresholds import Threshold

# Of alerting.
FIRES: Final = Threshold(
    criterion="alerting", name="fires", unit="s", stricter="lower", sensible=300.0
)
"""From the request of a node's kill, or of its partition on a deployed target, until the webhook
received the alert.
"""
CLEARS: Final = Threshold(
    criterion="alerting", name="clears", unit="s", stricter="lower", sensible=300.0
)
"""From the receipt of the node's start until the webhook received that the alert is resolved."""
NODE_LOST: Final = "NodeLost"
NODE_RESTARTED: Final = "NodeRestarted"
HEAD_LOST: Final = "HeadLost"
WORKER_KILLED: Final = "WorkerKilled"
DATABASE_DOWN: Final = "DatabaseDown"
CACHE_DOWN: Final = "CacheDown"

# Of uptime.
CLUSTER: Final = "cluster"
"""Target of faults that take the whole cluster, and name of the probe of its control service."""
ANSWER_S: Final = 10.0
"""A job must end right on every declared node within this time. A job on an idle node takes
milliseconds, and one that waits for the CPU quota of a busy node a second. The engine gives up
waiting for a batch after 8 s and sends it again, so a slower cluster is one that it treats as lost.
"""

# Of prometheus_collection.
FRESH_S: Final = 15.0
"""Age up to which a sample of Prometheus is fresh."""

# Of autoscaling.
SCALING_S: Final = 120.0
"""Within this time nodes must be added, and removed again."""

# Of service_load.
USERS: Final = 50
"""Concurrent users of the load generator."""
SATURATED: Final = 0.9
"""Share of a core above which the load generator itself may be the bottleneck."""

# Of speedup.
LOOKS: Final = 2
"""How often a campaign may look at its pairs. It adds as many again if the first decide nothing."""

# Of bad_input.
BAD_INPUTS: Final = frozenset(
    {
        "missing file",
        "empty file",
        "wrong columns",
        "unsorted times",
        "repeated time",
        "price that is no number",
        "price of zero",
        "high below low",
        "one bar",
        "mixed time zones",
        "unreadable store",
        "unknown store",
        "dead address",
        "population of none",
        "negative generations",
        "unknown family",
    }
)
"""Names of the inputs that must be refused; evidence holds them."""

# Of container_stability.
SPAN_S: Final = 30.0
"""A service must be read over at least this time before its incarnations are judged."""
