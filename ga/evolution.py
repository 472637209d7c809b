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
from ga.members import FEWEST, MEMBERS, Members
from ga.operators import (
    MUTANTS,
    RESET_RATE,
    TOURNAMENT_SIZE,
    Floats,
    Ints,
    Purpose,
    bounds,
    crossover,
    difference,
    keyed,
    mutate,
    mutation_scales,
    scatter,
    tournament,
)
from ga.population import Fitnesses, Population, hex_keys

MAX_GENES = max(len(family.genes) for family in FAMILIES.values())
ARCHIVE = 8
"""Number of best individuals of each family, over all generations, by which families compete."""
FOREMOST = 8
"""Number of best members of a family that are parents of mutants."""
LEADING = 0.2
"""Share of a family's members that differences are added to: the best."""
QUOTA = 0.1
"""Final share of the population that is divided evenly among the families."""
COMPETE_FROM = 0.6
"""Share of the generations after which families compete for the rest."""
SEARCH_VERSION = 4
"""Increases with every change after which equal plans with equal outcomes breed other genomes."""
PART: Final = 4096
"""Children that are bred at a time."""
_OTHERS: Final = 2 * TOURNAMENT_SIZE
_PICKS: Final = _OTHERS + 8
"""Uniform numbers of a child besides those for its genes: two tournaments and eight others."""
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
    order, and breeds the next generation. Two runs with equal plans and
    equal outcomes have equal histories.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.generation = 0
        self._bounds = bounds([get_family(name) for name in plan.families])
        self._width = self._bounds.low.shape[1]
        self.digest = GENESIS
        self._archive: dict[str, list[_Ranked]] = {name: [] for name in plan.families}
        self._members = Members(len(plan.families), self._width)
        self.population = self._newcomers(0)
        """The current generation."""

    @classmethod
    def resumed(
        cls, plan: Plan, history: Iterable[tuple[Sequence[Genome], Sequence[Outcome]]]
    ) -> Evolution:
        """Continue after the committed generations.

        Args:
            history: individuals and outcomes of each, in index order, from the first generation on.
        """
        evolution = cls(plan)
        for population, outcomes in history:
            evolution.adopt(population, outcomes)
        return evolution

    def adopt(self, population: Sequence[Genome], outcomes: Sequence[Outcome]) -> None:
        """Take a stored generation in place of the current one, with its outcomes."""
        self.population = Population.of(self.plan.families, population, self._width)
        self.tell(outcomes)

    @property
    def done(self) -> bool:
        """Whether the outcomes of all generations are known."""
        return self.generation >= self.plan.generations

    def parents(self, family: str) -> tuple[Genome, ...]:
        """The best genomes of a family so far, by which families compete, best first."""
        return tuple(genome for _, _, genome in self._archive[family])

    def restarts(self, family: str) -> int:
        """How often a family has restarted with random genomes."""
        return int(self._members.restarts[self.plan.families.index(family)])

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
            self._keep_best(results)
            self.population = self._breed()

    def _newcomers(self, generation: int) -> Population:
        """A random population, with the families in equal numbers."""
        size = self.plan.population_size
        uniform = keyed(self.plan.seed, Purpose.INITIAL, generation).random((size, MAX_GENES))
        families = np.arange(size) % len(self.plan.families)
        genes = scatter(self._bounds.of(families), uniform[:, : self._width])
        return Population(names=self.plan.families, families=families, genes=genes)

    def _keep_best(self, results: Fitnesses) -> None:
        """Keep the best of each family. Of genomes with equal fitness only the first by key is
        kept, so that equal behaviour counts as one parent. Failed genomes are not kept.
        """
        population, losses = self.population, -results.values
        self._members.take(population.families, population.genes, losses, results.failed)
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
        # Families in the order of the plan, the best of each first.
        best = [ranked for own in self._archive.values() for ranked in own]
        if not best:
            return self._newcomers(self.generation)
        kinds = np.repeat(np.arange(len(self._archive)), [*map(len, self._archive.values())])
        count = plan.population_size
        rng = keyed(plan.seed, Purpose.BREED, self.generation)
        picks = rng.random((count, _PICKS))
        uniform = rng.random((count, 3 * MAX_GENES))
        steps = rng.normal((count, MAX_GENES))
        ranks = np.array(sorted(range(len(best)), key=lambda i: best[i][:2]))
        winners = ranks[tournament(len(best), picks[:, :TOURNAMENT_SIZE])]
        rows = self._quotas(kinds[winners])
        numbers = self._members.numbers(rows)
        made = np.empty((count, width))
        # In parts that fit into the processor's cache.
        for at in range(0, count, PART):
            part = slice(at, at + PART)
            draw, spread = picks[part], uniform[part]
            made[part] = self._children(rows[part], numbers[part], draw, spread, steps[part])
        return Population(names=plan.families, families=rows, genes=made)

    def _children(
        self, rows: Ints, numbers: Ints, draw: Floats, spread: Floats, steps: Floats
    ) -> Floats:
        """The genes (N, G) of children.

        Args:
            rows: (N,) their families.
            numbers: (N,) see ``Members.numbers``.
            draw: (N, P), spread: (N, 3 G) uniform, steps: (N, G) standard normal numbers.
        """
        width, members, within = self._width, self._members, self._bounds.of(rows)
        choice = spread[:, :width]
        other = spread[:, MAX_GENES : MAX_GENES + width]
        genes = scatter(within, spread[:, 2 * MAX_GENES : 2 * MAX_GENES + width])
        # (F, M): the members of each family, the best first; empty places are last.
        order = np.argsort(members.losses, axis=1, kind="stable")
        there = np.count_nonzero(np.isfinite(members.losses), axis=1)[rows]
        target, happens, reset, move = numbers % MEMBERS, *draw[:, _OTHERS : _OTHERS + 3].T
        # A family with few members has random children. There is no difference to an empty place.
        bred = (there >= FEWEST) & (reset >= RESET_RATE)
        mutant = (move < MUTANTS) | np.isinf(members.losses[rows, target])

        def picked(own: Ints, ranks: Ints) -> Floats:
            return members.genes[rows[own], order[rows[own], ranks]]

        own = np.flatnonzero(bred & mutant)
        near, far = (
            picked(own, tournament(np.minimum(there[own], FOREMOST)[:, None], draw[own][:, which]))
            for which in (slice(TOURNAMENT_SIZE), slice(TOURNAMENT_SIZE, _OTHERS))
        )
        mixed = crossover(near, far, choice[own], happens[own])
        scales = mutation_scales(draw[own, _OTHERS + 3])
        genes[own] = mutate(within.of(own), mixed, other[own], steps[own, :width], scales)
        own = np.flatnonzero(bred & ~mutant)
        lead, one, two, factor, rate = draw[own, _OTHERS + 3 :].T
        leading = np.ceil(LEADING * there[own])
        ranks = (
            (lead * leading).astype(np.int64),
            *((u * there[own]).astype(np.int64) for u in (one, two)),
        )
        base, first, second = (picked(own, rank) for rank in ranks)
        genes[own] = difference(
            within.of(own),
            members.genes[rows[own], target[own]],
            base,
            (first, second),
            choice[own],
            other[own],
            (factor, rate),
        )
        return genes

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
