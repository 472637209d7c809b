"""Ray jobs of other people on a cluster, which a fault could end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from evolution_gate.fixtures.system.http_client import JsonHttpClient

_GOING: Final = ("PENDING", "RUNNING")
_TIMEOUT: Final = 5.0


def other_jobs(dashboard: str, headers: Mapping[str, str], *, own: str) -> Sequence[str]:
    """Names of the jobs that are going on, without those of our own drivers.

    A dashboard that does not list them counts as a job: nobody knows what runs.

    Args:
        own: Address of the node that our drivers run on; empty before there is one.
    """
    asking = JsonHttpClient(connect=_TIMEOUT, read=_TIMEOUT)
    found = []
    try:
        status, rows = asking.get(f"{dashboard}/api/jobs/", headers=headers)
        if status != 200:
            return [f"unknown: the dashboard answers {status}"]
        for row in rows:
            driver = row.get("driver_info") or {}
            mine = own and driver.get("node_ip_address") == own
            if row["status"] in _GOING and not mine:
                found.append(str(row.get("submission_id") or row.get("job_id") or "unnamed"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"unknown: the dashboard does not list them ({type(error).__name__})"]
    return found
