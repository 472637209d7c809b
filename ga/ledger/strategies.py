"""The best strategies of a run: selected from its evaluations, and stored at its end.

Genomes with equal behaviour (fitness, fills and drawdown) count as one strategy, represented by the
first key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, replace

import sqlalchemy as sa

from ga.evaluation.settings import Outcome
from ga.genome import Genome
from ga.ledger.bulk_insert import insert
from ga.ledger.records import Sharpes, StrategyRecord, genome_of, outcome_of, strategy_of
from ga.ledger.schema import evaluations, strategies


def best(connection: sa.Connection, run: str | None, limit: int) -> list[StrategyRecord]:
    """The best strategies of one run, or of all; stored final strategies have their Sharpe ratios.

    The order is by in-sample fitness, because a selection by out-of-sample results would be biased.
    """
    table = evaluations
    alike = (table.c.run, table.c.fitness, table.c.trades, table.c.max_drawdown)
    first = sa.select(sa.func.min(table.c.key).label("key"), table.c.run, table.c.fitness)
    first = first.where(table.c.fitness.is_not(None)).group_by(*alike)
    if run is not None:
        first = first.where(table.c.run == run)
    found = first.order_by(table.c.fitness.desc(), sa.text("key")).limit(limit).subquery()
    kept = strategies
    joined = table.join(found, sa.and_(table.c.run == found.c.run, table.c.key == found.c.key))
    joined = joined.outerjoin(kept, sa.and_(table.c.run == kept.c.run, table.c.key == kept.c.key))
    query = sa.select(table, kept.c.rank, kept.c.in_sample, kept.c.out_of_sample, kept.c.holdout)
    query = query.select_from(joined).order_by(table.c.fitness.desc(), table.c.key)
    return [
        replace(strategy_of(row), sharpes=None if row.rank is None else _sharpes(row))
        for row in connection.execute(query)
    ]


def best_of_families(
    connection: sa.Connection, run: str, limit: int
) -> list[tuple[Genome, Outcome]]:
    """A number of the best evaluations of every family of a run; one of each fitness."""
    table = evaluations
    alike = (table.c.family, table.c.fitness)
    rank = sa.func.row_number().over(partition_by=table.c.family, order_by=table.c.fitness.desc())
    ranked = sa.select(sa.func.min(table.c.key).label("key"), rank.label("rank")).group_by(*alike)
    found = ranked.where(table.c.run == run, table.c.fitness.is_not(None)).subquery()
    query = sa.select(table).join(found, table.c.key == found.c.key)
    query = query.where(table.c.run == run, found.c.rank <= limit)
    return [(genome_of(row), outcome_of(row)) for row in connection.execute(query)]


def keep(connection: sa.Connection, run: str, kept: Sequence[StrategyRecord]) -> None:
    """Store strategies with their ``sharpes``, best first; replaces earlier ones."""
    connection.execute(sa.delete(strategies).where(strategies.c.run == run))
    rows = [
        (run, rank, one.outcome.key, *astuple(one.sharpes))
        for rank, one in enumerate(kept)
        if one.sharpes is not None
    ]
    insert(connection, strategies, rows)


def _sharpes(row: sa.Row[tuple[object, ...]]) -> Sharpes:
    return Sharpes(in_sample=row.in_sample, out_of_sample=row.out_of_sample, holdout=row.holdout)
