"""The rows of a generation's new evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ga.evaluation.settings import Outcome
from ga.genome import Genome
from ga.ledger.bulk_insert import text

Row = tuple[object, ...]


def evaluation_rows(
    run: str,
    generation: int,
    population: Sequence[Genome],
    outcomes: Sequence[Outcome],
    fresh: Mapping[str, int],
) -> list[Row]:
    """Rows of ``evaluations``, one for each key of ``fresh``, which maps it to its attempts.

    They are in the order of the keys, because an index is filled twice as fast in its own order as
    at random places once it exceeds the database's cache.
    """
    # Equal genomes are one evaluation.
    each = {
        outcome.key: (genome, outcome)
        for genome, outcome in zip(population, outcomes, strict=True)
        if outcome.key in fresh
    }
    rows: list[Row] = []
    for key in sorted(each):
        (family, genes), (_, fitness, trades, drawdown, error) = each[key]
        said = None if error is None else text(error)
        # For finite floats the JSON of a list equals its repr, which is five times faster.
        values = repr([*genes])
        rows.append(
            (
                run,
                key,
                family,
                values,
                fitness,
                trades,
                drawdown,
                said,
                generation,
                fresh[key],
            )
        )
    return rows
