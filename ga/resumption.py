"""Continues a stored run, after a check that its rows lead to the same future.

``verify`` checks a whole history. Here only what breeding depends on is checked: every digest, the
genomes of the last generation and of the best before it, and that breeding again gives the last
generation.
"""

from __future__ import annotations

from collections.abc import Sequence

from ga.errors import LedgerError
from ga.evaluation.settings import Outcome, evaluation_keys
from ga.evolution import ARCHIVE, Evolution
from ga.genome import Genome
from ga.ledger import Ledger, RunRecord

_Evaluated = Sequence[tuple[Genome, Outcome]]


def resumed(ledger: Ledger, record: RunRecord, market_hash: str) -> Evolution:
    """The evolution after the last committed generation of a run.

    Args:
        market_hash: of its visible market.

    Raises:
        LedgerError: rows are damaged, so that it would continue to another future.
    """
    run, plan = record.run, record.plan
    ledger.require_sound(run=run, complete=True)
    last = ledger.last(run)
    if last is None:
        return Evolution(plan)
    if len(last.population) != plan.population_size:
        raise _damaged(run, f"{len(last.population)} individuals of {plan.population_size}")
    differing = ledger.first_difference(run)
    if differing is not None:
        raise _damaged(run, f"generation {differing} does not agree with its digest")
    now = list(zip(last.population, last.outcomes, strict=True))
    _check_genomes(record, market_hash, [*now, *last.best])
    if _bred(ledger, record, market_hash, last.generation).ask() != last.population:
        raise _damaged(run, f"generation {last.generation} is not what its plan breeds")
    return Evolution.resumed(
        plan,
        generation=last.generation,
        digest_before=last.digest_before,
        population=last.population,
        outcomes=last.outcomes,
        earlier=last.best,
    )


def _bred(ledger: Ledger, record: RunRecord, market_hash: str, generation: int) -> Evolution:
    """The evolution when it asks for a generation."""
    plan = record.plan
    if generation == 0:
        return Evolution(plan)
    before = ledger.individuals(record.run, generation - 1)
    if len(before) != plan.population_size:
        raise _damaged(record.run, f"{len(before)} individuals of {plan.population_size}")
    best = ledger.best_of_families(record.run, ARCHIVE, before=generation)
    _check_genomes(record, market_hash, [*before, *best])
    return Evolution.resumed(
        plan,
        generation=generation - 1,
        digest_before=record.digest,
        population=[genome for genome, _ in before],
        outcomes=[outcome for _, outcome in before],
        earlier=best,
    )


def _check_genomes(record: RunRecord, market_hash: str, evaluated: _Evaluated) -> None:
    families = record.plan.families
    keys = evaluation_keys([g for g, _ in evaluated], market_hash, record.settings)
    for key, (genome, outcome) in zip(keys, evaluated, strict=True):
        if key != outcome.key or genome.family not in families:
            reason = f"evaluation {outcome.key[:10]} is not that of its genes, market and settings"
            raise _damaged(record.run, reason)


def _damaged(run: str, reason: str) -> LedgerError:
    return LedgerError(
        f"run {run}: {reason}, so it cannot be continued to the same result; restore a backup into"
        f" a new ledger (what differs: python -m ga verify {run})"
    )
