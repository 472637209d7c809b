"""What the gate makes of the check that every node passes before it gets work."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from tests.support.evidence_builders import evidence, passing
from tests.support.evidence_records import Timed
from validation.criteria.reproducibility import reproducibility
from validation.evidence.base import Record
from validation.evidence.records_ledger import NodeCheck
from validation.verdict import Status


def with_checks(change: Callable[[NodeCheck], NodeCheck | None]) -> list[Timed]:
    changed: list[Timed] = []
    for at, record in passing():
        found: Record | None = change(record) if isinstance(record, NodeCheck) else record
        if found is not None:
            changed.append((at, found))
    return changed


def test_processors_are_named_with_their_nodes() -> None:
    def other(check: NodeCheck) -> NodeCheck:
        if check.node != "10.0.0.2":
            return check
        return dataclasses.replace(check, processor="another one")

    verdict = reproducibility([evidence(with_checks(other))])
    assert verdict.status is Status.PASS
    assert "on a processor (4 nodes), another one (1 node)" in verdict.reason


def test_node_with_other_bits_fails() -> None:
    def odd(check: NodeCheck) -> NodeCheck:
        if check.node != "10.0.0.2":
            return check
        return dataclasses.replace(check, refused="computes rsi_filter to other bits")

    verdict = reproducibility([evidence(with_checks(odd))])
    assert verdict.status is Status.FAIL
    assert "node 10.0.0.2 (a processor) gets no work: computes rsi_filter" in verdict.reason


@pytest.mark.parametrize("which", ["local", "10.0.0."])
def test_workload_on_unchecked_nodes_proves_nothing(which: str) -> None:
    gone = with_checks(lambda c: None if c.node.startswith(which) else c)
    verdict = reproducibility([evidence(gone)])
    assert verdict.status is Status.INCONCLUSIVE
    assert "the processor of every node" in (verdict.needs or "")
