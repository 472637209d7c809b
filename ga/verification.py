"""``verify``: checks that a run in the ledger is complete, without duplicates, and correct."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ga.errors import InputError
from ga.evaluation.evaluate import evaluate
from ga.evaluation.folds import visible
from ga.evaluation.settings import OUT_OF_MEMORY, Outcome, evaluation_key
from ga.evolution import GENESIS, Evolution
from ga.execution.numerics_check import EXPECTED, require
from ga.execution.protocol import CRASHED, TOO_SLOW
from ga.genome import Genome
from ga.ledger import Evaluation, History, NodeRecord
from ga.market import Market
from ga.operators import Purpose, keyed

SAMPLE: Final = 64
"""Repeated evaluations: a defect in one of twenty is missed in 4 of 100 runs."""
_WITNESSES: Final = 10


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Result of a verification. The counts are complete; witnesses are the first of each kind."""

    run: str
    generations: int
    individuals: int
    evaluations: int
    failed: int
    """Evaluations that are stored as failed. All except the quarantined ones are repeated."""
    quarantined: int
    """Failed evaluations that crashed a worker or exhausted its memory; they are not repeated."""
    attempts: int
    """Failed attempts."""
    repeated: bool
    """Whether breeding and a sample of evaluations were repeated; otherwise only stored data was
    compared.
    """
    sampled: int
    """Number of repeated evaluations."""
    digest: str
    processors: Mapping[str, tuple[str, ...]]
    """Processor -> the nodes that evaluated on it."""
    refused: Mapping[str, str]
    """Refused node -> reason."""
    recomputed: str
    """The digest of the stored individuals and evaluations."""
    lost: int
    doubled: int
    different: int
    witnesses: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing is lost, doubled or different."""
        return not self.lost + self.doubled + self.different


def market_of(history: History) -> Market:
    """Load the visible market of a run.

    Raises:
        InputError: the market or the engine has changed.
    """
    record = history.record
    record.check_version()
    market = record.market.load()
    if market.hash != record.market_hash:
        raise InputError(
            f"run {record.run}: market {record.market.spec} has changed since the run began;"
            " restore the data it was started on"
        )
    return visible(market, record.settings)


def verify(history: History, market: Market | None, *, sample: int = SAMPLE) -> Verification:
    """Check one run's history against itself and against the engine.

    Args:
        market: from ``market_of``; None: check stored data only, of any engine version.
        sample: number of evaluations to repeat, drawn by the run's seed.
    """
    record = history.record
    lost = list(_lost(history))
    doubled = list(_doubled(history))
    different = [*_digests(history), *_counts(history)]
    chosen: list[Evaluation] = []
    if market is not None:
        chosen = _sample(history, sample)
        different += [
            *_keys(history, market),
            *_bred(history),
            *_repeated(history, market, chosen),
        ]
    witnesses: list[str] = []
    for kind, found in (("lost", lost), ("doubled", doubled), ("different", different)):
        witnesses += [f"{kind}: {one}" for one in found[:_WITNESSES]]
    recomputed = history.digests()
    return Verification(
        run=record.run,
        generations=len(history.generations),
        individuals=sum(map(len, history.members.values())),
        evaluations=len(history.evaluations),
        failed=sum(e.outcome.fitness is None for e in history.evaluations.values()),
        quarantined=sum(_cost_a_worker(e.outcome) for e in history.evaluations.values()),
        attempts=len(history.attempts),
        repeated=market is not None,
        sampled=len(chosen),
        digest=record.digest,
        processors=processors(history.nodes),
        refused={one.node: one.refused for one in history.nodes if one.refused is not None},
        recomputed=recomputed[max(recomputed)] if recomputed else GENESIS,
        lost=len(lost),
        doubled=len(doubled),
        different=len(different),
        witnesses=tuple(witnesses),
    )


def processors(nodes: Sequence[NodeRecord]) -> dict[str, tuple[str, ...]]:
    """Processor -> the nodes with it that got work."""
    found: dict[str, tuple[str, ...]] = {}
    for one in nodes:
        if one.refused is None:
            found[one.processor] = (*found.get(one.processor, ()), one.node)
    return found


def _lost(history: History) -> Iterator[str]:
    size = history.record.plan.population_size
    last = max([-1, *history.generations, *history.members])
    for generation in range(last + 1):
        if generation not in history.generations:
            yield f"generation {generation}, with later ones there"
        have = dict(history.members.get(generation, ()))
        for index in range(size):
            if index not in have:
                yield f"generation {generation} index {index}: no individual"
            elif have[index] not in history.evaluations:
                yield f"generation {generation} index {index}: no evaluation {have[index][:10]}"


def _doubled(history: History) -> Iterator[str]:
    plan = history.record.plan
    for generation, members in history.members.items():
        times = Counter(index for index, _ in members)
        for index, count in times.items():
            if count > 1:
                yield f"generation {generation} index {index}: {count} individuals"
            elif not (0 <= index < plan.population_size and 0 <= generation < plan.generations):
                yield f"generation {generation} index {index}: not in the plan"
    wanted = {key for members in history.members.values() for _, key in members}
    for key in sorted(history.evaluations.keys() - wanted):
        yield f"evaluation {key[:10]}: no individual's"


def _digests(history: History) -> Iterator[str]:
    recomputed = history.digests()
    for number, one in sorted(history.generations.items()):
        found = recomputed.get(number, "none")
        if found != one.digest:
            yield f"generation {number}: digest {one.digest[:12]}, of its rows {found[:12]}"


def _counts(history: History) -> Iterator[str]:
    """Compare values that are stored in two forms."""
    record = history.record
    first: dict[str, int] = {}
    for generation, members in sorted(history.members.items()):
        for _, key in members:
            first.setdefault(key, generation)
        have = [history.evaluations[key] for _, key in members if key in history.evaluations]
        failed = sum(e.outcome.error is not None for e in have)
        stored = history.generations.get(generation)
        if stored is not None and stored.failed != failed:
            yield f"generation {generation}: {stored.failed} failed, by its rows {failed}"
    for key, evaluation in history.evaluations.items():
        if key in first and evaluation.generation != first[key]:
            yield (
                f"evaluation {key[:10]}: of generation {evaluation.generation}, first used in"
                f" {first[key]}"
            )
        if (evaluation.outcome.fitness is None) != (evaluation.outcome.error is not None):
            yield f"evaluation {key[:10]}: must have a fitness or an error, one of them"
    for generation, attempt in history.attempts:
        if attempt.key not in history.evaluations:
            yield f"generation {generation}: a try at {attempt.key[:10]}, which was not evaluated"
    if (record.finished_at is not None) != (record.committed == record.plan.generations):
        state = "finished" if record.finished_at is not None else "unfinished"
        yield f"run: {state} at {record.committed} of {record.plan.generations} generations"


def _keys(history: History, market: Market) -> Iterator[str]:
    """Check that every key is the hash of its genome, the market and the kernels."""
    settings = history.record.settings
    for key, evaluation in history.evaluations.items():
        found = evaluation_key(evaluation.genome, market.hash, settings)
        if found != key:
            yield f"evaluation {key[:10]}: the key of its genome is {found[:10]}"


def _bred(history: History) -> Iterator[str]:
    """Check that breeding from the stored outcomes gives the stored genomes. What follows a
    generation that lacks rows cannot be bred again; that it lacks them is reported apart.
    """
    plan = history.record.plan
    evolution = Evolution(plan)
    for generation in range(min(history.record.committed, plan.generations)):
        stored = _whole(history, generation)
        if stored is None:
            return
        population, outcomes = [e.genome for e in stored], [e.outcome for e in stored]
        for index, (bred, found) in enumerate(zip(evolution.ask(), population, strict=True)):
            if bred.packed != found.packed:
                yield f"generation {generation} index {index}: {_shown(found, bred)}"
        # Continue from the stored data, so that one difference is counted once.
        evolution.adopt(population, outcomes)


def _whole(history: History, generation: int) -> list[Evaluation] | None:
    """A generation's evaluations by index; None if one is missing or surplus."""
    members = history.members.get(generation, ())
    if [index for index, _ in members] != list(range(history.record.plan.population_size)):
        return None
    found = [history.evaluations.get(key) for _, key in members]
    have = [one for one in found if one is not None]
    return have if len(have) == len(found) else None


def _shown(stored: Genome, bred: Genome) -> str:
    return f"stored {stored.family} {stored.hash[:10]}, bred {bred.family} {bred.hash[:10]}"


def _sample(history: History, size: int) -> list[Evaluation]:
    every = [e for _, e in sorted(history.evaluations.items())]
    done = [e for e in every if e.outcome.fitness is not None]
    rng = keyed(history.record.plan.seed, Purpose.AUDIT, 0)
    picks = rng.permutation(len(done))[:size]
    # Also all failures, because a fault of a machine must not be stored as an outcome.
    failed = [e for e in every if e.outcome.error is not None and not _cost_a_worker(e.outcome)]
    return [*(done[i] for i in sorted(picks.tolist())), *(failed if size else [])]


def _cost_a_worker(outcome: Outcome) -> bool:
    """Whether the evaluation must not be repeated here, because it might crash this process or
    exhaust its memory.
    """
    error = outcome.error or ""
    return error.startswith((CRASHED, TOO_SLOW)) or error == OUT_OF_MEMORY


def _repeated(history: History, market: Market, chosen: list[Evaluation]) -> Iterator[str]:
    for family in {e.genome.family for e in chosen} & EXPECTED.keys():
        require(family)
    again = evaluate(market, history.record.settings, [e.genome for e in chosen])
    for evaluation, outcome in zip(chosen, again, strict=True):
        stored = evaluation.outcome
        if _bits(stored) != _bits(outcome):
            yield (
                f"evaluation {stored.key[:10]} ({evaluation.genome.family}): stored"
                f" {_values(stored)}, again {_values(outcome)}"
            )


def _bits(outcome: Outcome) -> tuple[str, bytes, int, bytes, str | None]:
    fitness = b"" if outcome.fitness is None else struct.pack("<d", outcome.fitness)
    # Adding zero turns -0.0 into 0.0, because SQLite stores no negative zero.
    drawdown = struct.pack("<d", outcome.max_drawdown + 0.0)
    return (outcome.key, fitness, outcome.trades, drawdown, outcome.error)


def _values(outcome: Outcome) -> str:
    return (
        f"{outcome.key[:10]} {outcome.fitness!r} {outcome.trades} {outcome.max_drawdown!r}"
        f" {outcome.error or ''}".rstrip()
    )
