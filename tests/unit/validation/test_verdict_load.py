"""Clusters that grow, nodes that are taken away, many individuals, and many users."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import pytest

from tests.support.evidence_builders import change, evidence, passing
from tests.support.evidence_records import Timed
from validation.criteria.autoscaling import autoscaling
from validation.criteria.population_load import population_load
from validation.criteria.preemption import preemption
from validation.criteria.service_load import service_load
from validation.evidence.base import Record
from validation.evidence.records import Fault, Usage, Workload
from validation.evidence.records_ledger import Audit, Generation
from validation.evidence.records_load import Load, Scaling, ServiceRestart
from validation.evidence.records_network import Drain
from validation.verdict import Status, Verdict, VerdictFunction, judge

HEALTHY = passing()
FAIL, OPEN = Status.FAIL, Status.INCONCLUSIVE
Edit = Callable[[Record], Record | None]


def said(verdict: VerdictFunction, kind: type[Record], edit: Edit) -> Verdict:
    return judge(verdict, [evidence(change(HEALTHY, kind, edit))])


def of(which: str, /, **changes: object) -> Edit:
    """Change the workload of a purpose."""

    def edit(record: Record) -> Record:
        assert isinstance(record, Workload)
        return dataclasses.replace(record, **changes) if record.purpose == which else record

    return edit


def audit_of(workload: str, **changes: object) -> Edit:
    def edit(record: Record) -> Record:
        assert isinstance(record, Audit)
        return dataclasses.replace(record, **changes) if record.workload == workload else record

    return edit


def to(**changes: object) -> Edit:
    return lambda record: dataclasses.replace(record, **changes)


def gone(_: Record) -> None:
    return None


@pytest.mark.parametrize(
    ("kind", "edit", "status", "words"),
    [
        (Scaling, gone, OPEN, "no autoscaling run"),
        (Scaling, to(up_s=None, peak=2), FAIL, "2 of 3 nodes were up"),
        (Scaling, to(up_s=121.0), FAIL, "until all nodes were up"),
        (Scaling, to(down_s=None), FAIL, "more than 1 node"),
        (Scaling, to(before=2), OPEN, "began with 2 nodes"),
        (Scaling, to(most=1), OPEN, "began with"),
        (Workload, of("autoscaling", exit_code=1, error="lost"), FAIL, "exit status 1"),
        (Workload, of("autoscaling", digest="b" * 64), FAIL, "another digest"),
        (Workload, of("reproducibility", exit_code=1), OPEN, "no undisturbed run"),
        (Audit, audit_of("autoscaling", lost=1), FAIL, "individuals committed"),
    ],
)
def test_autoscaling(kind: type[Record], edit: Edit, status: Status, words: str) -> None:
    found = said(autoscaling, kind, edit)
    assert found.status is status
    assert words in found.reason


def no_kill(record: Record) -> Record | None:
    assert isinstance(record, Fault)
    return None if record.fault == "kill" and record.workload == "preemption" else record


@pytest.mark.parametrize(
    ("kind", "edit", "status", "words"),
    [
        (Drain, gone, OPEN, "no node was drained"),
        (Drain, to(accepted=False, detail="busy"), OPEN, "not reported as draining (busy)"),
        (Drain, to(confirmed=False), OPEN, "not reported as draining"),
        (Drain, to(target="node-1"), OPEN, "no receipt that node-1 was killed"),
        (Drain, to(requested_at=4e9), OPEN, "had ended before the deadline"),
        (Workload, of("preemption", finished_at=1.0), OPEN, "had ended before the deadline"),
        (Workload, of("preemption", finished_at=1.0, digest="b" * 64), FAIL, "another digest"),
        (Fault, no_kill, OPEN, "no receipt"),
        (Audit, audit_of("preemption", doubled=1), FAIL, "individuals committed"),
        (Workload, of("preemption", exit_code=1), FAIL, "exit status 1"),
    ],
)
def test_preemption(kind: type[Record], edit: Edit, status: Status, words: str) -> None:
    found = said(preemption, kind, edit)
    assert found.status is status
    assert words in found.reason


def tried_again(events: Sequence[Timed], **second: object) -> list[Timed]:
    """The same preemption twice, the first drain without confirmation."""
    found: list[Timed] = []
    for at, record in events:
        if getattr(record, "workload", getattr(record, "id", None)) != "preemption":
            found.append((at, record))
            continue
        first = record
        if isinstance(record, Drain) or (isinstance(record, Fault) and record.fault == "drain"):
            first = dataclasses.replace(record, confirmed=False)
        found.append((at, first))
        name = {"id" if isinstance(record, Workload) else "workload": "preemption-2"}
        times = {
            field.name: getattr(record, field.name) + 100
            for field in dataclasses.fields(record)
            if field.name in ("requested_at", "confirmed_at", "started_at", "finished_at")
        }
        more = second if isinstance(record, Drain) else {}
        found.append((at + 100, dataclasses.replace(record, **name, **times, **more)))
    return found


def test_drain_tried_again_counts_once_confirmed() -> None:
    assert judge(preemption, [evidence(tried_again(HEALTHY))]).status is Status.PASS
    # Until it is confirmed, nothing is shown.
    twice = change(tried_again(HEALTHY), Drain, to(confirmed=False))
    twice = change(twice, Fault, lambda f: dataclasses.replace(f, confirmed=f.fault != "drain"))
    found = judge(preemption, [evidence(twice)])
    assert (found.status, "not reported as draining" in found.reason) == (OPEN, True)
    # A run that had ended before the deadline is no finding next to one that had not.
    early = change(tried_again(HEALTHY), Drain, to(confirmed=True))
    early = change(early, Workload, ended_early)
    assert judge(preemption, [evidence(early)]).status is Status.PASS


def ended_early(record: Record) -> Record:
    assert isinstance(record, Workload)
    return dataclasses.replace(record, finished_at=1.0) if record.id == "preemption" else record


def without_largest(record: Record) -> Record | None:
    assert isinstance(record, Generation)
    return None if record.workload == "population-2000" else record


def slow(record: Record) -> Record:
    assert isinstance(record, Generation)
    return dataclasses.replace(record, seconds=301.0) if "population" in record.workload else record


@pytest.mark.parametrize(
    ("kind", "edit", "status", "words"),
    [
        (Workload, of("population", purpose="speedup"), OPEN, "0 populations"),
        (Workload, of("population", population_size=499), OPEN, ""),
        (Usage, gone, OPEN, "the nodes' memory was not read"),
        (Generation, slow, FAIL, "a generation took"),
        (Generation, gone, OPEN, "population-500: 0 of 1 generation timed"),
        (Generation, without_largest, OPEN, "population-2000: 0 of 1 generation timed"),
        (Audit, audit_of("population-2000", committed=1999), FAIL, "1999 of 2000"),
        (Audit, audit_of("population-500", recomputed_digest="c" * 64), FAIL, "another digest"),
    ],
)
def test_population_load(kind: type[Record], edit: Edit, status: Status, words: str) -> None:
    found = said(population_load, kind, edit)
    assert found.status in (status, FAIL) if not words else found.status is status
    assert words in found.reason


@pytest.mark.parametrize(
    ("kind", "edit", "status", "words"),
    [
        (Load, gone, OPEN, "no load"),
        (Load, to(reads=(0.001,) * 58), OPEN, "only 58 reads"),
        (Load, to(reads=(0.001,) * 900 + (0.2,) * 100), FAIL, "p95 of reads is at least 200 ms"),
        (Load, to(reads=(0.001,) * 950 + (0.2,) * 50), OPEN, "p95 of reads may be 200 ms"),
        (Load, to(errors=("GET /x: HTTP 500, 1 times",)), FAIL, "HTTP 500"),
        (Load, to(users=49), OPEN, "49 users, not 50"),
        (Load, to(generator_share=0.95), OPEN, "be the bottleneck"),
        (Load, to(generator_share=0.95, reads=(0.2,) * 900), OPEN, "be the bottleneck"),
        (Load, to(others_cores=1.5, reads=(0.2,) * 900), OPEN, "other work used 1.5 cores"),
        (Load, to(others_cores=1.5, errors=("GET /x: HTTP 500",)), FAIL, "HTTP 500"),
        (Load, to(streams=0), OPEN, "no event stream"),
        (ServiceRestart, gone, OPEN, "no service was killed"),
        (ServiceRestart, to(killed=False), OPEN, "no service was killed"),
        (ServiceRestart, to(open_at_kill=0), OPEN, "no service was killed"),
        (ServiceRestart, to(finished=19, lost=1), FAIL, "1 of 20 accepted runs lost"),
        (ServiceRestart, to(finished=19, failed=1), FAIL, "1 of 20 accepted runs failed"),
        (ServiceRestart, to(finished=18), FAIL, "2 of 20 accepted runs did not end"),
        (ServiceRestart, to(differing=1), FAIL, "another history"),
    ],
)
def test_service_load(kind: type[Record], edit: Edit, status: Status, words: str) -> None:
    found = said(service_load, kind, edit)
    assert found.status is status
    assert words in found.reason


def test_all_four_pass_together() -> None:
    events: list[Timed] = HEALTHY
    for function in (autoscaling, preemption, population_load, service_load):
        assert judge(function, [evidence(events)]).status is Status.PASS
