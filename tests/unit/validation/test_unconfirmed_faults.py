"""What a fault without a receipt leaves open."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import pytest

from tests.support.evidence_builders import certificates, change, evidence, passing
from tests.support.evidence_records import NODES, T0, Timed, receipt
from validation.contract import RECEIPTS
from validation.criteria.registry import CRITERIA
from validation.decision import GateResult, decide
from validation.evidence.records import Fault, Workload
from validation.verdict import Status

HEALTHY = passing()


CERTIFIED = certificates(criterion.id for criterion in CRITERIA)


def decided(events: Sequence[Timed]) -> GateResult:
    return decide([evidence(events)], certificates=CERTIFIED)


LAST = max(w.id for _, w in HEALTHY if isinstance(w, Workload) and w.purpose == "recovery")


def unconfirmed(when: Callable[[Fault], bool]) -> GateResult:
    return decided(
        change(HEALTHY, Fault, lambda r: dataclasses.replace(r, confirmed=not when(r)))  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("when", "criteria"),
    [
        (lambda f: f.fault == "drain", {"preemption"}),
        (
            lambda f: f.fault == "kill" and f.workload == LAST,
            {"worker_recovery", "no_data_loss", "reproducibility", "container_stability"},
        ),
        (
            lambda f: f.fault == "start" and f.workload == "preemption",
            {"preemption", "container_stability"},
        ),
    ],
    ids=["drain", "last kill", "start"],
)
def test_unconfirmed_fault_opens_only_what_rests_on_it(
    when: Callable[[Fault], bool], criteria: set[str]
) -> None:
    result = unconfirmed(when)
    (aspect,) = (a for a in result.observer if a.source == RECEIPTS)
    assert aspect.doubts
    assert set(aspect.criteria) == criteria
    for name in criteria:
        assert result.verdict(name).status is not Status.PASS
    opened = {n for n, v in result.verdicts.items() if "has no receipt" in v.reason}
    assert opened <= criteria


def test_fault_tried_again_opens_only_outages() -> None:
    """The kills after it are confirmed; who judges outages has seen one without a receipt."""
    result = unconfirmed(lambda f: f.fault == "kill" and f.workload == "recovery-2")
    (aspect,) = (a for a in result.observer if a.source == RECEIPTS)
    assert aspect.criteria == ("container_stability",)
    for name in ("no_data_loss", "reproducibility", "worker_recovery"):
        assert result.verdict(name).status is Status.PASS
    assert result.verdict("worker_recovery").measured.endswith("slowest of 4")


def test_unconfirmed_fault_of_unknown_workload_opens_all() -> None:
    lost = receipt("kill", NODES[0], T0 + 320, "nothing", confirmed=False)
    events = sorted([*HEALTHY, (T0 + 320, lost)], key=lambda event: event[0])
    (aspect,) = (a for a in decided(events).observer if a.source == RECEIPTS)
    assert set(aspect.criteria) == {c.id for c in CRITERIA if RECEIPTS in c.trusts}
