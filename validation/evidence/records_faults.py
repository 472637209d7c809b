"""Records of the effect of a fault, in addition to the receipts of it and its undo."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import NonNegativeFloat

from validation.evidence.base import Record


@dataclass(frozen=True, kw_only=True)
class Phases(Record):
    """A fault of a schedule from beginning to end, in seconds since it was asked for."""

    KIND = "phases"
    workload: str
    fault: str
    target: str
    asked_at: NonNegativeFloat
    """Unix seconds."""
    confirmed_s: NonNegativeFloat
    """Until it was seen from outside."""
    noticed_s: NonNegativeFloat | None
    """Until the cluster was seen to have the node for gone, looked at four times a second while no
    other fault is being undone; ``None``: it was not seen, or the target is a service."""
    undo_s: NonNegativeFloat
    """Seconds until its undo was requested, or until a fault with a fixed duration ended."""
    undone_s: NonNegativeFloat
    """Until the undo was seen from outside."""
    back_s: NonNegativeFloat | None
    """Until the node was alive in the cluster, or the service answered; ``None``: it did not come
    back while it was waited for."""
