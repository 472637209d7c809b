"""The gate's self-check: an untrusted source makes its criteria INCONCLUSIVE, and no others."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolution_gate.reports.html import render_page
from evolution_gate.reports.text_formats import summary
from tests.support.evidence_builders import certificates, change, evidence, healthy, passing, write
from tests.support.evidence_records import NODES, T0, Timed, load, receipt
from validation.cli.main import main
from validation.criteria.registry import CRITERIA
from validation.decision import Decision, GateResult, decide
from validation.evidence.base import Record
from validation.evidence.records import Fault, Gap, Services, Workload
from validation.evidence.records_ledger import Audit
from validation.evidence.records_load import Load
from validation.evidence.records_monitoring import Scrape
from validation.evidence.records_self_check import HarnessReading
from validation.self_check import assess_sources
from validation.verdict import Status

HEALTHY = passing()
CERTIFIED = certificates(criterion.id for criterion in CRITERIA)
CPU, CLOCK, SCRAPES, PROMETHEUS, GENERATOR, RECEIPTS, MACHINE = (
    a.source for a in assess_sources([healthy()], CRITERIA)
)


def decided(events: Sequence[Timed]) -> GateResult:
    return decide([evidence(events)], certificates=CERTIFIED)


def distrusted(events: Sequence[Timed]) -> dict[str, tuple[str, ...]]:
    return {a.source: a.doubts for a in assess_sources([evidence(events)], CRITERIA) if a.doubts}


TRUSTED = decided(HEALTHY)


def readings(edit: Callable[[HarnessReading], Record | None]) -> list[Timed]:
    return change(
        HEALTHY, HarnessReading, lambda r: edit(r) if isinstance(r, HarnessReading) else r
    )


def later(**add: float) -> list[Timed]:
    """The readings after five minutes with something added."""
    return readings(
        lambda r: (
            dataclasses.replace(r, **{k: getattr(r, k) + v for k, v in add.items()})
            if r.at > T0 + 300
            else r
        )
    )


def says(target: str, begin: float, end: float, *, up: bool) -> list[Timed]:
    """Prometheus says something else about a node for some time."""
    return [
        (at, dataclasses.replace(r, up=up, age_s=2.0))
        if isinstance(r, Scrape) and r.target == target and begin <= at - T0 <= end
        else (at, r)
        for at, r in HEALTHY
    ]


def gone(target: str, begin: float, end: float) -> list[Timed]:
    """A node's process is not there for some time, and Prometheus does not know."""

    def edit(record: Record) -> Record:
        if isinstance(record, Services) and begin <= record.at - T0 <= end:
            return dataclasses.replace(record, incarnations={**record.incarnations, target: None})
        return record

    return change(HEALTHY, Services, edit)


PLANTED: dict[str, tuple[str, list[Timed]]] = {
    "the clock is set forward": (CLOCK, later(at=3.0)),
    "the clock stands still": (CLOCK, later(monotonic_s=40.0)),
    "a harness that works itself": (
        CPU,
        readings(lambda r: dataclasses.replace(r, harness_cpu_s=0.5 * (r.at - T0))),
    ),
    "a harness whose CPU time falls": (
        CPU,
        readings(lambda r: dataclasses.replace(r, harness_cpu_s=0.5 * (T0 + 2e5 - r.at))),
    ),
    "Prometheus paused": (
        SCRAPES,
        readings(
            lambda r: (
                dataclasses.replace(r, silence_s={**r.silence_s, NODES[2]: 23.0})
                if T0 + 100 < r.at < T0 + 103
                else r
            )
        ),
    ),
    "a target without a sample": (
        SCRAPES,
        readings(
            lambda r: dataclasses.replace(
                r, silence_s={k: v for k, v in r.silence_s.items() if k != NODES[1]}
            )
        ),
    ),
    "a silence that is no number": (
        SCRAPES,
        readings(lambda r: dataclasses.replace(r, silence_s={**r.silence_s, "head": math.nan})),
    ),
    "no Prometheus": (SCRAPES, change(HEALTHY, Scrape, lambda _: None)),
    "stale Prometheus": (PROMETHEUS, gone(NODES[3], 300, 340)),
    "a node down for Prometheus alone": (PROMETHEUS, says(NODES[3], 300, 330, up=False)),
    "nobody else looked": (PROMETHEUS, change(HEALTHY, Services, lambda _: None)),
    "a saturated generator": (
        GENERATOR,
        change(HEALTHY, Load, lambda _: load(generator_share=0.95)),
    ),
    "a fault without a receipt": (
        RECEIPTS,
        sorted(
            [*HEALTHY, (T0 + 320, receipt("pause", NODES[0], T0 + 320, None, confirmed=False))],
            key=lambda event: event[0],
        ),
    ),
}


def test_healthy_run_is_trusted() -> None:
    assert distrusted(HEALTHY) == {}
    aspects = assess_sources([healthy()], CRITERIA)
    assert all(aspect.measured for aspect in aspects)
    assert {name for a in aspects for name in a.criteria} <= {c.id for c in CRITERIA}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_defect_makes_its_criteria_inconclusive(name: str) -> None:
    source, events = PLANTED[name]
    result = decided(events)
    aspect = next(a for a in result.observer if a.source == source)
    assert aspect.doubts
    for criterion in aspect.criteria:
        assert result.verdict(criterion).status is not Status.PASS
    assert result.decision is not Decision.GO
    others = {c for a in result.observer if a.doubts for c in a.criteria}
    if all(r.status is not Status.FAIL for r in result.verdicts.values()):
        untouched = [c.id for c in CRITERIA if c.id not in others]
        for criterion in untouched:
            if name not in ("no Prometheus", "nobody else looked"):
                assert result.verdict(criterion) == TRUSTED.verdict(criterion)


def test_stale_prometheus_is_inconclusive_with_the_reason() -> None:
    verdict = decided(gone(NODES[3], 300, 340)).verdict("prometheus_collection")
    assert verdict.status is Status.INCONCLUSIVE
    assert "node-4 was up in Prometheus, but its process had ended" in verdict.reason


def test_outage_seen_by_prometheus_is_trusted() -> None:
    """The kills of the healthy run are: it takes Prometheus a scrape to know."""
    assert any(isinstance(r, Scrape) and not r.up for _, r in HEALTHY)
    # One scrape that timed out is prometheus_collection's own to judge.
    assert PROMETHEUS not in distrusted(says(NODES[3], 300, 304, up=False))


def fault(kind: str, target: str = NODES[0], *, asked: float, confirmed: float) -> Fault:
    """A confirmed fault, or its undo."""
    return Fault(
        fault=kind, target=target, requested_at=asked, confirmed_at=confirmed, confirmed=True,
        before={"pid": 1}, after={"pid": 2}, detail="", workload=None,
    )  # fmt: skip


def test_replacement_due_from_kill_is_trusted() -> None:
    """Something else than the gate starts the node; its exporter is up before the gate knows."""
    killed = fault("kill", asked=T0 + 400, confirmed=T0 + 400.1)
    # It was there again a second later, and Prometheus never missed a sample.
    begun = fault("start", asked=T0 + 400, confirmed=T0 + 418)
    quiet = [(at, r) for at, r in HEALTHY if not isinstance(r, Fault) or r.target != NODES[0]]
    quiet = [one for one in quiet if not isinstance(one[1], Services | Scrape)]
    watched: list[Timed] = []
    for at in range(390, 431, 2):
        id_ = "first" if at < 400 else "second"
        watched.append((T0 + at, Services(at=T0 + at, incarnations={NODES[0]: id_}, excused=())))
        watched.append((T0 + at, Scrape(target=NODES[0], up=True, age_s=1.0, excused=False)))
    events = sorted([*quiet, (T0 + 401, killed), (T0 + 419, begun), *watched], key=lambda e: e[0])
    assert "its process had ended" not in str(distrusted(events).get(PROMETHEUS))


@pytest.mark.parametrize(
    ("backend", "at", "trusted"), [("compose", 0, True), ("compose", -90, False), ("x", 0, False)]
)
def test_lost_node_leaves_service_discovery(backend: str, at: int, trusted: bool) -> None:
    """Ray lists only living nodes, so that a deployed Prometheus asks a lost one no more."""
    killed = next(r for _, r in HEALTHY if isinstance(r, Fault) and r.fault == "kill")

    def silent(reading: HarnessReading) -> Record:
        near = 0 < reading.at - killed.requested_at - at < 20
        silence = {**reading.silence_s, killed.target: 18.0} if near else reading.silence_s
        return dataclasses.replace(reading, silence_s=silence)

    record = evidence(readings(silent), backend=backend)
    found = {a.source: a.doubts for a in assess_sources([record], CRITERIA)}
    assert (found[SCRAPES] == ()) is trusted


@pytest.mark.parametrize(("backend", "trusted"), [("compose", True), ("containers", False)])
def test_lost_head_empties_service_discovery(backend: str, trusted: bool) -> None:
    """The head tells a deployed Prometheus whom to ask, so that without it nobody is asked."""
    at = next(at for at, r in HEALTHY if isinstance(r, Fault) and r.fault == "kill")
    killed = fault("kill", "head", asked=at, confirmed=at + 0.1)
    back = fault("start", "head", asked=at, confirmed=at + 12)

    def silent(reading: HarnessReading) -> Record:
        near = 0 < reading.at - at < 20
        silence = {**reading.silence_s, NODES[1]: 18.0} if near else reading.silence_s
        return dataclasses.replace(reading, silence_s=silence)

    events = sorted([*readings(silent), (at, killed), (at + 12, back)], key=lambda e: e[0])
    found = {
        a.source: a.doubts for a in assess_sources([evidence(events, backend=backend)], CRITERIA)
    }
    assert (found[SCRAPES] == ()) is trusted


def test_fail_is_never_downgraded() -> None:
    events = change(HEALTHY, HarnessReading, lambda _: None)
    events = change(events, Audit, lambda r: dataclasses.replace(r, lost=1))
    result = decided(events)
    assert result.verdict("no_data_loss").status is Status.FAIL
    assert result.decision is Decision.NO_GO


def test_silent_observer_is_inconclusive() -> None:
    result = decided(change(HEALTHY, HarnessReading, lambda _: None))
    assert result.decision is Decision.INCONCLUSIVE
    assert result.count(Status.FAIL) == 0
    assert "the harness monitor wrote no reading" in result.verdict("speedup").reason
    assert result.verdict("bad_input").status is Status.PASS


def test_single_reading_shows_no_clock() -> None:
    """In a run so short that the silence alone would be trusted."""
    last = max(at for at, r in HEALTHY if isinstance(r, HarnessReading))
    events = [(at, r) for at, r in HEALTHY if not isinstance(r, HarnessReading) or at == last]
    begin = last - 40.0
    short = [(at, r) for at, r in events if at >= begin and not isinstance(r, Workload)]
    (aspect,) = (a for a in assess_sources([evidence(short)], CRITERIA) if a.source == CLOCK)
    assert any("the harness monitor wrote one reading only" in reason for reason in aspect.doubts)


@given(stop=st.floats(5, 48 * 3600))
@settings(max_examples=5)
def test_observer_that_stops_early_is_inconclusive(stop: float) -> None:
    kept = readings(lambda r: r if r.at < T0 + stop else None)
    assert {CPU, CLOCK, SCRAPES} <= distrusted(kept).keys()
    assert decided(kept).decision is Decision.INCONCLUSIVE


def test_known_gap_is_no_clock_jump() -> None:
    """A soak that was killed and taken up again after a reboot."""
    at, until = T0 + 3600, T0 + 7200
    kept = [
        (t, dataclasses.replace(r, monotonic_s=t - until) if t >= until else r)
        if isinstance(r, HarnessReading)
        else (t, r)
        for t, r in HEALTHY
        if not at < t < until
    ]
    assert CLOCK in distrusted(kept)
    away = Gap(begin=at, end=until, reason="killed")
    known = sorted([*kept, (until - 1, away)], key=lambda e: e[0])
    assert CLOCK not in distrusted(known)


@given(
    kinds=st.sets(st.sampled_from([HarnessReading, Scrape, Services, Load])),
    share=st.floats(0, 1),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=6)
def test_dropped_records_never_fail(kinds: set[type[Record]], share: float, seed: int) -> None:
    dice = random.Random(seed)
    kept = [(at, r) for at, r in HEALTHY if type(r) not in kinds or dice.random() < share]
    result = decided(kept)
    assert result.count(Status.FAIL) == 0
    if HarnessReading in kinds and share == 0:
        assert result.decision is not Decision.GO


@given(name=st.sampled_from(sorted(PLANTED)), criterion=st.sampled_from([c.id for c in CRITERIA]))
@settings(max_examples=20)
def test_distrust_changes_only_a_pass(name: str, criterion: str) -> None:
    source, events = PLANTED[name]
    records = [evidence(events)]
    asked = next(c for c in CRITERIA if c.id == criterion)
    alone = asked.verdict
    said = decide(records, criteria=[asked]).verdict(criterion).status
    assessed = next(a for a in assess_sources(records, CRITERIA) if a.source == source)
    try:
        without = alone(records).status
    except Exception:
        without = Status.INCONCLUSIVE
    assert said is without or (without is Status.PASS and said is Status.INCONCLUSIVE)
    if criterion in assessed.criteria:
        assert said is not Status.PASS


def test_check_that_raises_is_distrusted() -> None:
    events = change(HEALTHY, Scrape, lambda r: dataclasses.replace(r, age_s="2 s"))
    (reason,) = distrusted(events)[PROMETHEUS]
    assert reason.startswith("the self-check failed: TypeError: ")


def test_reasons_of_distrust_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, events = PLANTED["stale Prometheus"]
    result = decided(events)
    page = render_page(result, [evidence(events)])
    assert "but its process had ended" in page
    assert 'id="observer"' in page
    assert f"- {source}:" in summary(result)
    assert "**not trusted**" in summary(result)
    # That the node was gone is also container_stability's to fail.
    assert main(["gate", str(write(tmp_path / "e.jsonl", events))]) == 1
    said = capsys.readouterr().out
    assert f"untrusted: {source}: " in said
    assert "Not trusted for prometheus_collection, grafana_functional, alerting" in said


def test_starting_node_is_not_compared() -> None:
    """Of a real run: the exporter was there before the start was confirmed."""
    node = NODES[3]
    at = T0 + 300
    events = gone(node, 300, 324)
    slow = dataclasses.replace(receipt("start", node, at + 4, None), confirmed_at=at + 25)
    events = sorted(
        [*events, (at, receipt("kill", node, at, None)), (at + 25, slow)], key=lambda e: e[0]
    )
    assert PROMETHEUS not in distrusted(events)
