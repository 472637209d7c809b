"""A stack's receipts: as evidence, and what the cluster has noticed of a fault."""

from __future__ import annotations

from evolution_gate.fixtures.protocols import Receipt, Stack
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


def lost(stack: Stack, node: str, killed: Receipt) -> bool:
    """Whether the control service has given up the killed incarnation of a node.

    Where something else than the gate replaces it, the next one may be there already.
    """
    ids = stack.alive_ids().get(node, frozenset())
    known = killed.before.get("node_id")
    return not ids if known is None else known not in ids
