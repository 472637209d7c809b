"""Uptime: outages are counted, what nobody watched is no uptime, and 48 hours are 48 hours."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.evidence_builders import evidence
from tests.support.evidence_records import NODES, T0, Timed, job, receipt, start_up, workload
from validation.criteria.uptime import uptime
from validation.evidence.outages import UptimeTracker
from validation.evidence.records import Gap
from validation.evidence.records_monitoring import Job, StartUp
from validation.verdict import Status, Verdict, judge

HOUR = 3600.0


def watched(
    hours: float, *, down: Sequence[tuple[float, float]] = (), every: float = 30.0
) -> list[Timed]:
    """Jobs over some hours; without answers from begin to end of each outage, in seconds."""
    count = int(hours * HOUR / every) + 1
    return [
        (T0, start_up()),
        *(
            (T0 + t, job(T0 + t, missing=NODES if any(a <= t < b for a, b in down) else ()))
            for t in (n * every for n in range(count))
        ),
    ]


def each(**changes: object) -> list[Timed]:
    """Fifty hours of jobs, with fields of all of them changed."""
    return [
        (at, dataclasses.replace(record, **changes) if isinstance(record, Job) else record)
        for at, record in watched(50)
    ]


def said(events: Sequence[Timed]) -> Verdict:
    return judge(uptime, [evidence(events)])


def test_two_days_without_an_outage_pass() -> None:
    verdict = said(watched(48))
    assert verdict.status is Status.PASS, verdict
    assert verdict.interval is not None
    assert verdict.interval[0] == pytest.approx(99.79, abs=0.01)
    assert "99 % allows 29 min down in 48 h; 0 s used" in verdict.budget


def test_short_run_names_the_missing_hours() -> None:
    verdict = said(watched(1 / 60))
    assert verdict.status is Status.INCONCLUSIVE
    assert "47.98 more hours" in verdict.needs


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, Status.PASS),
        ({"seconds": 10.0}, Status.PASS),
        ({"seconds": 10.1}, Status.FAIL),
        ({"seconds": 49.0}, Status.FAIL),
        ({"right": NODES[:1], "missing": NODES[1:]}, Status.FAIL),
        ({"right": NODES[:1]}, Status.FAIL),
        ({"right": NODES[:1] * 4}, Status.FAIL),
        ({"right": NODES[1:], "wrong": NODES[:1]}, Status.FAIL),
    ],
)
def test_every_declared_node_must_answer(changes: dict[str, object], status: Status) -> None:
    assert said(each(**changes)).status is status


@pytest.mark.parametrize(
    ("hours", "others", "status"),
    [(48.0, [], "PASS"), (47.9, [], "INCONCLUSIVE"), (47.9, [47.9], "INCONCLUSIVE"),
     (24.1, [24.1], "INCONCLUSIVE"), (48.0, [1.0], "PASS")],
)  # fmt: skip
def test_shorter_runs_are_not_added_up(hours: float, others: list[float], status: str) -> None:
    runs = [evidence(watched(h), run=f"r{n}") for n, h in enumerate([hours, *others])]
    verdict = judge(uptime, runs)
    assert verdict.status == status, verdict
    if status == "INCONCLUSIVE":
        assert f"{hours:.2f} h of one run watched, of 48 h" in verdict.reason


@pytest.mark.parametrize(
    ("minutes", "status"), [(0, "PASS"), (20, "INCONCLUSIVE"), (28, "INCONCLUSIVE"), (40, "FAIL")]
)
def test_budget_of_two_days_is_29_minutes(minutes: float, status: str) -> None:
    assert said(watched(48, down=[(HOUR, HOUR + 60 * minutes)])).status == status


def test_one_time_out_is_part_of_the_budget() -> None:
    verdict = said(watched(60, down=[(HOUR, HOUR + 1)], every=10.0))
    assert verdict.status is Status.PASS, verdict
    assert "20 s used" in verdict.budget


@pytest.mark.parametrize(
    ("start", "status", "words"),
    [
        (start_up(), "PASS", "1 start, steady after 50 s at most, 0 failed attempts"),
        (start_up(failed=("no port",)), "PASS", "1 failed attempt (no port)"),
        (start_up(steady_at=None), "PASS", "steady after unknown time"),
        (None, "INCONCLUSIVE", "the start of the cluster was not recorded"),
    ],
)
def test_starts_are_reported(start: StartUp | None, status: str, words: str) -> None:
    events = [e for e in watched(50) if not isinstance(e[1], StartUp)]
    verdict = said(events if start is None else [(T0, start), *events])
    assert verdict.status == status
    assert words in verdict.reason


@pytest.mark.parametrize(
    ("target", "confirmed", "missing", "status"),
    [
        (NODES[0], True, NODES[:1], "PASS"),
        (NODES[0], False, NODES[:1], "FAIL"),
        (NODES[1], True, NODES[:1], "FAIL"),
        (NODES[0], True, NODES[:2], "FAIL"),
        ("head", True, NODES, "PASS"),
    ],
)
def test_receipt_excuses_only_its_own_node(
    target: str, confirmed: bool, missing: tuple[str, ...], status: str
) -> None:
    kill = receipt("kill", target, T0 + HOUR, "w", confirmed=confirmed)
    back = receipt("start", target, T0 + HOUR + 2000, "w", confirmed=confirmed)
    events = [
        (at, job(at, missing=missing) if T0 + HOUR < at < T0 + HOUR + 2000 else record)
        for at, record in watched(50)
        if isinstance(record, Job)
    ]
    verdict = said([(T0, start_up()), (T0, kill), (T0, back), *events])
    assert verdict.status == status, verdict


@pytest.mark.parametrize(
    ("down", "status"),
    [
        ([(HOUR, HOUR + 30)], Status.INCONCLUSIVE),  # one outage says little of the next
        ([(n * HOUR, n * HOUR + 30) for n in range(1, 9)], Status.PASS),
        ([(n * HOUR, n * HOUR + 240) for n in range(1, 9)], Status.FAIL),
        ([(HOUR, HOUR + 1800)], Status.FAIL),
    ],
)
def test_outages_decide(down: list[tuple[float, float]], status: Status) -> None:
    verdict = said(watched(50, down=down))
    assert verdict.status is status, verdict
    assert f"{len(down)} outage" in verdict.reason


def test_early_outage_can_spend_the_budget() -> None:
    """No two days that begin so can reach 99 %."""
    assert said(watched(2, down=[(HOUR, HOUR + 1800)])).status is Status.FAIL


def test_outage_lasts_between_good_probes() -> None:
    seen = UptimeTracker()
    for at, ok in [(0, True), (10, False), (20, False), (30, True), (40, True)]:
        seen.probe(at, ok=ok)
    assert [(o.begin, o.end, o.over) for o in seen.outages] == [(0, 30, True)]
    assert (seen.watched_s, seen.down_s) == (40, 30)


def test_unwatched_time_is_neither_up_nor_down() -> None:
    hole = [e for e in watched(60) if not T0 + 10 * HOUR < e[0] < T0 + 20 * HOUR]
    verdict = said(hole)
    assert verdict.status is Status.INCONCLUSIVE
    assert "without a job" in verdict.reason
    announced = [
        *hole,
        (T0 + 61 * HOUR, Gap(begin=T0 + 10 * HOUR, end=T0 + 20 * HOUR, reason="killed")),
    ]
    assert said(announced).status is Status.PASS
    assert "50.00 h watched" in said(announced).measured
    assert "1 gap of 10.0 h without jobs" in said(announced).reason


def test_outage_without_observed_end_prevents_pass() -> None:
    verdict = said(watched(50, down=[(50 * HOUR - 60, 51 * HOUR)]))
    assert verdict.status is Status.INCONCLUSIVE
    assert "was not observed" in verdict.reason


def test_probe_that_stops_early_prevents_pass() -> None:
    events = [*watched(49), (T0 + 50 * HOUR, workload("w", 49 * HOUR, HOUR))]
    verdict = said(events)
    assert verdict.status is Status.INCONCLUSIVE
    assert "unwatched" in verdict.reason


def test_good_runs_do_not_compensate_a_bad() -> None:
    bad = evidence(watched(14, down=[(HOUR, HOUR + 1800)]), run="a")
    good = evidence(watched(200), run="b")
    verdict = judge(uptime, [good, bad])
    assert verdict.status is Status.FAIL
    assert "run a was down for 30 min, 29 min are allowed" in verdict.reason


@pytest.mark.parametrize("confirmed", [True, False])
def test_only_a_receipt_excuses_a_cluster_loss(confirmed: bool) -> None:
    kill = receipt("kill", "cluster", T0 + HOUR, "w", confirmed=confirmed)
    back = receipt("start", "cluster", T0 + HOUR + 2000, "w", confirmed=confirmed)
    events = [(T0, kill), (T0, back), *watched(50, down=[(HOUR, HOUR + 2010)])]
    verdict = said(events)
    assert verdict.status is (Status.PASS if confirmed else Status.FAIL), verdict


def test_backward_clock_counts_no_time_twice() -> None:
    seen = UptimeTracker()
    for at in (0, 10, 20, 5, 15, 25):
        seen.probe(at, ok=True)
    assert seen.watched_s == 40


@given(
    outages=st.lists(st.tuples(st.floats(0, 50), st.floats(1, 2000)), max_size=6),
    hours=st.floats(0.1, 60),
    holes=st.lists(st.tuples(st.floats(0, 50), st.floats(0.05, 5)), max_size=3),
)
@settings(max_examples=60)
def test_pass_needs_its_hours_and_budget(
    outages: list[tuple[float, float]],
    hours: float,
    holes: list[tuple[float, float]],
) -> None:
    down = [(begin * HOUR, begin * HOUR + length) for begin, length in outages]
    events = [
        (at, record)
        for at, record in watched(hours, down=down, every=40.0)
        if not any(T0 + a * HOUR < at < T0 + (a + length) * HOUR for a, length in holes)
    ]
    verdict = said(events)
    if verdict.status is Status.PASS:
        failed = sum(1 for _, r in events if isinstance(r, Job) and r.missing)
        assert len(events) * 40.0 >= 48 * HOUR
        assert failed * 40.0 <= 0.01 * len(events) * 40.0
    else:
        assert verdict.status is Status.FAIL or verdict.needs
