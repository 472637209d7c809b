"""The population's state machine: ask for genomes, tell their outcomes. Pure and seeded."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from ga.errors import InputError
from ga.families import FAMILIES, get_family
from ga.fitness import Outcome
from ga.genome import Genome
from ga.variation import (
    CROSSOVER_RATE,
    RESET_RATE,
    TOURNAMENT_SIZE,
    Purpose,
    crossover,
    keyed,
    mutate,
    random_genome,
    tournament,
)

GENESIS = hashlib.sha256(b"genesis").hexdigest()
"""The digest of a history before its first generation."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be evolved; with the market and the settings it fixes the whole history."""

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

    @property
    def elites(self) -> int:
        """Best individuals carried over unchanged: one in twenty, at least one."""
        return max(1, self.population_size // 20)


def advance_digest(digest: str, outcomes: Sequence[Outcome]) -> str:
    """Extend a history's digest by one generation, in index order, to the last bit."""
    sha = hashlib.sha256(bytes.fromhex(digest))
    for outcome in outcomes:
        sha.update(bytes.fromhex(outcome.key))
        failed = outcome.fitness is None
        sha.update(b"failed" if failed else struct.pack("<d", outcome.fitness))
    return sha.hexdigest()


class Evolution:
    """One run's population.

    ``ask`` gives the current generation's genomes, ``tell`` takes one outcome for each, in the same
    order, and breeds the next generation. Two runs with equal plans that are told equal outcomes
    are equal for ever.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.generation = 0
        self.digest = GENESIS
        self._population = [self._newcomer(0, i) for i in range(plan.population_size)]

    @classmethod
    def resumed(
        cls,
        plan: Plan,
        *,
        generation: int,
        digest_before: str,
        population: Sequence[Genome],
        outcomes: Sequence[Outcome],
    ) -> Evolution:
        """Continue after ``generation``, the last one that was committed, with its individuals."""
        evolution = cls(plan)
        evolution.generation = generation
        evolution.digest = digest_before
        evolution._population = list(population)
        evolution.tell(outcomes)
        return evolution

    @property
    def done(self) -> bool:
        """Whether all generations have been told."""
        return self.generation >= self.plan.generations

    def ask(self) -> tuple[Genome, ...]:
        """The genomes of the current generation; equal genomes may stand at several indices."""
        return tuple(self._population)

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Take the outcomes of ``ask``'s genomes and move to the next generation.

        Raises:
            ValueError: not one outcome a genome.
        """
        if len(outcomes) != len(self._population):
            raise ValueError(f"{len(outcomes)} outcomes for {len(self._population)} genomes")
        self.digest = advance_digest(self.digest, outcomes)
        self.generation += 1
        if not self.done:
            self._population = self._breed(outcomes)

    def _newcomer(self, generation: int, index: int) -> Genome:
        families = self.plan.families
        rng = keyed(self.plan.seed, Purpose.INITIAL, generation, index)
        return random_genome(get_family(families[index % len(families)]), rng)

    def _breed(self, outcomes: Sequence[Outcome]) -> list[Genome]:
        population, plan = self._population, self.plan
        # Failed ones have no rank: they are never selected. Ties are broken by key.
        alive = [i for i, o in enumerate(outcomes) if o.fitness is not None]
        alive.sort(key=lambda i: (-(outcomes[i].fitness or 0.0), outcomes[i].key))
        if not alive:
            return [self._newcomer(self.generation, i) for i in range(plan.population_size)]
        ranks = [0] * len(population)
        members: dict[str, list[int]] = {}
        for rank, i in enumerate(alive):
            ranks[i] = rank
            members.setdefault(population[i].family, []).append(i)
        children = self._elite(alive, outcomes, members)
        while len(children) < plan.population_size:
            index = len(children)
            rng = keyed(plan.seed, Purpose.BREED, self.generation, index)
            first = tournament(alive, ranks, rng, TOURNAMENT_SIZE)
            family = population[first].family
            second = tournament(members[family], ranks, rng, TOURNAMENT_SIZE)
            child = population[first]
            if rng.random() < CROSSOVER_RATE:
                child = crossover(child, population[second], rng)
            child = mutate(child, rng)
            if rng.random() < RESET_RATE:
                child = random_genome(get_family(plan.families[index % len(plan.families)]), rng)
            children.append(child)
        return children

    def _elite(
        self, alive: Sequence[int], outcomes: Sequence[Outcome], members: dict[str, list[int]]
    ) -> list[Genome]:
        """The best distinct individuals, and the best of each family while there is room."""
        chosen: dict[str, Genome] = {}
        for i in alive:
            if len(chosen) >= self.plan.elites:
                break
            chosen.setdefault(outcomes[i].key, self._population[i])
        if self.plan.population_size >= 4 * len(self.plan.families):
            for family in self.plan.families:
                if family in members:
                    best = members[family][0]
                    chosen.setdefault(outcomes[best].key, self._population[best])
        return list(chosen.values())
