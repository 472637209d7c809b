"""A time that was too long while the machine was busy with something else decides nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import pytest

from tests.support.evidence_builders import certificates, change, evidence, passing
from tests.support.evidence_records import T0, Timed, machine
from validation.criteria.registry import CRITERIA
from validation.decision import Decision, decide
from validation.disturbance import windows
from validation.evidence.base import Record
from validation.evidence.records import Recovery
from validation.evidence.records_ledger import Audit, Generation
from validation.evidence.records_load import Load, Scaling, ServiceRestart
from validation.evidence.records_monitoring import Notification, Probe, Scrape
from validation.evidence.records_network import Listener, RoundTrips
from validation.evidence.records_self_check import MachineReading
from validation.verdict import Status, Verdict

HEALTHY = passing()
CERTIFIED = certificates(criterion.id for criterion in CRITERIA)


def loaded(events: Sequence[Timed], **load: float) -> list[Timed]:
    """The same on a machine with a constant load."""
    return [
        (at, machine(at, **load)) if isinstance(record, MachineReading) else (at, record)
        for at, record in events
    ]


BUSY = {"other": 0.8, "own": 1.15}
"""Two busy loops next to the stack on two cores."""


def said(criterion: str, events: Sequence[Timed]) -> Verdict:
    asked = [one for one in CRITERIA if one.id == criterion]
    return decide([evidence(events)], criteria=asked).verdict(criterion)


def edit(kind: type[Record], **values: object) -> Callable[[], list[Timed]]:
    return lambda: change(HEALTHY, kind, lambda r: dataclasses.replace(r, **values))


def _dashboard() -> list[Timed]:
    def late(record: Record) -> Record:
        assert isinstance(record, Probe)
        failed = record.probe == "dashboard"
        return dataclasses.replace(record, ok=False, detail="time-out") if failed else record

    return change(HEALTHY, Probe, late)


def _alert() -> list[Timed]:
    return [
        (at, dataclasses.replace(r, received_at=r.received_at + 100))
        if isinstance(r, Notification) and r.received_at > T0
        else (at, r)
        for at, r in HEALTHY
    ]


SLOW: dict[str, tuple[str, Callable[[], list[Timed]]]] = {
    "recovery": ("worker_recovery", edit(Recovery, node_back_s=130.0, window_s=150.0)),
    "recovery not seen": ("worker_recovery", edit(Recovery, node_back_s=None)),
    "dashboard": ("dashboard", _dashboard),
    "sample age": ("prometheus_collection", edit(Scrape, age_s=20.0)),
    "round trips": ("network_latency", edit(RoundTrips, seconds=(0.02,) * 400)),
    "generations": ("generation_time", edit(Generation, seconds=400.0)),
    "scaling": ("autoscaling", edit(Scaling, up_s=130.0, window_s=150.0)),
    "service": ("service_load", edit(Load, reads=(0.2,) * 1200)),
    "alert": ("alerting", _alert),
}


@pytest.mark.parametrize("name", SLOW)
def test_slow_system_on_quiet_machine_fails(name: str) -> None:
    criterion, events = SLOW[name]
    assert said(criterion, events()).status is Status.FAIL


@pytest.mark.parametrize("name", SLOW)
def test_slow_system_beside_other_load_is_inconclusive(name: str) -> None:
    criterion, events = SLOW[name]
    verdict = said(criterion, loaded(events(), **BUSY))
    assert verdict.status is Status.INCONCLUSIVE
    assert "the machine was busy" in verdict.reason
    assert "0.80 cores" in verdict.reason
    assert verdict.measured


@pytest.mark.parametrize("name", SLOW)
def test_system_that_burns_cpu_excuses_nothing(name: str) -> None:
    criterion, events = SLOW[name]
    verdict = said(criterion, loaded(events(), other=0.02, own=1.98))
    assert verdict.status is Status.FAIL


@pytest.mark.parametrize("name", SLOW)
def test_other_load_beside_free_cores_excuses_nothing(name: str) -> None:
    criterion, events = SLOW[name]
    quiet = change(
        loaded(events(), other=0.9, own=1.1),
        MachineReading,
        lambda r: dataclasses.replace(r, cores=8, idle_s=6 * (r.data()["at"] - T0 + 9000)),  # type: ignore[operator]
    )
    assert said(criterion, quiet).status is Status.FAIL


@pytest.mark.parametrize(
    "counts", [{"steal_s": 0.2}, {"throttled_s": 0.1}], ids=["steal", "throttling"]
)
def test_stolen_time_is_inconclusive_with_numbers(counts: dict[str, float]) -> None:
    events = [
        (at, machine(at, **{name: rate * (at - T0) for name, rate in counts.items()}))
        if isinstance(record, MachineReading)
        else (at, record)
        for at, record in SLOW["recovery"][1]()
    ]
    verdict = said("worker_recovery", events)
    assert verdict.status is Status.INCONCLUSIVE
    assert ("hypervisor 0.20" in verdict.reason) or ("a quota stopped the gate" in verdict.reason)


def loaded_between(events: Sequence[Timed], begin: float, end: float) -> list[Timed]:
    """The same with other load during a part of the time only."""
    found: list[Timed] = []
    busy = idle = 9000.0
    last = T0
    for at, record in events:
        if isinstance(record, MachineReading):
            other = 0.8 if begin < at <= end else 0.05
            busy += (1.2 + other) * (at - last)
            idle += (0.8 - other) * (at - last)
            last = at
            record = dataclasses.replace(record, busy_s=busy, idle_s=idle)
        found.append((at, record))
    return found


def failed_at(begin: float, end: float) -> list[Timed]:
    """The dashboard does not answer for some time."""
    return [
        (at, dataclasses.replace(r, ok=False, detail="time-out"))
        if isinstance(r, Probe) and r.probe == "dashboard" and begin <= at <= end
        else (at, r)
        for at, r in HEALTHY
    ]


def test_only_the_disturbed_moment_is_excused() -> None:
    late = failed_at(T0 + 300, T0 + 320)
    assert said("dashboard", late).status is Status.FAIL
    there = loaded_between(late, T0 + 295, T0 + 325)
    assert said("dashboard", there).status is Status.INCONCLUSIVE
    elsewhere = loaded_between(late, T0 + 400, T0 + 500)
    assert said("dashboard", elsewhere).status is Status.FAIL
    longer = loaded_between(failed_at(T0 + 300, T0 + 330), T0 + 295, T0 + 305)
    assert said("dashboard", longer).status is Status.FAIL


@pytest.mark.parametrize(
    ("criterion", "events"),
    [
        ("no_data_loss", edit(Audit, lost=1)),
        ("reproducibility", edit(Audit, recomputed_digest="b" * 64)),
        ("exposure", edit(Listener, access="open", reach="outside")),
        ("service_load", edit(ServiceRestart, lost=1, finished=19)),
        ("autoscaling", edit(Audit, lost=1)),
        ("preemption", edit(Audit, lost=1)),
    ],
)
def test_wrong_content_fails_on_a_busy_machine(
    criterion: str, events: Callable[[], list[Timed]]
) -> None:
    quiet = said(criterion, events()).status
    assert said(criterion, loaded(events(), **BUSY)).status is quiet


def test_healthy_run_beside_other_load_never_fails() -> None:
    result = decide([evidence(loaded(HEALTHY, **BUSY))], certificates=CERTIFIED)
    assert result.count(Status.FAIL) == 0


@pytest.mark.parametrize("name", SLOW)
def test_invented_load_never_gives_go(name: str) -> None:
    events = loaded(SLOW[name][1](), other=1.9, own=0.0)
    assert decide([evidence(events)], certificates=CERTIFIED).decision is not Decision.GO


def test_evidence_without_readings_keeps_its_fail() -> None:
    events = [event for event in SLOW["recovery"][1]() if not isinstance(event[1], MachineReading)]
    assert said("worker_recovery", events).status is Status.FAIL


def test_impossible_readings_are_left_out() -> None:
    impossible = change(
        HEALTHY,
        MachineReading,
        lambda r: dataclasses.replace(r, steal_s=9.0 * (r.data()["at"])),  # type: ignore[operator]
    )
    assert list(windows(evidence(impossible))) == []
    backwards = change(
        HEALTHY,
        MachineReading,
        lambda r: dataclasses.replace(r, own_s=1e9 - r.data()["at"] / 9),  # type: ignore[operator]
    )
    assert list(windows(evidence(backwards))) == []
