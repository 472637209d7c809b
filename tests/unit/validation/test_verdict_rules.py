"""Verdicts: a healthy record passes, each planted defect fails, and holes never pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache

import pytest

from tests.support.evidence_builders import NEEDED, change, evidence, healthy, passing
from tests.support.evidence_records import T0, Timed, ledger, receipt, recovery, workload
from validation.criteria.registry import CRITERIA
from validation.evidence.base import Record
from validation.evidence.log import Evidence
from validation.evidence.records import Fault, Note, Recovery, Workload
from validation.evidence.records_ledger import Fallback, Generation
from validation.evidence.records_monitoring import Scrape
from validation.verdict import Records, Status, Verdict, judge

HEALTHY = passing()
FUNCTIONS = {criterion.id: criterion.verdict for criterion in CRITERIA}
MEASURED = [criterion.id for criterion in CRITERIA]


def verdict(criterion: str, events: Sequence[Timed]) -> Verdict:
    return judge(FUNCTIONS[criterion], [evidence(events)])


def test_all_criteria_are_registered() -> None:
    assert " ".join(FUNCTIONS) == (
        "uptime worker_recovery dashboard cycle_completion generation_time speedup "
        "prometheus_collection grafana_functional container_stability cpu_efficiency "
        "memory_stability network_latency cost_per_day no_data_loss reproducibility alerting "
        "rollback autoscaling preemption backup_restore population_load service_load exposure "
        "bad_input"
    )
    assert set(MEASURED) == set(NEEDED)


@pytest.mark.parametrize("criterion", MEASURED)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_healthy_record_passes(criterion: str, seed: int) -> None:
    said = judge(FUNCTIONS[criterion], [healthy(seed)])
    assert said.status is Status.PASS, said
    assert said.measured
    assert not said.needs


@pytest.mark.parametrize("criterion", FUNCTIONS)
def test_no_evidence_is_inconclusive(criterion: str) -> None:
    said = verdict(criterion, [(T0, Note(text="nothing happened"))])
    assert said.status is Status.INCONCLUSIVE
    assert said.needs


@pytest.mark.parametrize("criterion", FUNCTIONS)
def test_open_record_is_inconclusive(criterion: str) -> None:
    said = judge(FUNCTIONS[criterion], [dataclasses.replace(healthy(), closed=False)])
    assert said.status is Status.INCONCLUSIVE
    assert "record not closed" in said.reason


@cache
def without(kind: type[Record]) -> Evidence:
    return evidence(change(HEALTHY, kind, lambda _: None))


@pytest.mark.parametrize(
    ("criterion", "kind"), [(c, kind) for c, kinds in NEEDED.items() for kind in kinds]
)
def test_missing_record_kind_never_passes(criterion: str, kind: type[Record]) -> None:
    assert judge(FUNCTIONS[criterion], [without(kind)]).status is not Status.PASS


def test_verdict_function_that_raises_is_inconclusive() -> None:
    def broken(_records: Records) -> Verdict:
        raise ZeroDivisionError("bug")

    said = judge(broken, [healthy()])
    assert said.status is Status.INCONCLUSIVE
    assert "ZeroDivisionError: bug" in said.reason


def few_cycles(generations: int, failed: int) -> list[Timed]:
    work = workload("w", 0, 60, generations=generations)
    records = [r for r in ledger(work) if isinstance(r, Generation)]
    return [
        (T0, work),
        (T0, Fallback(workload="w", count=0, generations=(), at=())),
        *((T0, dataclasses.replace(r, failed=int(r.generation < failed))) for r in records),
    ]


@pytest.mark.parametrize(
    ("generations", "failed", "status", "needs"),
    [
        (59, 0, Status.PASS, ""),
        (58, 0, Status.INCONCLUSIVE, "1 more cycle,"),
        (93, 1, Status.PASS, ""),
        (92, 1, Status.INCONCLUSIVE, "1 more cycle,"),
        (19, 1, Status.INCONCLUSIVE, "74 more cycles"),
        (20, 2, Status.INCONCLUSIVE, "104 more cycles"),
        (40, 6, Status.FAIL, ""),
        (3, 3, Status.FAIL, ""),
    ],
)
def test_cycle_counts_decide(generations: int, failed: int, status: Status, needs: str) -> None:
    said = verdict("cycle_completion", few_cycles(generations, failed))
    assert said.status is status, said
    assert needs in said.needs


def test_cycles_of_a_crashed_workload_fail() -> None:
    work = workload("w", 0, 60, generations=100, exit_code=-9)
    kept = [r for r in ledger(work) if isinstance(r, Generation) and r.generation < 70]
    said = verdict("cycle_completion", [(T0, work), *((T0, r) for r in kept)])
    assert said.status is Status.FAIL
    assert "70 of 100" in said.reason


def moved_here(share: float, **changes: object) -> list[Timed]:
    """The healthy record, in which this machine did a share of each cluster workload."""

    def edit(record: Record) -> Record:
        assert isinstance(record, Fallback)
        local = tuple(range(round(share * planned[record.workload])))
        at = tuple(began[record.workload] + 1.0 for _ in range(int(bool(local))))
        return dataclasses.replace(
            record, **{"count": len(at), "generations": local, "at": at, **changes}
        )

    works = [r for _, r in passing() if isinstance(r, Workload)]
    planned = {work.id: work.generations for work in works}
    began = {work.id: work.started_at for work in works}
    return change(passing(), Fallback, edit)


@pytest.mark.parametrize(("share", "status"), [(0.0, "PASS"), (0.5, "FAIL"), (1.0, "FAIL")])
def test_generations_done_here_are_failed_cycles(share: float, status: str) -> None:
    assert verdict("cycle_completion", moved_here(share)).status == status


def test_generation_done_here_has_no_time() -> None:
    healthy = verdict("generation_time", moved_here(0.0))
    some = verdict("generation_time", moved_here(0.5))
    none = verdict("generation_time", moved_here(1.0))
    assert [v.status for v in (healthy, some, none)] == ["PASS", "INCONCLUSIVE", "INCONCLUSIVE"]
    assert "this machine did 3" in some.reason
    # Only the generations of the cluster have a time that counts.
    assert none.interval is None


@pytest.mark.parametrize("criterion", ["cycle_completion", "generation_time"])
def test_unknown_place_of_generations_is_no_pass(criterion: str) -> None:
    found = verdict(criterion, moved_here(0.0, generations=None))
    assert found.status is Status.INCONCLUSIVE
    assert "not known which generations the cluster did" in found.reason


def test_slow_but_uncertain_recoveries_are_inconclusive() -> None:
    factor = iter([1.0, 9.0, 1.2, 10.0, 1.0])
    events = change(
        HEALTHY,
        Recovery,
        lambda r: dataclasses.replace(r, node_back_s=r.node_back_s * next(factor)),  # type: ignore[attr-defined]
    )
    said = verdict("worker_recovery", events)
    assert said.status is Status.INCONCLUSIVE
    assert "5 of 5 show only P(recovery < 120 s) > 55 %" in said.reason


def test_good_reading_needs_no_excuse() -> None:
    events = change(
        HEALTHY,
        Scrape,
        lambda r: dataclasses.replace(r, excused=r.excused or r.target == "node-4"),  # type: ignore[attr-defined]
    )
    assert "node-4: 0 readings" in verdict("prometheus_collection", events).reason
    few = [
        (at, dataclasses.replace(r, excused=True))
        if isinstance(r, Scrape) and r.up and at < T0 + 20
        else (at, r)
        for at, r in HEALTHY
    ]
    assert verdict("prometheus_collection", few).status is Status.PASS


@pytest.mark.parametrize(("confirmed", "status"), [(True, Status.PASS), (False, Status.FAIL)])
def test_receipt_excuses_prometheus_downtime(confirmed: bool, status: Status) -> None:
    events = [
        (at, dataclasses.replace(r, up=False, age_s=None, excused=False))
        if isinstance(r, Scrape) and T0 + 300 <= at <= T0 + 310
        else (at, r)
        for at, r in passing()
    ]
    events += [
        (T0 + 299, receipt("kill", "prometheus", T0 + 299, None, confirmed=confirmed)),
        (T0 + 311, receipt("start", "prometheus", T0 + 311, None, confirmed=confirmed)),
    ]
    assert verdict("prometheus_collection", events).status is status


def test_service_kill_is_no_node_kill() -> None:
    """Nor does it need a recovery of its own."""
    events = change(
        passing(),
        Fault,
        lambda r: (
            dataclasses.replace(r, target="postgres")
            if isinstance(r, Fault) and r.fault == "kill"
            else r
        ),
    )
    assert verdict("no_data_loss", events).status is Status.INCONCLUSIVE
    more = [*passing(), (T0 + 240, receipt("kill", "postgres", T0 + 235, "recovery-4"))]
    assert verdict("worker_recovery", more).status is Status.PASS


def test_two_runs_are_pooled() -> None:
    """Names repeat between runs: nothing of one run may be taken for the other's."""
    runs = [healthy(1, run="a"), healthy(2, run="b")]
    for criterion in MEASURED:
        said = judge(FUNCTIONS[criterion], runs)
        assert said.status is Status.PASS, said


def test_recovery_of_a_failed_run_fails() -> None:
    events = change(
        HEALTHY,
        Workload,
        lambda r: (
            dataclasses.replace(r, exit_code=1)
            if isinstance(r, Workload) and r.purpose == "recovery"
            else r
        ),
    )
    said = verdict("worker_recovery", events)
    assert said.status is Status.FAIL
    assert "the run ended with exit status 1" in said.reason


def test_one_receipt_proves_one_recovery() -> None:
    work = workload("recovery-9", 600, 30, purpose="recovery")
    events = [*HEALTHY, (T0 + 600, receipt("kill", "node-1", T0 + 605, work.id))]
    events += [(T0 + 630, recovery(work, "node-1", T0 + 605, 9.0))] * 2
    said = verdict("worker_recovery", events)
    assert said.status is Status.INCONCLUSIVE
    assert "no receipt" in said.reason
