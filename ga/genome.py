"""Genome: one family with one value for each of its genes."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Genome:
    """One candidate strategy. Immutable: children never alias their parents."""

    family: str
    genes: tuple[float, ...]
    """One value a gene in the family's order; whole-number genes hold whole floats."""

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the family and the exact bits of the genes."""
        packed = struct.pack(f"<{len(self.genes)}d", *self.genes)
        return hashlib.sha256(self.family.encode() + b"\x00" + packed).hexdigest()
