"""Is the cluster up, does it recover, does it stay within its means?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.validation

CRITERIA = (
    "uptime",
    "worker_recovery",
    "dashboard",
    "container_stability",
    "cpu_efficiency",
    "memory_stability",
    "network_latency",
    "cost_per_day",
    "autoscaling",
    "preemption",
    "exposure",
)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_cluster(criterion: str, judge: Callable[[str], None]) -> None:
    judge(criterion)
