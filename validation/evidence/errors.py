"""Errors of the gate's record. Kept apart so that records and files can share them."""

from __future__ import annotations


class EvidenceError(ValueError):
    """Something that cannot count as evidence: damaged, cut, edited, or of another schema."""
