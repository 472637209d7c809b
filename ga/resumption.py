"""Continues a stored run, after a check that its rows lead to the same future.

Breeding depends on every generation before. So all are taken again in their order: each must agree
with its digest, and be what the plan breeds from those before it. The evaluations are not repeated;
``verify`` repeats a sample of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from ga.errors import LedgerError
from ga.evaluation.settings import Outcome, evaluation_keys
from ga.evolution import Evolution
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
    differing = ledger.first_difference(run)
    if differing is not None:
        raise _damaged(run, f"generation {differing} does not agree with its digest")
    evolution = Evolution(plan)
    for generation in range(record.committed):
        members = ledger.individuals(run, generation)
        if len(members) != plan.population_size:
            raise _damaged(run, f"{len(members)} individuals of {plan.population_size}")
        _check_genomes(record, market_hash, members)
        if evolution.ask() != tuple(genome for genome, _ in members):
            raise _damaged(run, f"generation {generation} is not what its plan breeds")
        evolution.tell([outcome for _, outcome in members])
    return evolution


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
