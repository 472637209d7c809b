"""Genome: one family with one value for each of its genes."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from struct import Struct
from typing import NamedTuple


class Genome(NamedTuple):
    """One candidate strategy. Immutable: children never alias their parents.

    A tuple, like an outcome: a run makes and sends so many that dataclasses would take more than a
    fifth of the time of the backtests.
    """

    family: str
    genes: tuple[float, ...]
    """One value per gene in the family's order; integer genes contain whole floats."""

    @property
    def packed(self) -> bytes:
        """The family and the exact bits of the genes."""
        name, bits = _packing(self.family, len(self.genes))
        return name + bits.pack(*self.genes)

    @property
    def hash(self) -> str:
        """SHA-256 of ``packed``."""
        return hashlib.sha256(self.packed).hexdigest()


def family_prefix(family: str) -> bytes:
    """What ``packed`` begins with."""
    return family.encode() + b"\x00"


@lru_cache(maxsize=64)
def _packing(family: str, genes: int) -> tuple[bytes, Struct]:
    return family_prefix(family), Struct(f"<{genes}d")
