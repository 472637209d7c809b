"""Breeding and digest with a Python object for each genome and each place of a member.

The benchmark of the coordinator measures the array path beside it, and a test compares the
histories of both.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from math import ceil, isfinite
from struct import Struct

import numpy as np

from ga.evaluation.settings import Outcome
from ga.evolution import ARCHIVE, FOREMOST, GENESIS, LEADING, MAX_GENES, Plan
from ga.families import get_family
from ga.genome import Genome
from ga.members import FEWEST, MEMBERS, SETTLED
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
_Places = list[tuple[float, Genome] | None]
"""The members of a family, with their negated fitness; None at an empty place."""


class ObjectEvolution:
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
        self._places: dict[str, _Places] = {name: [None] * MEMBERS for name in plan.families}
        self._born = dict.fromkeys(plan.families, 0)
        self._population = self._newcomers(0)

    @property
    def done(self) -> bool:
        """Whether the outcomes of all generations are known."""
        return self.generation >= self.plan.generations

    def parents(self, family: str) -> tuple[Genome, ...]:
        """The best genomes of a family so far, by which families compete, best first."""
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
            self._take(zip(self._population, outcomes, strict=True))
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

    def _take(self, evaluated: Iterable[tuple[Genome, Outcome]]) -> None:
        """Let the children compete for their places, then restart families that are all alike."""
        old = {name: list(places) for name, places in self._places.items()}
        for genome, outcome in evaluated:
            name, at = genome.family, self._born[genome.family] % MEMBERS
            self._born[name] += 1
            fitness = outcome.fitness
            if fitness is None or not isfinite(fitness):
                continue
            before, now = old[name][at], self._places[name][at]
            # Of equal children the first wins, but a child wins from an equal member.
            fresh = now is before and (before is None or -fitness <= before[0])
            if fresh or (now is not before and now is not None and -fitness < now[0]):
                self._places[name][at] = (-fitness, genome)
        for name, places in self._places.items():
            losses = sorted(member[0] for member in places if member is not None)
            if len(losses) == MEMBERS:
                best = losses[0]
                if losses[MEMBERS * 3 // 4] - best <= SETTLED * abs(best):
                    self._places[name], self._born[name] = [None] * MEMBERS, 0

    def _breed(self) -> list[Genome]:
        plan, width = self.plan, self._width
        # Families in the order of the plan, the best of each first.
        best = [ranked for own in self._archive.values() for ranked in own]
        if not best:
            return self._newcomers(self.generation)
        kinds = np.array([plan.families.index(genome.family) for _, _, genome in best])
        count = plan.population_size
        rng = keyed(plan.seed, Purpose.BREED, self.generation)
        picks = rng.random((count, 2 * TOURNAMENT_SIZE + 8))
        uniform = rng.random((count, 3 * MAX_GENES))
        steps = rng.normal((count, MAX_GENES))
        ranks = np.array(sorted(range(len(best)), key=lambda i: best[i][:2]))
        rows = self._quotas(kinds[ranks[tournament(len(best), picks[:, :TOURNAMENT_SIZE])]])
        made: list[Floats] = []
        born = dict(self._born)
        for index, number in enumerate(rows.tolist()):
            name = plan.families[number]
            row = np.array([number])
            genes = self._child(row, born[name], picks[index], uniform[[index]], steps[[index]])
            made.append(genes[0])
            born[name] += 1
        return self._genomes(rows.tolist(), np.array(made).reshape(count, width))

    def _child(
        self, family: Ints, number: int, draw: Floats, uniform: Floats, steps: Floats
    ) -> Floats:
        """The genes (1, G) of one child, which is the ``number``-th of its family."""
        width, within = self._width, self._bounds.of(family)
        choice, other, fresh = (uniform[:, at : at + width] for at in (0, MAX_GENES, 2 * MAX_GENES))
        places = self._places[self.plan.families[family[0]]]
        target = places[number % MEMBERS]
        there = [member for member in places if member is not None]
        # The sort is stable: equal ones stay in the order of their places.
        there.sort(key=lambda member: member[0])
        happens, reset, move, *last = draw[2 * TOURNAMENT_SIZE :].tolist()
        if len(there) < FEWEST or reset < RESET_RATE:
            return scatter(within, fresh)

        def padded(rank: int) -> Floats:
            genes = there[rank][1].genes
            return np.array([[*genes, *[0.0] * (width - len(genes))]])

        if move < MUTANTS or target is None:
            most = min(len(there), FOREMOST)
            near, far = (
                padded(int(tournament(most, draw[None, at : at + TOURNAMENT_SIZE])[0]))
                for at in (0, TOURNAMENT_SIZE)
            )
            mixed = crossover(near, far, choice, np.array([happens]))
            return mutate(
                within, mixed, other, steps[:, :width], mutation_scales(np.array([last[0]]))
            )
        lead, one, two, factor, rate = last
        base = padded(int(lead * ceil(LEADING * len(there))))
        apart = padded(int(one * len(there))), padded(int(two * len(there)))
        to = np.array([[*target[1].genes, *[0.0] * (width - len(target[1].genes))]])
        draws = np.array([factor]), np.array([rate])
        return difference(within, to, base, apart, choice, other, draws)

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
