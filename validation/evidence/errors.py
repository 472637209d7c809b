"""Errors of evidence, in a separate module so that records and files can share them."""

from __future__ import annotations


class EvidenceError(ValueError):
    """The evidence is unusable: damaged, cut, edited, or of another schema."""
