"""The population's state machine with the interface ask and tell. Pure and seeded."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ga.errors import InputError
from ga.evaluation.settings import Outcome
from ga.families import FAMILIES, get_family
from ga.genome import Genome
from ga.operators import (
    RESET_RATE,
    TOURNAMENT_SIZE,
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
from ga.population import Fitnesses, Population, hex_keys

MAX_GENES = max(len(family.genes) for family in FAMILIES.values())
ARCHIVE = 8
"""Number of best individuals of each family, over all generations, that may be parents."""
QUOTA = 0.1
"""Final share of the population that is divided evenly among the families."""
COMPETE_FROM = 0.6
"""Share of the generations after which families compete for the rest."""
SEARCH_VERSION = 3
"""Increases with every change after which equal plans with equal outcomes breed other genomes."""
PART: Final = 4096
"""Children that are bred at a time."""
GENESIS = hashlib.sha256(b"genesis").hexdigest()
"""The digest of a history before its first generation."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Plan of a run; with the market and the settings it determines the whole history."""

    seed: int
    population_size: int
    generations: int
    families: tuple[str, ...] = tuple(FAMILIES)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise InputError(f"--seed must be 0..2^63-1, not {self.seed}")
        if not 1 <= self.population_size <= 1_000_000:
            raise InputError(
                f"--population-size must be 1..1,000,000, not {self.population_size}; try 100"
            )
        if not 1 <= self.generations <= 1_000_000:
            raise InputError(f"--generations must be 1..1,000,000, not {self.generations}; try 20")
        if not self.families:
            raise InputError("no family to evolve; name at least one")
        for name in self.families:
            get_family(name)

    def quota(self, generation: int) -> int:
        """Minimum number of individuals of every family in a generation. At first the population is
        divided evenly, so that each family is searched before they compete. From 60 % of the
        generations on it is a tenth of that. It is 0 for populations of fewer than four per
        family.
        """
        if self.population_size < 4 * len(self.families):
            return 0
        progress = generation / max(self.generations - 1, 1)
        share = QUOTA + (1.0 - QUOTA) * max(0.0, 1.0 - progress / COMPETE_FROM)
        return int(self.population_size * share / len(self.families))


def advance_digest(digest: str, outcomes: Sequence[Outcome]) -> str:
    """Extend a history's digest by one generation, in index order, from the exact bits."""
    return _advanced(digest, Fitnesses.of(outcomes))


def _advanced(digest: str, results: Fitnesses) -> str:
    return hashlib.sha256(bytes.fromhex(digest) + results.packed).hexdigest()


_Ranked = tuple[float, str, Genome]
"""Negated fitness, key, genome; sorted, the best is first."""


class Evolution:
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
        self.population = self._newcomers(0)
        """The current generation."""

    @classmethod
    def resumed(
        cls,
        plan: Plan,
        *,
        generation: int,
        digest_before: str,
        population: Sequence[Genome],
        outcomes: Sequence[Outcome],
        earlier: Iterable[tuple[Genome, Outcome]],
    ) -> Evolution:
        """Continue after ``generation``, the last committed one, with its individuals.

        Args:
            earlier: individuals of earlier generations, at least the ``ARCHIVE`` best of each
                family.
        """
        evolution = cls(plan)
        evolution.generation = generation
        evolution.digest = digest_before
        for genome, (key, fitness, *_) in earlier:
            if fitness is not None:
                evolution._rank(genome.family, (-fitness, key, genome))
        evolution.population = Population.of(plan.families, population, evolution._width)
        evolution.tell(outcomes)
        return evolution

    @property
    def done(self) -> bool:
        """Whether the outcomes of all generations are known."""
        return self.generation >= self.plan.generations

    def parents(self, family: str) -> tuple[Genome, ...]:
        """The genomes of a family that the next generation is bred from, best first."""
        return tuple(genome for _, _, genome in self._archive[family])

    def ask(self) -> tuple[Genome, ...]:
        """The genomes of the current generation; equal genomes may have several indices."""
        return self.population.genomes

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Take the outcomes of ``ask``'s genomes and move to the next generation.

        Raises:
            ValueError: the number of outcomes differs from that of the genomes.
        """
        self.tell_arrays(Fitnesses.of(outcomes))

    def tell_arrays(self, results: Fitnesses) -> None:
        """Like ``tell``, from arrays.

        Raises:
            ValueError: the number of results differs from that of the genomes.
        """
        if len(results) != len(self.population):
            raise ValueError(f"{len(results)} outcomes for {len(self.population)} genomes")
        self.digest = _advanced(self.digest, results)
        self.generation += 1
        if not self.done:
            self._remember(results)
            self.population = self._breed()

    def _newcomers(self, generation: int) -> Population:
        """A random population, with the families in equal numbers."""
        size = self.plan.population_size
        uniform = keyed(self.plan.seed, Purpose.INITIAL, generation).random((size, MAX_GENES))
        families = np.arange(size) % len(self.plan.families)
        genes = scatter(self._bounds.of(families), uniform[:, : self._width])
        return Population(names=self.plan.families, families=families, genes=genes)

    def _remember(self, results: Fitnesses) -> None:
        """Keep the best of each family. Of genomes with equal fitness only the first by key is
        kept, so that equal behaviour counts as one parent. Failed genomes are not kept.
        """
        population, losses = self.population, -results.values
        for number, best in enumerate(self._archive.values()):
            rows = np.flatnonzero((population.families == number) & ~results.failed)
            own = losses[rows]
            if len(best) == ARCHIVE:
                rows = rows[~(own > best[-1][0])]
            elif not np.isnan(own).any():
                # Those after the first ARCHIVE different ones cannot be among them.
                rows = rows[own <= np.unique(own)[:ARCHIVE].max(initial=-np.inf)]
            name = population.names[number]
            keys = hex_keys(results.keys[rows])
            for loss, key, genome in zip(
                losses[rows].tolist(), keys, population.some(rows), strict=True
            ):
                self._rank(name, (loss, key, genome))

    def _rank(self, family: str, ranked: _Ranked) -> None:
        """Put an individual into its place, if it is among the best."""
        best = self._archive[family]
        if len(best) == ARCHIVE and ranked[0] > best[-1][0]:
            return
        at = bisect_left(best, ranked)
        if at and best[at - 1][0] == ranked[0]:
            return
        if at < len(best) and best[at][0] == ranked[0]:
            best[at] = ranked
        elif at < ARCHIVE:
            best.insert(at, ranked)
            del best[ARCHIVE:]

    def _breed(self) -> Population:
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
        # The winner is a parent. If a quota moved the child to another family, the winner of the
        # same draws within that family is. The other parent is always of the child's family.
        begins, there = (np.cumsum(sizes) - sizes)[rows], sizes[rows, None]
        # A family without members has no parents: its children are random.
        last = len(members) - 1
        made = np.empty((count, width))
        # In parts that fit into the processor's cache.
        for at in range(0, count, PART):
            part = slice(at, at + PART)
            within, draw, spread = self._bounds.of(rows[part]), picks[part], uniform[part]
            near = tournament(there[part], draw[:, :TOURNAMENT_SIZE])
            near = np.minimum(begins[part] + near, last)
            near = np.where(kinds[best[part]] == rows[part], best[part], near)
            far = tournament(there[part], draw[:, TOURNAMENT_SIZE : 2 * TOURNAMENT_SIZE])
            far = np.minimum(begins[part] + far, last)
            genes = crossover(table[near], table[far], spread[:, :width], draw[:, -2])
            choice = spread[:, MAX_GENES : MAX_GENES + width]
            genes = mutate(within, genes, choice, steps[part, :width], scale)
            fresh = np.flatnonzero((draw[:, -1] < RESET_RATE) | (there[part, 0] == 0))
            numbers = spread[fresh, 2 * MAX_GENES : 2 * MAX_GENES + width]
            genes[fresh] = scatter(within.of(fresh), numbers)
            made[part] = genes
        return Population(names=plan.families, families=rows, genes=made)

    def _quotas(self, wanted: Ints) -> Ints:
        """The family of every child: by the tournament, but with at least the quota of each
        family.
        """
        quota = self.plan.quota(self.generation)
        have = np.bincount(wanted, minlength=len(self.plan.families))
        lacking = np.repeat(np.arange(have.size), np.maximum(quota - have, 0))
        if not lacking.size:
            return wanted
        # Later children are replaced first, and of each family at most its surplus.
        behind = np.empty(wanted.size, np.int64)
        for family, surplus in enumerate((have - quota).tolist()):
            own = np.flatnonzero(wanted == family)
            behind[own] = np.arange(own.size) >= own.size - max(surplus, 0)
        spare = np.flatnonzero(behind)[::-1][: lacking.size]
        given = wanted.copy()
        given[spare] = lacking[: spare.size]
        return given
