"""The one shape all evaluators have, and how genomes are cut into batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from ga.families import get_family
from ga.fitness import Batch, Settings, evaluate_batch
from ga.genome import Genome
from ga.market import Market

MIN_BATCH_SECONDS: Final = 0.03
MAX_BATCH_SECONDS: Final = 0.2
"""CPU seconds of a batch: long against Ray's milliseconds a task, short against the barrier."""
_LEARNING_RATE: Final = 0.3
_GUESS: Final = 0.002
_GUESS_LEARNED: Final = 0.03


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """A finished batch."""

    indices: tuple[int, ...]
    """Which of the genomes that were asked for."""
    batch: Batch
    node: str
    """Address of the node that did it; ``local`` on this machine."""
    attempt: int = 0
    """0 for the first try; how often the work was started again before."""


class Evaluator(Protocol):
    """Something that evaluates genomes. Results do not depend on which one it is."""

    @property
    def mode(self) -> str:
        """``local`` or ``distributed``."""
        ...

    @property
    def workers(self) -> int:
        """Evaluations that can run at the same time now."""
        ...

    def warm_up(self) -> None:
        """Load code and market on the workers, so that the first generation is like the others."""
        ...

    def evaluate(self, genomes: Sequence[Genome]) -> Iterator[BatchResult]:
        """Yield every genome's outcome once, in batches, in any order.

        Raises:
            ClusterError: the workers are lost for good; what was yielded stays valid.
        """
        ...

    def close(self) -> None:
        """Free the workers."""
        ...


class CostModel:
    """Running estimate of the CPU seconds a genome of each family takes."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def estimate(self, family: str) -> float:
        """Seconds for one genome; a guess for a family not seen yet."""
        known = self._seconds.get(family)
        if known is not None:
            return known
        return _GUESS_LEARNED if get_family(family).learned else _GUESS

    def learn(self, genomes: Sequence[Genome], seconds: float) -> None:
        """Take in what a batch took. Batches hold one family as a rule; else shares are scaled."""
        expected = sum(self.estimate(g.family) for g in genomes)
        if expected <= 0.0 or seconds <= 0.0:
            return
        ratio = seconds / expected
        for family in {g.family for g in genomes}:
            old = self._seconds.get(family)
            new = self.estimate(family) * ratio
            self._seconds[family] = (
                new if old is None else (1 - _LEARNING_RATE) * old + _LEARNING_RATE * new
            )


def cut(genomes: Sequence[Genome], costs: CostModel, slots: int) -> list[tuple[int, ...]]:
    """Cut genomes into batches, largest first and smaller near the end.

    Guided self-scheduling (Polychronopoulos and Kuck, 1987): each batch takes a fixed share of what
    is left, so that all slots end together. Families stay together, for the kernels' sake.
    """
    by_family: dict[str, list[int]] = {}
    for index, genome in enumerate(genomes):
        by_family.setdefault(genome.family, []).append(index)
    estimates = {family: costs.estimate(family) for family in by_family}
    left = sum(estimates[family] * len(indices) for family, indices in by_family.items())
    batches: list[tuple[int, ...]] = []
    current: list[int] = []
    filled = 0.0
    limit = _limit(left, slots)
    for family in sorted(by_family):
        cost = estimates[family]
        for index in by_family[family]:
            current.append(index)
            filled += cost
            if filled >= limit:
                batches.append(tuple(current))
                left -= filled
                current, filled = [], 0.0
                limit = _limit(left, slots)
    if current:
        batches.append(tuple(current))
    return batches


def _limit(left: float, slots: int) -> float:
    """Seconds of the next batch when so many are left."""
    return min(max(left / (2 * max(slots, 1)), MIN_BATCH_SECONDS), MAX_BATCH_SECONDS)


def probes(families: Sequence[str]) -> list[Genome]:
    """One genome a family, in the middle of its bounds: warms a worker up, measures its speed."""
    found = []
    for name in families:
        family = get_family(name)
        middle = tuple(g.clip((g.low + g.high) / 2) for g in family.genes)
        found.append(Genome(name, middle))
    return found


def calibrate(market: Market, settings: Settings, families: Sequence[str]) -> Mapping[str, float]:
    """CPU seconds one genome of each family takes on this machine, compiled beforehand."""
    seconds = {}
    for probe in probes(families):
        evaluate_batch(market, settings, [probe])
        tries = [evaluate_batch(market, settings, [probe]).cpu_seconds for _ in range(3)]
        seconds[probe.family] = float(np.median(tries))
    return seconds
