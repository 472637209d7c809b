"""Selection, crossover and mutation: pure functions of keyed random numbers, whole generations at
a time.

Philox (Salmon et al., 2011) is counter-based: a generation's numbers are keyed by (seed, purpose,
generation) and individual i reads row i of them, never by worker, time or order of arrival.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ga.families import Family
from ga.genome import Genome

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TOURNAMENT_SIZE: Final = 8
CROSSOVER_RATE: Final = 0.9
MUTATION_RATE: Final = 0.7
"""Chance that a gene is moved; one at least is, so that no child is a copy."""
MUTATION_SCALE: Final = (0.4, 0.1)
"""Standard deviation of a move as a part of the gene's range, in the first and the last
generation; in between it falls geometrically."""
RESET_RATE: Final = 0.05
"""Chance that a child is a fresh random genome of its family."""


class Purpose(IntEnum):
    """What a stream of random numbers is for."""

    INITIAL = 1
    BREED = 2
    AUDIT = 3


def keyed(seed: int, purpose: Purpose, generation: int, index: int = 0) -> np.random.Generator:
    """A generator of its own for every (seed, purpose, generation, index)."""
    bits = np.random.Philox(key=[seed, int(purpose)], counter=[0, 0, index, generation])
    return np.random.Generator(bits)


def bounds(family: Family) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Lows, highs and which genes are whole numbers, each (G,)."""
    low = np.array([g.low for g in family.genes])
    high = np.array([g.high for g in family.genes])
    return low, high, np.array([g.integer for g in family.genes])


def scatter(family: Family, uniform: Floats) -> Floats:
    """Genes (N, G) spread evenly over their bounds from uniform numbers (N, G)."""
    low, high, integer = bounds(family)
    width = high - low + integer
    values = low + uniform * width
    return np.minimum(np.where(integer, np.floor(values), values), high)


def crossover(first: Floats, second: Floats, choice: Floats, happens: Floats) -> Floats:
    """Uniform crossover of parents (N, G): each gene from either, where ``happens`` (N,) says so.

    Args:
        choice: (N, G) and happens: (N,) uniform numbers.
    """
    mixed = np.where(choice < 0.5, first, second)
    return np.where((happens < CROSSOVER_RATE)[:, None], mixed, first)


def mutate(family: Family, genes: Floats, choice: Floats, steps: Floats, scale: float) -> Floats:
    """Move genes (N, G) by bounded Gaussian steps; whole numbers by at least one.

    Args:
        choice: (N, G) uniform, steps: (N, G) standard normal numbers.
        scale: standard deviation as a part of the gene's range.
    """
    low, high, integer = bounds(family)
    shift = steps * scale * (high - low)
    shift = np.where(integer, np.sign(shift) * np.maximum(np.round(np.abs(shift)), 1.0), shift)
    chosen = (choice < MUTATION_RATE) | (choice == choice.min(axis=1, keepdims=True))
    moved = np.where(chosen, genes + shift, genes)
    return np.clip(moved, low, high)


def mutation_scale(generation: int, generations: int) -> float:
    """The step size of a generation."""
    first, last = MUTATION_SCALE
    return float(first * (last / first) ** (generation / max(generations - 1, 1)))


def tournament(count: int, draws: Floats) -> Ints:
    """Winners (N,) of tournaments among ``count`` members that are sorted best first.

    Args:
        draws: (N, size) uniform numbers.
    """
    return np.asarray((draws * count).astype(np.int64).min(axis=1))


def genomes(family: Family, genes: Floats) -> list[Genome]:
    """Genome objects of genes (N, G)."""
    return [Genome(family.name, tuple(row)) for row in genes.tolist()]


def random_genome(family: Family, rng: np.random.Generator) -> Genome:
    """Genes uniform within their bounds."""
    return genomes(family, scatter(family, rng.random((1, len(family.genes)))))[0]
