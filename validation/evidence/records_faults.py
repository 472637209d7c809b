"""Records of the effect of a fault, in addition to the receipts of it and its undo."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import NonNegativeFloat

from validation.evidence.base import Record


@dataclass(frozen=True, kw_only=True)
class Phases(Record):
    """A fault of a schedule from beginning to end, in seconds since its request."""

    KIND = "phases"
    workload: str
    fault: str
    target: str
    asked_at: NonNegativeFloat
    """Unix seconds."""
    confirmed_s: NonNegativeFloat
    """Until it was confirmed from outside."""
    noticed_s: NonNegativeFloat | None
    """Until the cluster reported the node as gone, polled four times a second while no other fault
    is being undone. ``None``: not observed, or the target is a service.
    """
    undo_s: NonNegativeFloat
    """Seconds until its undo was requested, or until a fault with a fixed duration ended."""
    undone_s: NonNegativeFloat
    """Until the undo was confirmed from outside."""
    back_s: NonNegativeFloat | None
    """Until the node was alive in the cluster, or the service answered; ``None``: not within the
    waiting time.
    """
