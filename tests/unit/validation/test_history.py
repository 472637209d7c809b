"""Every individual has one fate, lost and doubled ones are named, and unknown fates never pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.evidence_builders import change, evidence, healthy, passing
from tests.support.evidence_records import T0, Timed, ledger, receipt, workload
from validation.criteria.no_data_loss import no_data_loss
from validation.criteria.worker_recovery import worker_recovery
from validation.evidence.operations import (
    Fate,
    classify_individuals,
    format_ranges,
    operations,
    parse_ranges,
)
from validation.evidence.records import Fault, Gap, Invocation, Note, Workload
from validation.evidence.records_ledger import Audit, Individuals
from validation.verdict import InconclusiveError, Status, Verdict, judge

SIZE, GENERATIONS = 6, 3
WORK = workload("w", 10, 30, population_size=SIZE, generations=GENERATIONS)
CALL = Invocation(workload="w", population_size=SIZE, generations=GENERATIONS)


def held(generation: int, found: str = "0-5", again: str = "", promised: bool = True) -> Timed:
    record = Individuals(
        workload="w", generation=generation, acknowledged=promised, found=found, again=again
    )
    return T0 + 41, record


def record(*events: Timed, work: Workload | None = WORK) -> list[Timed]:
    """One workload, a node killed in it, and what the ledger held of it."""
    begun: list[Timed] = [(T0 + 10, CALL), (T0 + 15, receipt("kill", "node-2", T0 + 15, "w"))]
    ended: list[Timed] = [] if work is None else [(T0 + 40, work)]
    return [*begun, *ended, *events]


def audit(**changes: object) -> Timed:
    whole = next(r for r in ledger(WORK) if isinstance(r, Audit))
    return T0 + 42, dataclasses.replace(whole, **changes)


def said(events: Sequence[Timed]) -> Verdict:
    return judge(no_data_loss, [evidence(events)])


def counted(events: Sequence[Timed]) -> dict[Fate, int]:
    (operation,) = operations(evidence(events))
    return {fate: n for fate, n in classify_individuals(operation).counts.items() if n}


WHOLE = record(*(held(g) for g in range(GENERATIONS)), audit())


def test_complete_history_passes() -> None:
    verdict = said(WHOLE)
    assert verdict.status is Status.PASS, verdict
    assert verdict.measured == "18 committed, 0 lost, 0 doubled, 0 unknown"


def test_lost_individual_is_named_with_its_fault() -> None:
    verdict = said(record(held(0), held(1, "0-2,4-5"), held(2), audit(committed=17, lost=1)))
    assert verdict.status is Status.FAIL
    assert (
        "lost: generation 1 index 3 (acknowledged, but not in the ledger; after kill of node-2)"
        in (verdict.reason)
    )
    assert "17 committed, 1 lost" in verdict.measured


def test_repeated_or_unplanned_individual_is_doubled() -> None:
    verdict = said(record(held(0, again="4"), held(1, "0-6"), held(2), held(3, "0"), audit()))
    assert verdict.status is Status.FAIL
    for name in ("generation 0 index 4", "generation 1 index 6", "generation 3 index 0"):
        assert f"doubled: {name}" in verdict.reason


def test_unacknowledged_individual_is_unknown() -> None:
    crashed = dataclasses.replace(WORK, exit_code=-9, digest=None)
    events = record(held(0), held(1), held(2, "", promised=False), work=crashed)
    assert counted(events) == {Fate.COMMITTED: 12, Fate.UNKNOWN: 6}


@pytest.mark.parametrize("gap", [True, False])
def test_unknown_outcome_passes_only_with_gap(gap: bool) -> None:
    away = (T0 + 500, Gap(begin=T0 + 99, end=T0 + 500, reason="the soak was killed"))
    call = dataclasses.replace(CALL, workload="x")
    verdict = said([*WHOLE, (T0 + 90, call), *([away] if gap else []), (T0 + 600, Note(text=""))])
    assert verdict.status is (Status.PASS if gap else Status.INCONCLUSIVE)
    assert "18 unknown" in verdict.measured


def test_gap_before_invocation_explains_nothing() -> None:
    away = (T0 + 50, Gap(begin=T0 + 45, end=T0 + 50, reason="the soak was killed"))
    call = dataclasses.replace(CALL, workload="x")
    assert said([*WHOLE, away, (T0 + 90, call)]).status is Status.INCONCLUSIVE


def test_unread_ledger_leaves_all_unknown() -> None:
    assert counted(record()) == {Fate.UNKNOWN: 18}
    assert said(record()).status is Status.INCONCLUSIVE


def test_audit_counts_replace_missing_places() -> None:
    assert counted(record(audit())) == {Fate.COMMITTED: 18}
    assert counted(record(audit(committed=17, lost=1))) == {Fate.COMMITTED: 17, Fate.LOST: 1}
    assert counted(record(audit(doubled=2))) == {Fate.COMMITTED: 18, Fate.DOUBLED: 2}


@pytest.mark.parametrize(
    "events",
    [
        record(held(0), held(1), audit()),  # places of two generations, counts of three
        [*WHOLE, (T0 + 10, CALL)],
        [*WHOLE, held(1)],
        [*WHOLE, audit()],
        change(WHOLE, Invocation, lambda r: dataclasses.replace(r, generations=4)),
        change(WHOLE, Individuals, lambda r: dataclasses.replace(r, found="0-x")),
        change(WHOLE, Individuals, lambda r: dataclasses.replace(r, workload="y")),
    ],
)
def test_contradictory_record_is_inconclusive(events: list[Timed]) -> None:
    verdict = said(events)
    assert verdict.status is Status.INCONCLUSIVE, verdict
    assert "the verdict function failed" not in verdict.reason


@given(places=st.sets(st.integers(0, 60)))
def test_places_are_written_and_read(places: set[int]) -> None:
    assert format_ranges(parse_ranges(sorted(places))) == sorted(places)


@pytest.mark.parametrize("text", ["x", "1-", "-3", "1,,2", "1-x", "½"])
def test_unreadable_places_are_refused(text: str) -> None:
    with pytest.raises(InconclusiveError):
        assert format_ranges(text) is None


@given(
    copies=st.lists(
        st.lists(st.integers(0, 2), min_size=SIZE + 1, max_size=SIZE + 1),
        min_size=GENERATIONS + 1,
        max_size=GENERATIONS + 1,
    ),
    promised=st.lists(st.booleans(), min_size=GENERATIONS + 1, max_size=GENERATIONS + 1),
    finished=st.booleans(),
)
def test_every_individual_has_exactly_one_fate(
    copies: list[list[int]], promised: list[bool], finished: bool
) -> None:
    """Any ledger, against a count done individual by individual."""
    wanted = dict.fromkeys(Fate, 0)
    for generation, row in enumerate(copies):
        for index, n in enumerate(row):
            if generation >= GENERATIONS or index >= SIZE:
                wanted[Fate.DOUBLED] += n > 0
            elif n == 0:
                wanted[Fate.LOST if finished or promised[generation] else Fate.UNKNOWN] += 1
            else:
                wanted[Fate.COMMITTED if n == 1 else Fate.DOUBLED] += 1
    events = record(
        *(
            held(
                generation,
                parse_ranges([i for i, n in enumerate(row) if n]),
                parse_ranges([i for i, n in enumerate(row) if n > 1]),
                promised[generation],
            )
            for generation, row in enumerate(copies)
        ),
        work=WORK if finished else dataclasses.replace(WORK, exit_code=-9),
    )
    assert counted(events) == {fate: n for fate, n in wanted.items() if n}
    verdict = said(events)
    if wanted[Fate.LOST] or wanted[Fate.DOUBLED]:
        assert verdict.status is Status.FAIL
    elif wanted[Fate.UNKNOWN]:
        assert verdict.status is not Status.PASS


def test_faults_belong_to_their_operation() -> None:
    found = {o.id: len(o.faults) for o in operations(healthy())}
    assert found["recovery-1"] == 2
    assert found["speedup-0-local"] == 0
    during = [f for f in healthy().all(Fault) if f.workload is not None]
    assert sum(found.values()) == len(during)


@pytest.mark.parametrize("gap", [True, False])
def test_gap_explains_an_unobserved_recovery(gap: bool) -> None:
    call = Invocation(workload="cut", population_size=SIZE, generations=GENERATIONS)
    killed = receipt("kill", "node-1", T0 + 640, "cut")
    away = (T0 + 900, Gap(begin=T0 + 650, end=T0 + 900, reason="the soak was killed"))
    events = [*passing(), (T0 + 635, call), (T0 + 640, killed), *([away] if gap else [])]
    events.append((T0 + 200_000, Note(text="end")))
    verdict = judge(worker_recovery, [evidence(events)])
    assert verdict.status is (Status.PASS if gap else Status.INCONCLUSIVE), verdict


@pytest.mark.parametrize("later", [False, True])
def test_gap_explains_only_the_preceding_workload(later: bool) -> None:
    """Its audit could not be written down; that of one before could have been."""
    whole = workload("cut", 1000, 10, population_size=SIZE, generations=GENERATIONS)
    events = [
        *passing(),
        (T0 + 1000, Invocation(workload="cut", population_size=SIZE, generations=GENERATIONS)),
        (T0 + 1011, whole),
        (T0 + 1260, Gap(begin=T0 + 1020, end=T0 + 1260, reason="the soak was killed")),
    ]
    if later:
        other = Invocation(workload="next", population_size=SIZE, generations=GENERATIONS)
        events.append((T0 + 1015, other))
    events.append((T0 + 200_000, Note(text="end")))
    verdict = judge(no_data_loss, [evidence(events)])
    assert verdict.status is (Status.INCONCLUSIVE if later else Status.PASS), verdict
