"""The watch writes what it sees, and a probe that cannot be made is a failed one."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

from evolution_gate.fixtures.protocols import Endpoints, NodeUsage, StackError
from tests.support.waiting import wait_until
from validation.evidence.base import Record
from validation.evidence.records import Services, Usage
from validation.evidence.records_monitoring import Probe
from validation.monitors.cluster import ClusterMonitor, ExcusedOutages

USAGE = NodeUsage(at=1.0, cpu_seconds=0.0, memory_bytes=1, oom_kills=0)


class Kept:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def add(self, record: Record) -> None:
        self.records.append(record)


def watched(
    alive: Callable[[], frozenset[str]],
    *,
    every: int = 1,
    count: int = 3,
    services: Callable[[], dict[str, str | None]] = dict,
) -> list[Record]:
    """What a watch of a stack without dashboard, Prometheus and nodes wrote."""
    stack = SimpleNamespace(
        endpoints=Endpoints(ray="127.0.0.1:1", dashboard="http://127.0.0.1:9"),
        nodes=(),
        alive_nodes=alive,
        head_usage=lambda: USAGE,
        services=services,
    )
    kept = Kept()
    with ClusterMonitor(stack, kept, ExcusedOutages(), period=0.01, every=every):  # type: ignore[arg-type]
        wait_until(
            lambda: sum(isinstance(r, Usage) for r in kept.records) >= count,
            seconds=20,
            what=f"{count} readings",
            every=0.01,
        )
    return kept.records


def probes(records: list[Record], name: str) -> list[Probe]:
    return [r for r in records if isinstance(r, Probe) and r.probe == name]


def test_living_node_means_cluster_is_up() -> None:
    found = probes(watched(lambda: frozenset({"n1"})), "cluster")
    assert found
    assert all(probe.ok for probe in found)


def test_no_node_or_no_answer_is_down() -> None:
    def silent() -> frozenset[str]:
        raise StackError("the dashboard does not answer\nlogs")

    for alive in (frozenset, silent):
        found = probes(watched(alive), "cluster")
        assert found
        assert not any(probe.ok for probe in found)
    assert found[0].detail == "the dashboard does not answer"


def test_other_probes_run_less_often() -> None:
    records = watched(lambda: frozenset({"n1"}), every=4)
    often, seldom = probes(records, "cluster"), probes(records, "dashboard")
    assert not any(probe.ok for probe in seldom)
    assert 4 * (len(seldom) - 1) < len(often) <= 4 * len(seldom)


def test_service_change_is_recorded_with_previous_state() -> None:
    asked: list[float] = []

    def services() -> dict[str, str | None]:
        asked.append(time.time())
        return {"n1": "a" if len(asked) < 7 else None}

    records = watched(lambda: frozenset({"n1"}), every=10, services=services)
    found = [r for r in records if isinstance(r, Services)]
    assert [r.incarnations["n1"] for r in found[:3]] == ["a", "a", None]
    # The reading just before the change, and the one that saw it, as each was taken.
    assert asked[5] <= found[1].at <= asked[6] <= found[2].at
