"""Selection, crossover and mutation: pure functions of keyed random numbers.

Philox (Salmon et al., 2011) is counter-based: each draw is keyed by (seed, purpose, generation,
index), never by worker, time or order of arrival.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

import numpy as np

from ga.families import Family, get_family
from ga.genome import Genome

TOURNAMENT_SIZE: Final = 3
MUTATION_RATE: Final = 0.3
"""Chance that a gene is moved."""
MUTATION_SCALE: Final = 0.15
"""Standard deviation of a move, as a part of the gene's range."""
CROSSOVER_RATE: Final = 0.9
RESET_RATE: Final = 0.05
"""Chance that a child is a fresh random genome of its family."""


class Purpose(IntEnum):
    """What a stream of random numbers is for."""

    INITIAL = 1
    BREED = 2
    AUDIT = 3


def keyed(seed: int, purpose: Purpose, generation: int, index: int) -> np.random.Generator:
    """A generator of its own for every (seed, purpose, generation, index)."""
    bits = np.random.Philox(key=[seed, int(purpose)], counter=[0, 0, index, generation])
    return np.random.Generator(bits)


def random_genome(family: Family, rng: np.random.Generator) -> Genome:
    """Genes uniform within their bounds."""
    values = []
    for gene in family.genes:
        if gene.integer:
            values.append(float(rng.integers(int(gene.low), int(gene.high), endpoint=True)))
        else:
            values.append(gene.clip(float(rng.uniform(gene.low, gene.high))))
    return Genome(family.name, tuple(values))


def crossover(first: Genome, second: Genome, rng: np.random.Generator) -> Genome:
    """Uniform crossover of two genomes of one family."""
    if first.family != second.family:
        raise ValueError("crossover needs two genomes of one family")
    takes = (rng.random(len(first.genes)) < 0.5).tolist()
    genes = tuple(
        a if take else b for a, b, take in zip(first.genes, second.genes, takes, strict=True)
    )
    return Genome(first.family, genes)


def mutate(genome: Genome, rng: np.random.Generator) -> Genome:
    """Move each gene with a chance of MUTATION_RATE by a bounded Gaussian step."""
    family = get_family(genome.family)
    count = len(family.genes)
    # Drawn together: a call for each number costs more than the numbers.
    moved = (rng.random(count) < MUTATION_RATE).tolist()
    steps = (rng.standard_normal(count) * MUTATION_SCALE).tolist()
    values = list(genome.genes)
    for i, gene in enumerate(family.genes):
        if moved[i]:
            shift = steps[i] * (gene.high - gene.low)
            if gene.integer and abs(shift) < 1.0:
                shift = 1.0 if shift > 0 else -1.0
            values[i] = gene.clip(values[i] + shift)
    return Genome(genome.family, tuple(values))


def tournament(
    order: Sequence[int], ranks: Sequence[int], rng: np.random.Generator, size: int
) -> int:
    """The best-ranked of ``size`` random members of ``order``."""
    picks: list[int] = (rng.random(size) * len(order)).astype(np.int64).tolist()
    return min((order[p] for p in picks), key=ranks.__getitem__)
