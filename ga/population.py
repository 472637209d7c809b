"""A generation's genomes as arrays, without a Python object for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from ga.evaluation.settings import Outcome, Settings, key_prefix
from ga.families import get_family
from ga.genome import Genome, family_prefix
from ga.hashing import DIGEST, Octets, sha256_of_rows
from ga.operators import Floats, Ints

_HEX: Final = 2 * DIGEST


@dataclass(frozen=True, eq=False, kw_only=True)
class Population:
    """The genomes of a generation, in index order."""

    names: tuple[str, ...]
    """The names of the families."""
    families: Ints
    """(N,) the number of each genome's family."""
    genes: Floats
    """(N, G) the genes, in a row as many as the family has; the others have no meaning."""

    @classmethod
    def of(cls, names: Sequence[str], genomes: Sequence[Genome], width: int) -> Population:
        """The arrays of genome objects with at most ``width`` genes."""
        numbers = {name: number for number, name in enumerate(names)}
        genes = np.zeros((len(genomes), width))
        for row, genome in zip(genes, genomes, strict=True):
            row[: len(genome.genes)] = genome.genes
        families = np.array([numbers[genome.family] for genome in genomes], np.int64)
        return cls(names=tuple(names), families=families, genes=genes)

    def __len__(self) -> int:
        return self.families.size

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """The number of genes of each family."""
        return tuple(len(get_family(name).genes) for name in self.names)

    @cached_property
    def genomes(self) -> tuple[Genome, ...]:
        """An object for each genome; equal genomes may have several indices."""
        return tuple(self.some(slice(None)))

    def some(self, rows: Ints | slice) -> list[Genome]:
        """Objects for some genomes."""
        names, counts = self.names, self.counts
        return [
            Genome._make((names[number], tuple(row[: counts[number]])))
            for number, row in zip(
                self.families[rows].tolist(), self.genes[rows].tolist(), strict=True
            )
        ]

    def keys(self, market_hash: str, settings: Settings) -> Octets:
        """(N, 32): the bytes of the genomes' evaluation keys."""
        base = key_prefix(market_hash, settings.hash)
        keys = np.empty((len(self), DIGEST), np.uint8)
        for number, (name, count) in enumerate(zip(self.names, self.counts, strict=True)):
            rows = np.flatnonzero(self.families == number)
            bits = np.ascontiguousarray(self.genes[rows, :count], "<f8").view(np.uint8)
            keys[rows] = sha256_of_rows(base + family_prefix(name), bits)
        return keys


@dataclass(frozen=True, eq=False, kw_only=True)
class Fitnesses:
    """The results of a generation that its successors depend on, in index order."""

    keys: Octets
    """(N, 32) evaluation keys."""
    values: Floats
    """(N,) fitness; without meaning where the evaluation failed."""
    failed: np.ndarray[tuple[int], np.dtype[np.bool_]]
    """(N,)"""

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], keys: Octets | None = None) -> Fitnesses:
        """The arrays of outcomes.

        Args:
            keys: their keys, if they are known as bytes.
        """
        if keys is None:
            text = "".join([outcome.key for outcome in outcomes])
            keys = np.frombuffer(bytes.fromhex(text), np.uint8).reshape(len(outcomes), DIGEST)
        found = [outcome.fitness for outcome in outcomes]
        # None becomes NaN, as a fitness may be.
        values = np.array(found, np.float64)
        failed = np.zeros(len(found), np.bool_)
        for row in np.flatnonzero(np.isnan(values)).tolist():
            failed[row] = found[row] is None
        return cls(keys=keys, values=values, failed=failed)

    def __len__(self) -> int:
        return self.values.size

    @property
    def packed(self) -> bytes:
        """Each key followed by the bits of the fitness, or by a word for a failure."""
        rows = np.empty((len(self), DIGEST + 8), np.uint8)
        rows[:, :DIGEST] = self.keys
        rows[:, DIGEST:] = self.values.astype("<f8")[:, None].view(np.uint8)
        if not self.failed.any():
            return rows.tobytes()
        # The word is shorter than the bits.
        rows[self.failed, DIGEST:-2] = np.frombuffer(b"failed", np.uint8)
        used = np.ones(rows.shape, np.bool_)
        used[self.failed, -2:] = False
        return rows[used].tobytes()


def hex_keys(keys: Octets) -> list[str]:
    """The texts of evaluation keys (N, 32)."""
    text = keys.tobytes().hex()
    return [text[at : at + _HEX] for at in range(0, len(text), _HEX)]
