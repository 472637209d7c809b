"""The stages that provoke alerts: what they break on an own stack and on a deployed one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from evolution_gate.fixtures.protocols import Endpoints, Receipt, receipt
from tests.support.evidence_builders import evidence
from validation.campaigns.run import names_of
from validation.criteria.alerting import alerting
from validation.evidence.base import Record
from validation.evidence.records_monitoring import AlertWatch, Notification
from validation.monitors.cluster import ExcusedOutages
from validation.stages.alerting import alert_at_work, plant_alert
from validation.verdict import InconclusiveError, Status, Verdict

ADDRESS = "172.20.0.9"
ALERTS = {
    "kill n1": "NodeLost",
    "partition n1": "NodeLost",
    "start n1": "NodeRestarted",
    "kill_worker n1": "WorkerKilled",
    "kill redis": "CacheDown",
    "stop redis": "CacheDown",
    "kill postgres": "DatabaseDown",
    "stop postgres": "DatabaseDown",
}


@dataclass
class Stack:
    """One node and two services, whose alerts fire at once, or never."""

    backend: str
    silent: str = ""
    done: list[str] = field(default_factory=list)
    notes: list[Notification] = field(default_factory=list)
    name, address, pid = "n1", ADDRESS, None
    endpoints = Endpoints(
        ray="", dashboard="", postgres="p", redis="r", prometheus="m", alertmanager="a",
        engine_metrics_port=1,
    )  # fmt: skip

    @property
    def nodes(self) -> list[Any]:
        return [self]

    def alive_nodes(self) -> frozenset[str]:
        return frozenset({"n1"})

    def _act(self, fault: str, target: str) -> Receipt:
        what = f"{fault} {target}"
        self.done.append(what)
        asked = time.time()
        if what == "start n1":
            self._tell("NodeLost", target, firing=False)
        alert = ALERTS.get(what, "")
        if alert and alert != self.silent:
            self._tell(alert, target, firing=True)
        return receipt(fault, target, asked, {}, {"a": 1}, confirmed=True)

    def _tell(self, alert: str, target: str, *, firing: bool) -> None:
        at = time.time()
        self.notes.append(Notification(alert=alert, target=target, firing=firing, received_at=at))

    def kill(self) -> Receipt:
        return self._act("kill", "n1")

    def partition(self) -> Receipt:
        return self._act("partition", "n1")

    def heal(self) -> Receipt:
        return self._act("heal", "n1")

    def start(self) -> Receipt:
        return self._act("start", "n1")

    def kill_worker(self) -> Receipt:
        return self._act("kill_worker", "n1")

    def kill_service(self, name: str) -> Receipt:
        return self._act("kill", name)

    def stop_service(self, name: str) -> Receipt:
        return self._act("stop", name)

    def start_service(self, name: str) -> Receipt:
        return self._act("start", name)

    def wait(self, alert: str, target: str, *, firing: bool, seconds: float) -> bool:
        """The webhook's: what does not come at once never comes."""
        del seconds
        words = [n.firing for n in self.notes if (n.alert, n.target) == (alert, target)]
        return (words[-1] if words else False) is firing


class Workloads:
    """Evolutions that are ready, and evaluate nothing."""

    running = False

    def wait_ready(self, _: float) -> bool:
        return True

    @contextmanager
    def endless(self, _: str) -> Iterator[Any]:
        yield self


def provoke(stack: Any, stage: str) -> list[Record]:
    records: list[Any] = []
    adding = type("Sink", (), {"add": staticmethod(records.append)})()
    if stage == "alert":
        plant_alert(stack, adding, ExcusedOutages(), stack, seed=0, say=lambda _: None)
    else:
        workloads: Any = Workloads()
        alert_at_work(stack, adding, stack, workloads, seed=0, say=lambda _: None)
    return [*records, *stack.notes]


@pytest.mark.parametrize(
    ("backend", "stage", "done"),
    [
        ("containers", "alert", ["kill n1", "start n1"]),
        ("compose", "alert", ["partition n1", "heal n1", "start n1"]),
        (
            "processes",
            "work",
            ["kill_worker n1", "kill redis", "kill postgres", "start redis", "start postgres"],
        ),
        (
            "compose",
            "work",
            ["kill_worker n1", "stop redis", "start redis", "stop postgres", "start postgres"],
        ),
    ],
)
def test_fault_outlasts_its_alert(backend: str, stage: str, done: list[str]) -> None:
    stack = Stack(backend)
    records = provoke(stack, stage)
    assert stack.done == done
    alerts = {one.alert for one in records if isinstance(one, AlertWatch)}
    assert alerts == {ALERTS[what] for what in done if what in ALERTS}


@pytest.mark.parametrize("backend", ["processes", "compose"])
def test_provoked_alerts_pass_the_criterion(backend: str) -> None:
    records = [one for s in ("alert", "work") for one in provoke(Stack(backend), s)]
    at = time.time()
    verdict = alerting([evidence([(at, one) for one in records])])
    assert (verdict.status, verdict.reason[:17]) == (Status.PASS, "5 watched alerts,")


def test_silent_alert_is_no_pass() -> None:
    def judged(silent: str) -> Verdict:
        records = [one for s in ("alert", "work") for one in provoke(Stack("compose", silent), s)]
        return alerting([evidence([(time.time(), one) for one in records])])

    verdict = judged("CacheDown")
    assert verdict.status is Status.INCONCLUSIVE
    assert "CacheDown of redis did not fire within" in verdict.reason
    with pytest.raises(InconclusiveError, match="NodeLost of n1 did not fire within"):
        judged("NodeLost")


def test_latest_owner_of_an_address_counts() -> None:
    first, second = Stack("compose"), Stack("compose")
    second.name = "n2"
    nodes: list[Any] = [first]
    whole: Any = type("Whole", (), {"nodes": nodes})()
    name_of = names_of(whole)
    assert (name_of(ADDRESS), name_of("n9")) == ("n1", "n9")
    first.address = ""
    nodes.append(second)
    assert name_of(ADDRESS) == "n2"
