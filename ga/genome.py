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

    @property
    def packed(self) -> bytes:
        """The family and the exact bits of the genes."""
        return self.family.encode() + b"\x00" + struct.pack(f"<{len(self.genes)}d", *self.genes)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of ``packed``."""
        return hashlib.sha256(self.packed).hexdigest()
