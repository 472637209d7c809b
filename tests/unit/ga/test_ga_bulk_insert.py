"""Rows that the ledger inserts many at a time."""

from __future__ import annotations

import random

import pytest
import sqlalchemy as sa

from ga.evaluation.settings import Outcome
from ga.genome import Genome
from ga.ledger.bulk_insert import insert
from ga.ledger.evaluation_rows import evaluation_rows
from ga.ledger.schema import evaluations, metadata

RUN = "abcdefabcdef"


def generation(count: int) -> tuple[list[Genome], list[Outcome]]:
    """Individuals of which every third equals one before it; some failed."""
    dice = random.Random(count)
    numbers = [number - number % 3 // 2 for number in range(count)]
    genomes = [Genome("ema_crossover", (float(number), 0.1)) for number in numbers]
    # As keys are hashes, they are not in the order of the individuals.
    keys = {number: f"{dice.getrandbits(256):064x}" for number in numbers}
    outcomes = [
        Outcome(key=keys[number], fitness=None, error="\0 failed")
        if number % 5 == 0
        else Outcome(key=keys[number], fitness=number / 7, trades=number, max_drawdown=0.25)
        for number in numbers
    ]
    return genomes, outcomes


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 95, 96, 97, 300])
def test_each_new_evaluation_is_inserted_once(count: int) -> None:
    genomes, outcomes = generation(count)
    fresh = {outcome.key: number % 4 for number, outcome in enumerate(outcomes) if number % 7}
    rows = evaluation_rows(RUN, 3, genomes, outcomes, fresh)
    # Without the pragmas of a ledger, foreign keys are not checked, so no run is needed.
    engine = sa.create_engine("sqlite://")
    metadata.create_all(engine)
    with engine.begin() as connection:
        insert(connection, evaluations, rows)
        stored = connection.execute(sa.select(evaluations)).all()
    engine.dispose()
    expected = {
        outcome.key: (
            RUN,
            outcome.key,
            "ema_crossover",
            list(genome.genes),
            outcome.fitness,
            outcome.trades,
            outcome.max_drawdown,
            None if outcome.error is None else "\ufffd failed",
            3,
            fresh[outcome.key],
        )
        for genome, outcome in zip(genomes, outcomes, strict=True)
        if outcome.key in fresh
    }
    assert len(stored) == len(expected)
    assert {row.key: tuple(row) for row in stored} == expected
    assert [row[1] for row in rows] == sorted(expected)
