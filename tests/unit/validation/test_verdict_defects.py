"""Each planted defect fails its criterion; each hole in the evidence leaves it open."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import pytest

from tests.support.evidence_builders import change, climbing, evidence, passing, slow_cluster
from tests.support.evidence_records import NODES, T0, Timed, receipt, workload
from validation.criteria.registry import CRITERIA
from validation.evidence.base import Record
from validation.evidence.records import (
    CpuWindow,
    Fault,
    MemoryFailure,
    Recovery,
    Usage,
    Workload,
)
from validation.evidence.records_ledger import (
    Audit,
    Fallback,
    Generation,
    LedgerCopy,
    Refusal,
    Restore,
)
from validation.evidence.records_monitoring import Probe, Scrape
from validation.verdict import Status, Verdict, judge

HEALTHY = passing()
FUNCTIONS = {criterion.id: criterion.verdict for criterion in CRITERIA}


def verdict(criterion: str, events: Sequence[Timed]) -> Verdict:
    return judge(FUNCTIONS[criterion], [evidence(events)])


def edited(kind: type[Record], where: Callable[[Record], bool], **changes: object) -> list[Timed]:
    """The healthy record with one matching record changed."""
    left = [True]

    def edit(record: Record) -> Record:
        if left and where(record):
            left.clear()
            return dataclasses.replace(record, **changes)
        return record

    events = change(HEALTHY, kind, edit)
    assert not left, "nothing matched"
    return events


def every(kind: type[Record], where: Callable[[Record], bool], **changes: object) -> list[Timed]:
    """The healthy record with all matching records changed."""
    return change(HEALTHY, kind, lambda r: dataclasses.replace(r, **changes) if where(r) else r)


def scaled(kind: type[Record], **factors: float) -> list[Timed]:
    """The healthy record with fields of all records of a kind multiplied."""
    return change(
        HEALTHY,
        kind,
        lambda r: dataclasses.replace(r, **{k: getattr(r, k) * f for k, f in factors.items()}),
    )


def anything(_record: Record) -> bool:
    return True


def _is(**wanted: object) -> Callable[[Record], bool]:
    return lambda r: all(getattr(r, k) == v for k, v in wanted.items())


DEFECTS: dict[str, tuple[str, list[Timed]]] = {
    "slow recovery": ("worker_recovery", edited(Recovery, anything, node_back_s=120.0)),
    "node never back": ("worker_recovery", edited(Recovery, anything, node_back_s=None)),
    "work never redone": ("worker_recovery", edited(Recovery, anything, first_result_s=None)),
    "dashboard away": (
        "dashboard",
        every(Probe, _is(probe="dashboard"), ok=False, detail="HTTP 500"),
    ),
    "dashboard answers after a minute": (
        "dashboard",
        every(Probe, _is(probe="dashboard"), latency_s=60.0),
    ),
    "generations missing": (
        "cycle_completion",
        change(HEALTHY, Generation, lambda r: None if _is(workload="recovery-1")(r) else r),
    ),
    "individuals failed": (
        "cycle_completion",
        change(
            HEALTHY,
            Generation,
            lambda r: dataclasses.replace(r, failed=1) if _is(workload="recovery-1")(r) else r,
        ),
    ),
    "slow generations": ("generation_time", scaled(Generation, seconds=100)),
    "1.5 x": ("speedup", slow_cluster()),
    "exporter down": (
        "prometheus_collection",
        every(Scrape, _is(excused=False, target="head"), up=False),
    ),
    "stale samples": (
        "prometheus_collection",
        every(Scrape, _is(excused=False, target="head"), age_s=15.1),
    ),
    "idle nodes": ("cpu_efficiency", scaled(CpuWindow, used_s=0.7, useful_s=0.7)),
    "out of memory": ("memory_stability", edited(Usage, anything, oom_kills=1)),
    "hidden out of memory": (
        "memory_stability",
        [*HEALTHY, (T0 + 700, MemoryFailure(workload=None, detail="OutOfMemoryError"))],
    ),
    "leak": ("memory_stability", climbing(60e6, 300)),
    "lost": ("no_data_loss", edited(Audit, anything, lost=1, witnesses=("generation 3 index 9",))),
    "dropped write": ("no_data_loss", edited(Audit, anything, committed=1499)),
    "doubled": ("no_data_loss", edited(Audit, anything, doubled=1)),
    "altered": ("no_data_loss", edited(Audit, anything, mismatched=1)),
    "failed": ("no_data_loss", edited(Audit, anything, failed=1)),
    "rows altered": ("no_data_loss", edited(Audit, anything, recomputed_digest="e" * 64)),
    "crash": (
        "no_data_loss",
        change(
            edited(Workload, _is(id="recovery-1"), exit_code=-9, digest=None),
            Record,
            lambda r: (
                None if isinstance(r, Audit | Generation) and r.workload == "recovery-1" else r
            ),
        ),
    ),
    "other history": ("reproducibility", edited(Workload, _is(id="recovery-1"), digest="b" * 64)),
    "no digest": ("reproducibility", edited(Workload, _is(id="recovery-1"), digest=None)),
    "lost with the cluster": ("rollback", edited(Workload, _is(id="rollback"), exit_code=1)),
    "other history alone": (
        "rollback",
        change(
            edited(Workload, _is(id="rollback"), digest="b" * 64),
            Audit,
            lambda r: (
                dataclasses.replace(r, digest="b" * 64, recomputed_digest="b" * 64)
                if _is(workload="rollback")(r)
                else r
            ),
        ),
    ),
    "individuals lost with the cluster": (
        "rollback",
        edited(Audit, _is(workload="rollback"), committed=1400, lost=100),
    ),
    "restored otherwise": ("backup_restore", edited(Restore, anything, digest_after="f" * 64)),
    "other columns on the cluster": (
        "reproducibility",
        edited(Audit, _is(workload="recovery-1"), content="9" * 64),
    ),
    "another outcome from the cache": (
        "reproducibility",
        edited(Workload, _is(id="reference-served"), digest="9" * 64),
    ),
    "wrong in the same way everywhere": (
        "no_data_loss",
        edited(Audit, anything, independent_differing=1),
    ),
    "an impossible number of attempts": ("no_data_loss", edited(Audit, anything, irregular=2)),
    "rows lost in a backup": ("backup_restore", edited(Restore, anything, individuals_after=5)),
    "a column lost in a backup": (
        "backup_restore",
        edited(LedgerCopy, _is(moment="at rest"), differing=("evaluations.genes: 30 values (k1)",)),
    ),
    "a table lost in a backup": (
        "backup_restore",
        edited(LedgerCopy, _is(copy="postgresql"), differing=("requests: 2 rows missing",)),
    ),
    "damage taken for good": ("backup_restore", edited(Restore, anything, damaged_refused=False)),
    "bad input taken": ("bad_input", edited(Refusal, _is(input="one bar"), exit_code=0)),
    "traceback": ("bad_input", edited(Refusal, _is(input="one bar"), message="close\nclose")),
    "vague refusal": ("bad_input", edited(Refusal, _is(input="one bar"), message="no")),
    "written all the same": ("bad_input", edited(Refusal, anything, ledger_changed=True)),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_defect_fails(defect: str) -> None:
    criterion, events = DEFECTS[defect]
    said = verdict(criterion, events)
    assert said.status is Status.FAIL, said
    assert said.reason


def test_lost_individual_and_workload_are_named() -> None:
    criterion, events = DEFECTS["lost"]
    assert "generation 3 index 9" in verdict(criterion, events).reason
    criterion, events = DEFECTS["other history"]
    assert "recovery-1" in verdict(criterion, events).reason


SPEEDUP_IN_BLOCKS = change(
    HEALTHY,
    Workload,
    lambda r: (
        r
        if r.purpose != "speedup"  # type: ignore[attr-defined]
        else dataclasses.replace(
            r,
            started_at=T0 + 300 + 70 * r.pair + 500 * (r.arm == "distributed"),  # type: ignore[attr-defined]
            finished_at=T0 + 300 + r.seconds + 70 * r.pair + 500 * (r.arm == "distributed"),  # type: ignore[attr-defined]
        )
    ),
)

HOLES: dict[str, tuple[str, list[Timed]]] = {
    "no fall-back": ("rollback", edited(Fallback, _is(count=1), count=0)),
    "head not killed": ("rollback", edited(Fault, _is(target="head"), confirmed=False)),
    "a node not killed": (
        "rollback",
        edited(Fault, _is(workload="rollback", target=NODES[2]), confirmed=False),
    ),
    "cluster killed too late": (
        "rollback",
        edited(Fault, _is(workload="rollback"), requested_at=T0 + 10**6, confirmed_at=T0 + 10**6),
    ),
    "backups at rest only": ("backup_restore", scaled(Restore, while_running=0)),
    "empty backups": (
        "backup_restore",
        scaled(Restore, individuals_before=0, individuals_after=0),
    ),
    "an input not tried": (
        "bad_input",
        change(HEALTHY, Refusal, lambda r: None if _is(input="one bar")(r) else r),
    ),
    "kill without receipt": (
        "worker_recovery",
        # The last one, which was not tried again.
        edited(Fault, _is(fault="kill", workload="recovery-4"), confirmed=False),
    ),
    "kill of another node": ("worker_recovery", edited(Fault, _is(fault="kill"), target="node-4")),
    "receipt of another time": (
        "worker_recovery",
        edited(Fault, _is(fault="kill"), requested_at=T0, confirmed_at=T0 + 1),
    ),
    "kill without recovery": (
        "worker_recovery",
        [*HEALTHY, (T0 + 240, receipt("kill", "node-1", T0 + 235, "recovery-4"))],
    ),
    "short window": (
        "worker_recovery",
        edited(Recovery, anything, node_back_s=None, window_s=60.0),
    ),
    "few recoveries": (
        "worker_recovery",
        change(HEALTHY, Recovery, lambda r: r if _is(workload="recovery-1")(r) else None),
    ),
    "dashboard unwatched": (
        "dashboard",
        [(at, r) for at, r in HEALTHY if not isinstance(r, Probe) or at < T0 + 300],
    ),
    "dashboard excused without receipt": (
        "dashboard",
        edited(Probe, _is(probe="dashboard"), ok=False, excused=True),
    ),
    "arms in blocks": ("speedup", SPEEDUP_IN_BLOCKS),
    "other seed": ("speedup", edited(Workload, _is(id="speedup-1-local"), seed=8)),
    "half a pair": (
        "speedup",
        change(HEALTHY, Workload, lambda r: None if _is(id="speedup-1-local")(r) else r),
    ),
    "an arm of fewer generations": (
        "speedup",
        change(
            HEALTHY,
            Generation,
            lambda r: None if _is(workload="speedup-1-distributed", generation=5)(r) else r,
        ),
    ),
    "one arm crashed": ("speedup", edited(Workload, _is(id="speedup-1-local"), exit_code=1)),
    "generation lost": (
        "generation_time",
        change(
            HEALTHY,
            Generation,
            lambda r: None if _is(workload="speedup-1-distributed", generation=2)(r) else r,
        ),
    ),
    "small populations": ("generation_time", scaled(Generation, individuals=0)),
    "target excused without receipt": (
        "prometheus_collection",
        edited(Scrape, _is(target="head"), up=False, excused=True),
    ),
    "head not scraped": (
        "prometheus_collection",
        change(HEALTHY, Scrape, lambda r: None if _is(target="head")(r) else r),
    ),
    "node not scraped": (
        "prometheus_collection",
        change(HEALTHY, Scrape, lambda r: None if _is(target="node-4")(r) else r),
    ),
    "node not known": (
        "prometheus_collection",
        change(HEALTHY, Record, lambda r: None if "node-4" in vars(r).values() else r),
    ),
    "up without a sample": ("prometheus_collection", edited(Scrape, anything, age_s=None)),
    "more CPU than there is": ("cpu_efficiency", edited(CpuWindow, anything, used_s=1e6)),
    "idle node left out": (
        "cpu_efficiency",
        change(HEALTHY, CpuWindow, lambda r: None if _is(node="node-4")(r) else r),
    ),
    "no limit": (
        "memory_stability",
        change(HEALTHY, Usage, lambda r: dataclasses.replace(r, limit_bytes=None)),
    ),
    "one node unread": (
        "memory_stability",
        change(HEALTHY, Usage, lambda r: None if _is(node="node-4")(r) else r),
    ),
    "audit missing": (
        "no_data_loss",
        change(HEALTHY, Audit, lambda r: None if _is(workload="recovery-1")(r) else r),
    ),
    "only the engine asked again": (
        "no_data_loss",
        change(HEALTHY, Audit, lambda r: dataclasses.replace(r, independent=0)),
    ),
    "audit by an earlier version": ("no_data_loss", edited(Audit, anything, independent=None)),
    "no winner repeated": ("no_data_loss", edited(Audit, anything, winners=0)),
    "nothing served from the cache": (
        "reproducibility",
        edited(Audit, _is(workload="reference-served"), from_cache=0),
    ),
    "only the history's digest known": (
        "reproducibility",
        edited(Audit, anything, content=None),
    ),
    "audit of less": ("no_data_loss", edited(Audit, anything, expected=10, committed=10)),
    "nothing repeated": (
        "no_data_loss",
        change(HEALTHY, Audit, lambda r: dataclasses.replace(r, sampled=0)),
    ),
    "nothing killed": (
        "no_data_loss",
        change(HEALTHY, Fault, lambda r: dataclasses.replace(r, confirmed=False)),
    ),
    "killed too late": (
        "reproducibility",
        change(HEALTHY, Fault, lambda r: dataclasses.replace(r, requested_at=T0 + 9000.0)),
    ),
    "no local history": (
        "reproducibility",
        change(HEALTHY, Workload, lambda r: None if _is(purpose="reproducibility")(r) else r),
    ),
    "one name for two": ("speedup", [*HEALTHY, (T0 + 700, workload("speedup-1-local", 650, 9))]),
}


@pytest.mark.parametrize("hole", HOLES)
def test_missing_evidence_is_inconclusive(hole: str) -> None:
    criterion, events = HOLES[hole]
    said = verdict(criterion, events)
    assert said.status is Status.INCONCLUSIVE, said
    assert "the verdict function failed" not in said.reason


def test_unconfirmed_fault_is_named() -> None:
    assert "unconfirmed" in verdict(*HOLES["kill without receipt"]).reason
