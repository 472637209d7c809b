"""Breeding and digest as they were before they used arrays: with a Python object for each genome.

The benchmark of the coordinator measures the present path beside it, and a test compares the
histories of both.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from struct import Struct

import numpy as np

from ga.evaluation.settings import Outcome
from ga.evolution import ARCHIVE, GENESIS, MAX_GENES, Plan
from ga.families import get_family
from ga.genome import Genome
from ga.operators import (
    RESET_RATE,
    TOURNAMENT_SIZE,
    Floats,
    Ints,
    Purpose,
    bounds,
    crossover,
    keyed,
    mutate,
    mutation_scale,
    scatter,
    tournament,
)

_DOUBLE = Struct("<d")


def object_digest(digest: str, outcomes: Sequence[Outcome]) -> str:
    """Extend a history's digest by one generation, in index order, from the exact bits."""
    sha = hashlib.sha256(bytes.fromhex(digest))
    for outcome in outcomes:
        fitness = outcome.fitness
        sha.update(bytes.fromhex(outcome.key))
        sha.update(b"failed" if fitness is None else _DOUBLE.pack(fitness))
    return sha.hexdigest()


_Ranked = tuple[float, str, Genome]
"""Negated fitness, key, genome; sorted, the best is first."""


class ObjectEvolution:
    """The population of one run.

    ``ask`` gives the current generation's genomes, ``tell`` takes one outcome for each, in the same
    order, and breeds the next generation from the best of all so far. Two runs with equal plans and
    equal outcomes have equal histories.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.generation = 0
        self._bounds = bounds([get_family(name) for name in plan.families])
        self._width = self._bounds.low.shape[1]
        self.digest = GENESIS
        self._archive: dict[str, list[_Ranked]] = {name: [] for name in plan.families}
        self._population = self._newcomers(0)

    @property
    def done(self) -> bool:
        """Whether the outcomes of all generations are known."""
        return self.generation >= self.plan.generations

    def parents(self, family: str) -> tuple[Genome, ...]:
        """The genomes of a family that the next generation is bred from, best first."""
        return tuple(genome for _, _, genome in self._archive[family])

    def ask(self) -> tuple[Genome, ...]:
        """The genomes of the current generation; equal genomes may have several indices."""
        return tuple(self._population)

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Take the outcomes of ``ask``'s genomes and move to the next generation.

        Raises:
            ValueError: the number of outcomes differs from that of the genomes.
        """
        if len(outcomes) != len(self._population):
            raise ValueError(f"{len(outcomes)} outcomes for {len(self._population)} genomes")
        self.digest = object_digest(self.digest, outcomes)
        self.generation += 1
        if not self.done:
            self._remember(zip(self._population, outcomes, strict=True))
            self._population = self._breed()

    def _newcomers(self, generation: int) -> list[Genome]:
        """A random population, with the families in equal numbers."""
        size = self.plan.population_size
        uniform = keyed(self.plan.seed, Purpose.INITIAL, generation).random((size, MAX_GENES))
        families = np.arange(size) % len(self.plan.families)
        genes = scatter(self._bounds.of(families), uniform[:, : self._width])
        return self._genomes(families.tolist(), genes)

    def _genomes(self, families: Sequence[int], genes: Floats) -> list[Genome]:
        """Genome objects from genes (N, G) and the family's number of each row."""
        names = self.plan.families
        counts = [len(get_family(name).genes) for name in names]
        return [
            Genome._make((names[number], tuple(row[: counts[number]])))
            for number, row in zip(families, genes.tolist(), strict=True)
        ]

    def _remember(self, evaluated: Iterable[tuple[Genome, Outcome]]) -> None:
        """Keep the best of each family. Of genomes with equal fitness only the first by key is
        kept, so that equal behaviour counts as one parent. Failed genomes are not kept.
        """
        for genome, (key, fitness, *_) in evaluated:
            if fitness is None:
                continue
            best = self._archive[genome.family]
            if len(best) == ARCHIVE and -fitness > best[-1][0]:
                continue
            ranked = (-fitness, key, genome)
            at = bisect_left(best, ranked)
            if at and best[at - 1][0] == ranked[0]:
                continue
            if at < len(best) and best[at][0] == ranked[0]:
                best[at] = ranked
            elif at < ARCHIVE:
                best.insert(at, ranked)
                del best[ARCHIVE:]

    def _breed(self) -> list[Genome]:
        plan, width = self.plan, self._width
        # Families in the order of the plan, the members of each with the best first.
        members = [ranked for best in self._archive.values() for ranked in best]
        if not members:
            return self._newcomers(self.generation)
        sizes = np.array([len(best) for best in self._archive.values()])
        kinds = np.repeat(np.arange(sizes.size), sizes)
        table = np.zeros((len(members), width))
        for row, (_, _, genome) in zip(table, members, strict=True):
            row[: len(genome.genes)] = genome.genes
        count = plan.population_size
        rng = keyed(plan.seed, Purpose.BREED, self.generation)
        picks = rng.random((count, 2 * TOURNAMENT_SIZE + 2))
        uniform = rng.random((count, 3 * MAX_GENES))
        steps = rng.normal((count, MAX_GENES))
        scale = mutation_scale(self.generation, plan.generations)
        ranks = np.array(sorted(range(len(members)), key=lambda i: members[i][:2]))
        best = ranks[tournament(len(members), picks[:, :TOURNAMENT_SIZE])]
        rows = self._quotas(kinds[best])
        within = self._bounds.of(rows)
        # The winner is a parent. If a quota moved the child to another family, the winner of the
        # same draws within that family is. The other parent is always of the child's family.
        begins, there = (np.cumsum(sizes) - sizes)[rows], sizes[rows, None]
        # A family without members has no parents: its children are random.
        last = len(members) - 1
        near = np.minimum(begins + tournament(there, picks[:, :TOURNAMENT_SIZE]), last)
        near = np.where(kinds[best] == rows, best, near)
        draws = picks[:, TOURNAMENT_SIZE : 2 * TOURNAMENT_SIZE]
        far = np.minimum(begins + tournament(there, draws), last)
        happens, reset = picks[:, -2], picks[:, -1]
        made = crossover(table[near], table[far], uniform[:, :width], happens)
        choice = uniform[:, MAX_GENES : MAX_GENES + width]
        made = mutate(within, made, choice, steps[:, :width], scale)
        fresh = np.flatnonzero((reset < RESET_RATE) | (there[:, 0] == 0))
        numbers = uniform[fresh, 2 * MAX_GENES : 2 * MAX_GENES + width]
        made[fresh] = scatter(self._bounds.of(rows[fresh]), numbers)
        return self._genomes(rows.tolist(), made)

    def _quotas(self, wanted: Ints) -> Ints:
        """The family of every child: by the tournament, but with at least the quota of each
        family.
        """
        quota = self.plan.quota(self.generation)
        have = np.bincount(wanted, minlength=len(self.plan.families)).tolist()
        given, spare = wanted.tolist(), len(wanted) - 1
        for family in range(len(have)):
            while have[family] < quota and spare >= 0:
                # Replace a child of the family with the largest surplus; later children first.
                taken = given[spare]
                if have[taken] > quota:
                    given[spare] = family
                    have[taken] -= 1
                    have[family] += 1
                spare -= 1
        return np.array(given)
