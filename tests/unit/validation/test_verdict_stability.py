"""Restarts: ours by receipt, the others not."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from tests.support.evidence_builders import change, evidence, passing
from tests.support.evidence_records import NODES, T0, Timed
from validation.criteria.container_stability import container_stability
from validation.evidence.base import Record
from validation.evidence.records import Fault, Services
from validation.evidence.records_self_check import ContainerExit
from validation.verdict import Status, Verdict, judge

HEALTHY = passing()
QUIET = T0 + 400
"""Nothing is broken at this time."""


def said(events: Sequence[Timed]) -> Verdict:
    return judge(container_stability, [evidence(events)])


def from_on(name: str, value: str | None, *, until: float = 1e12) -> list[Timed]:
    """The healthy record with another incarnation of a service for some time from ``QUIET``."""

    def edit(record: Record) -> Record:
        assert isinstance(record, Services)
        if not QUIET <= record.at < until:
            return record
        return dataclasses.replace(record, incarnations={**record.incarnations, name: value})

    return change(HEALTHY, Services, edit)


def test_confirmed_kills_are_no_restarts() -> None:
    verdict = said(HEALTHY)
    assert verdict.status is Status.PASS, verdict
    assert "7 starts with a receipt" in verdict.reason


@pytest.mark.parametrize("name", ["head", "postgres", NODES[0], NODES[3]])
def test_restart_of_any_service_fails(name: str) -> None:
    verdict = said(from_on(name, "another"))
    assert verdict.status is Status.FAIL, verdict
    assert verdict.reason.startswith(f"{name} was restarted")
    assert verdict.interval is not None
    assert verdict.interval[0] > 0


@pytest.mark.parametrize("name", ["postgres", NODES[3]])
def test_service_that_stays_down_fails(name: str) -> None:
    verdict = said(from_on(name, None))
    assert verdict.status is Status.FAIL, verdict
    assert f"{name} ended" in verdict.reason


def test_exit_event_between_readings_fails() -> None:
    end = ContainerExit(service="postgres", exit_code=137, at=QUIET)
    verdict = said([*HEALTHY, (QUIET, end)])
    assert verdict.status is Status.FAIL, verdict
    assert verdict.reason.startswith("postgres ended with status 137")
    # What readings saw as well is one restart.
    both = said([*from_on("postgres", "another"), (QUIET, end)])
    assert both.measured == "1 unexpected restart"


def test_confirmed_exit_is_excused() -> None:
    (kill, *_) = [one for _, one in HEALTHY if isinstance(one, Fault) and one.fault == "kill"]
    end = ContainerExit(service=kill.target, exit_code=137, at=kill.confirmed_at)
    assert said([*HEALTHY, (kill.confirmed_at, end)]).status is Status.PASS


def test_one_receipt_explains_one_start() -> None:
    """A node that crashed again just after it was started by receipt."""
    starts = [r for _, r in HEALTHY if isinstance(r, Fault) and r.fault == "start"]
    back = starts[0]

    def edit(record: Record) -> Record:
        assert isinstance(record, Services)
        # Later than the gate's own excuse, and within the time in which a start may take.
        if record.at < back.confirmed_at + 33:
            return record
        older = record.incarnations[back.target]
        return dataclasses.replace(
            record, incarnations={**record.incarnations, back.target: older and f"{older}+1"}
        )

    assert said(change(HEALTHY, Services, edit)).status is Status.FAIL


def test_unconfirmed_kill_excuses_nothing() -> None:
    def edit(record: Record) -> Record:
        assert isinstance(record, Fault)
        return dataclasses.replace(record, confirmed=record.fault != "kill")

    unflagged = change(
        change(HEALTHY, Fault, edit),
        Services,
        lambda record: dataclasses.replace(record, excused=()),
    )
    assert said(unflagged).status is Status.FAIL


def test_excuse_without_receipt_is_inconclusive() -> None:
    verdict = said([e for e in HEALTHY if not isinstance(e[1], Fault)])
    assert verdict.status is Status.INCONCLUSIVE
    assert "without a receipt" in verdict.reason


def test_change_during_a_gap_is_inconclusive() -> None:
    events = [
        (at, r)
        for at, r in from_on("postgres", "another")
        if not (isinstance(r, Services) and QUIET - 20 < r.at < QUIET + 20)
    ]
    verdict = said(events)
    assert verdict.status is Status.INCONCLUSIVE
    assert "no reading was taken" in verdict.reason


@pytest.mark.parametrize("away", ["head", NODES[0]])
def test_every_service_must_be_watched(away: str) -> None:
    def edit(record: Record) -> Record:
        assert isinstance(record, Services)
        kept = {k: v for k, v in record.incarnations.items() if k in NODES and k != away}
        return dataclasses.replace(record, incarnations=kept)

    assert said(change(HEALTHY, Services, edit)).status is Status.INCONCLUSIVE


def test_short_watch_is_inconclusive() -> None:
    events = [e for e in HEALTHY if not isinstance(e[1], Services) or e[0] < T0 + 20]
    assert said(events).status is Status.INCONCLUSIVE
