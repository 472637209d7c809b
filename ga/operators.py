"""Selection, crossover and mutation: pure functions of keyed random numbers for whole generations.

Philox (Salmon et al., 2011) is counter-based: a generation's numbers are keyed by (seed, purpose,
generation), and individual i reads row i. They do not depend on worker, time or order of arrival.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ga.families import Family
from ga.genome import Genome
from ga.numerics import Stream, exp, log_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TOURNAMENT_SIZE: Final = 8
CROSSOVER_RATE: Final = 0.9
MUTATION_RATE: Final = 0.7
"""Probability that a gene is mutated; at least one is, so that no child is a copy."""
MUTATION_SCALE: Final = (0.1, 0.8)
"""Least and largest standard deviation of a mutation as a share of the gene's range."""
MUTANTS: Final = 0.5
"""Probability that a child is bred by crossover and mutation, not by a difference of members."""
FACTOR: Final = (0.4, 1.0)
"""Bounds of the factor of a difference."""
EXCHANGE: Final = (0.3, 0.9)
"""Probabilities, chosen equally often, that a gene is changed by a difference."""
RESET_RATE: Final = 0.05
"""Probability that a child is a new random genome of its family."""


class Purpose(IntEnum):
    """Purpose of a stream of random numbers."""

    INITIAL = 1
    BREED = 2
    AUDIT = 3


def keyed(seed: int, purpose: Purpose, generation: int, index: int = 0) -> Stream:
    """A separate stream for every (seed, purpose, generation, index)."""
    return Stream(key=(seed, int(purpose)), counter=(index, generation))


class Bounds(NamedTuple):
    """Bounds of genes: (G,) for one family, (N, G) with one family per row."""

    low: Floats
    high: Floats
    integer: NDArray[np.bool_]
    """Whether a gene is an integer."""
    there: NDArray[np.bool_]
    """Whether the family has the gene; otherwise its bounds are 0."""

    def of(self, rows: Ints) -> Bounds:
        """One row for each of ``rows``."""
        return Bounds(self.low[rows], self.high[rows], self.integer[rows], self.there[rows])


def bounds(families: Sequence[Family]) -> Bounds:
    """The bounds (F, G) of families, as wide as the one with most genes."""
    shape = len(families), max(len(family.genes) for family in families)
    found = Bounds(np.zeros(shape), np.zeros(shape), np.zeros(shape, bool), np.zeros(shape, bool))
    for row, family in enumerate(families):
        for at, gene in enumerate(family.genes):
            found.low[row, at], found.high[row, at] = gene.low, gene.high
            found.integer[row, at], found.there[row, at] = gene.integer, True
    return found


def scatter(within: Family | Bounds, uniform: Floats) -> Floats:
    """Genes (N, G) spread evenly over their bounds from uniform numbers (N, G)."""
    within = within if isinstance(within, Bounds) else bounds([within])
    width = within.high - within.low + within.integer
    values = within.low + uniform * width
    return np.minimum(np.where(within.integer, np.floor(values), values), within.high)


def crossover(first: Floats, second: Floats, choice: Floats, happens: Floats) -> Floats:
    """Uniform crossover of parents (N, G) in the rows that ``happens`` (N,) selects: each gene from
    either parent.

    Args:
        choice: (N, G) and happens: (N,) uniform numbers.
    """
    mixed = np.where(choice < 0.5, first, second)
    return np.where((happens < CROSSOVER_RATE)[:, None], mixed, first)


def mutate(
    within: Family | Bounds, genes: Floats, choice: Floats, steps: Floats, scale: float | Floats
) -> Floats:
    """Mutate genes (N, G) by bounded Gaussian steps; integers by at least one.

    Args:
        choice: (N, G) uniform, steps: (N, G) standard normal numbers.
        scale: standard deviation as a share of the gene's range, for all or (N, 1).
    """
    within = within if isinstance(within, Bounds) else bounds([within])
    shift = steps * scale * (within.high - within.low)
    whole = np.sign(shift) * np.maximum(np.round(np.abs(shift)), 1.0)
    shift = np.where(within.integer, whole, shift)
    choice = np.where(within.there, choice, np.inf)
    chosen = (choice < MUTATION_RATE) | (choice == choice.min(axis=1, keepdims=True))
    moved = np.where(chosen, genes + shift, genes)
    return np.clip(moved, within.low, within.high)


def mutation_scales(draws: Floats) -> Floats:
    """(N, 1) step sizes of mutations from uniform numbers (N,), each order of magnitude equally
    often.
    """
    least, largest = MUTATION_SCALE
    return np.asarray(least * exp(draws * log_of(largest / least)))[:, None]


def difference(
    within: Family | Bounds,
    target: Floats,
    base: Floats,
    apart: tuple[Floats, Floats],
    choice: Floats,
    rounding: Floats,
    draws: tuple[Floats, Floats],
) -> Floats:
    """Differential evolution (Storn and Price, 1997): some genes of ``target`` (N, G) are replaced
    by those of base + factor (first - second), reflected at the bounds.

    Args:
        apart: first and second, each (N, G).
        choice: (N, G) uniform numbers that choose the genes; at least one is replaced.
        rounding: (N, G) uniform numbers that round integers up or down, by their fraction.
        draws: uniform numbers (N,) of the factor and of the probability of a replacement.
    """
    within = within if isinstance(within, Bounds) else bounds([within])
    low, high = within.low, within.high
    factor = FACTOR[0] + draws[0] * (FACTOR[1] - FACTOR[0])
    moved = base + factor[:, None] * (apart[0] - apart[1])
    moved = low + np.abs(moved - low)
    moved = np.clip(high - np.abs(high - moved), low, high)
    moved = np.where(within.integer, np.floor(moved + rounding), moved)
    rate = np.where(draws[1] < 0.5, *EXCHANGE)[:, None]
    choice = np.where(within.there, choice, np.inf)
    chosen = (choice < rate) | (choice == choice.min(axis=1, keepdims=True))
    return np.where(chosen, moved, target)


def tournament(count: int | Ints, draws: Floats) -> Ints:
    """Winners (N,) of tournaments among ``count`` members that are sorted best first.

    Args:
        count: one number for all, or (N, 1) for each.
        draws: (N, size) uniform numbers.
    """
    return np.asarray((draws * count).astype(np.int64).min(axis=1))


def genomes(family: Family, genes: Floats) -> list[Genome]:
    """Genome objects from genes (N, G)."""
    return [Genome(family.name, tuple(row)) for row in genes.tolist()]


def random_genome(family: Family, rng: Stream) -> Genome:
    """Genes uniform within their bounds."""
    return genomes(family, scatter(family, rng.random((1, len(family.genes)))))[0]
