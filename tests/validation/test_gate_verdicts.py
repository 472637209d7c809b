"""A verdict passes on proof, fails on a proven miss, and is INCONCLUSIVE on everything else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from evidence_builders import Timed, evidence, passing
from hypothesis import given, settings
from hypothesis import strategies as st

from validation.criteria import CRITERIA
from validation.gate import Decision, decide
from validation.records import (
    AlertWatch,
    Audit,
    CpuWindow,
    Fault,
    Generation,
    MemoryFailure,
    Notification,
    Panel,
    Probe,
    Record,
    Recovery,
    Scrape,
    Usage,
    Workload,
)
from validation.verdicts import Status

IDS = [
    "uptime",
    "worker_recovery",
    "dashboard",
    "cycle_completion",
    "generation_time",
    "speedup",
    "prometheus_collection",
    "grafana_functional",
    "container_stability",
    "cpu_efficiency",
    "memory_stability",
    "network_latency",
    "cost_per_day",
    "no_data_loss",
    "reproducibility",
    "alerting",
    "rollback",
    "autoscaling",
    "preemption",
    "backup_restore",
    "population_load",
    "service_load",
    "exposure",
    "bad_input",
]
MEASURED = [c.id for c in CRITERIA if c.measured]
KINDS: list[type[Record]] = [
    AlertWatch,
    Audit,
    CpuWindow,
    Fault,
    Generation,
    Notification,
    Panel,
    Probe,
    Recovery,
    Scrape,
    Usage,
    Workload,
]


def status(criterion: str, events: list[Timed]) -> Status:
    return decide([evidence(events)]).verdict(criterion).status


def change(
    events: list[Timed], kind: type[Record], when: Callable[[Any], bool] | None = None, **to: object
) -> list[Timed]:
    """The first record of a kind that fits, altered."""
    done = False
    changed: list[Timed] = []
    for at, record in events:
        if not done and isinstance(record, kind) and (when is None or when(record)):
            record, done = dataclasses.replace(record, **to), True
        changed.append((at, record))
    assert done
    return changed


def change_all(
    events: list[Timed], kind: type[Record], to: Callable[[Any], dict[str, object]]
) -> list[Timed]:
    return [(at, dataclasses.replace(r, **to(r)) if isinstance(r, kind) else r) for at, r in events]


def distributed(record: Workload) -> bool:
    return record.arm == "distributed"


def test_ids_are_those_of_the_plan() -> None:
    assert [c.id for c in CRITERIA] == IDS
    assert len(MEASURED) == 15


@pytest.mark.parametrize("criterion", IDS)
def test_a_healthy_record_passes_what_is_measured(criterion: str) -> None:
    expected = Status.PASS if criterion in MEASURED else Status.INCONCLUSIVE
    assert status(criterion, passing()) is expected


@pytest.mark.parametrize("criterion", IDS)
def test_no_evidence_is_inconclusive(criterion: str) -> None:
    assert status(criterion, []) is Status.INCONCLUSIVE


@given(st.sampled_from(KINDS), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_taking_evidence_away_never_makes_anything_pass(kind: type[Record], seed: int) -> None:
    whole = decide([evidence(passing(seed))])
    less = decide([evidence([e for e in passing(seed) if not isinstance(e[1], kind)])])
    for criterion, verdict in less.verdicts.items():
        if verdict.status is Status.PASS:
            assert whole.verdict(criterion).status is Status.PASS
    assert any(less.verdict(c).status is not Status.PASS for c in MEASURED), (
        f"nothing depends on {kind.__name__}"
    )


def test_an_open_record_proves_nothing() -> None:
    result = decide([dataclasses.replace(evidence(passing()), closed=False)])
    assert {v.status for v in result.verdicts.values()} == {Status.INCONCLUSIVE}


DEFECTS: list[tuple[str, str, list[Timed]]] = [
    ("no_data_loss", "lost", change(passing(), Audit, lost=1, witnesses=("generation 2 index 5",))),
    ("no_data_loss", "doubled", change(passing(), Audit, doubled=1)),
    ("no_data_loss", "failed", change(passing(), Audit, failed=1)),
    ("no_data_loss", "altered", change(passing(), Audit, mismatched=1)),
    ("no_data_loss", "rewritten", change(passing(), Audit, recomputed_digest="b" * 64)),
    ("reproducibility", "differs", change(passing(), Workload, distributed, digest="b" * 64)),
    (
        "cycle_completion",
        "one generation in ten has a failure",
        change_all(passing(), Generation, lambda g: {"failed": int(g.generation == 1)}),
    ),
    (
        "generation_time",
        "slow",
        change_all(passing(), Generation, lambda _: {"seconds": 301.0}),
    ),
    (
        "speedup",
        "1.5 x",
        change_all(passing(), Workload, lambda w: {"seconds": 60.0 if w.arm == "local" else 40.0}),
    ),
    ("worker_recovery", "never back", change(passing(), Recovery, node_back_s=None)),
    ("worker_recovery", "never redone", change(passing(), Recovery, first_result_s=None)),
    ("worker_recovery", "late", change(passing(), Recovery, node_back_s=120.0)),
    (
        "cpu_efficiency",
        "idle",
        change_all(
            passing(),
            CpuWindow,
            lambda w: {"used_s": 0.5 * w.allotted_s, "useful_s": 0.4 * w.allotted_s},
        ),
    ),
    ("memory_stability", "killed", change(passing(), Usage, oom_kills=1)),
    (
        "memory_stability",
        "raised",
        [*passing(), (passing()[-1][0], MemoryFailure(workload=None, detail="OutOfMemoryError"))],
    ),
    ("prometheus_collection", "down", change(passing(), Scrape, lambda s: s.up, up=False)),
    ("prometheus_collection", "stale", change(passing(), Scrape, lambda s: s.up, age_s=60.0)),
    ("dashboard", "no answer", change(passing(), Probe, ok=False)),
]


@pytest.mark.parametrize(
    ("criterion", "events"), [d[::2] for d in DEFECTS], ids=[f"{d[0]}-{d[1]}" for d in DEFECTS]
)
def test_a_proven_miss_fails_and_stops_the_gate(criterion: str, events: list[Timed]) -> None:
    result = decide([evidence(events)])
    assert result.verdict(criterion).status is Status.FAIL
    assert result.decision is Decision.NO_GO


DOUBTS: list[tuple[str, str, list[Timed]]] = [
    (
        "worker_recovery",
        "no receipt",
        change(passing(), Fault, lambda f: f.fault == "kill", confirmed=False),
    ),
    (
        "no_data_loss",
        "not audited",
        [e for e in passing() if not (isinstance(e[1], Audit) and e[1].workload == "recovery-1")],
    ),
    (
        "speedup",
        "all local arms first",
        change_all(
            passing(),
            Workload,
            lambda w: {"started_at": w.started_at - 1e4 * (w.arm == "local")},
        ),
    ),
    ("cpu_efficiency", "impossible", change(passing(), CpuWindow, used_s=1e4)),
]


@pytest.mark.parametrize(
    ("criterion", "events"), [d[::2] for d in DOUBTS], ids=[f"{d[0]}-{d[1]}" for d in DOUBTS]
)
def test_doubtful_evidence_never_passes(criterion: str, events: list[Timed]) -> None:
    assert status(criterion, events) is Status.INCONCLUSIVE


def test_a_lost_individual_is_named() -> None:
    verdict = decide([evidence(DEFECTS[0][2])]).verdict("no_data_loss")
    assert "generation 2 index 5" in verdict.reason


@given(st.floats(1.0, 60.0), st.floats(0.02, 0.3))
@settings(max_examples=30, deadline=None)
def test_a_leak_that_would_fill_the_node_never_passes(megabytes: float, noise: float) -> None:
    begin = passing()[0][0]

    def grow(usage: Usage) -> dict[str, object]:
        minutes = (usage.at - begin) / 60
        wobble = noise * 1e6 * ((usage.at * 7919) % 2 - 1)
        return {"memory_bytes": int(300e6 + megabytes * 4e6 * minutes + wobble)}

    assert status("memory_stability", change_all(passing(), Usage, grow)) is not Status.PASS
