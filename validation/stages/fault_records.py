"""A stack's receipts as evidence."""

from __future__ import annotations

from evolution_gate.fixtures.protocols import Receipt
from validation.evidence.records import Fault


def as_fault(receipt: Receipt, workload: str | None) -> Fault:
    """A receipt as an event of the record."""
    return Fault(
        fault=receipt.fault,
        target=receipt.target,
        requested_at=receipt.requested_at,
        confirmed_at=receipt.confirmed_at,
        confirmed=receipt.confirmed,
        before=receipt.before,
        after=receipt.after,
        detail=receipt.detail,
        workload=workload,
    )
