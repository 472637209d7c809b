"""The best strategies of a run: selected from its evaluations, and stored at its end.

Genomes with equal behaviour (fitness, fills and drawdown) count as one strategy, represented by the
first key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, replace
from typing import cast

import sqlalchemy as sa

from ga.genome import Genome
from ga.ledger.bulk_insert import insert
from ga.ledger.decoding import undamaged
from ga.ledger.records import Sharpes, StrategyRecord, genome_of, strategy_of
from ga.ledger.scanning import of_run
from ga.ledger.schema import evaluations, generations, individuals, runs, strategies
from ga.ledger.soundness import require_sound


def best(connection: sa.Connection, run: str | None, limit: int) -> list[StrategyRecord]:
    """The best strategies of one run, or of all; stored final strategies have their Sharpe ratios.

    The order is by in-sample fitness, because a selection by out-of-sample results would be biased.
    """
    require_sound(connection, (evaluations, strategies), run=run)
    table = evaluations
    alike = (table.c.run, table.c.fitness, table.c.trades, table.c.max_drawdown)
    first = sa.select(sa.func.min(table.c.key).label("key"), table.c.run, table.c.fitness)
    mine = of_run(connection, run)
    least = _least(connection, mine, limit)
    first = first.where(mine, table.c.fitness.is_not(None)).group_by(*alike)
    if least is not None:
        first = first.where(table.c.fitness >= least)
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


def _least(connection: sa.Connection, mine: sa.ColumnElement[bool], limit: int) -> float | None:
    """A fitness below which none of the ``limit`` best is; None if there is none.

    Evaluations of another fitness are another strategy, so enough different values are enough
    strategies. To find the highest values takes a twentieth of the time of grouping all rows.
    """
    query = sa.select(evaluations.c.fitness).where(mine, evaluations.c.fitness.is_not(None))
    query = query.order_by(evaluations.c.fitness.desc())
    count = 4 * limit
    while limit:
        found = connection.execute(query.limit(count)).scalars().all()
        values = sorted(set(found), reverse=True)
        if len(values) >= limit:
            return float(values[limit - 1])
        if len(found) < count:
            return None
        count *= 8
    return None


def candidates(engine: sa.Engine, run: str, per_family: int) -> list[StrategyRecord]:
    """The best strategies of each family of a run, ordered by fitness; one of each behaviour.

    Raises:
        LedgerError: the database is unavailable, or its values are damaged.
    """
    table = evaluations
    alike = (table.c.family, table.c.fitness, table.c.trades, table.c.max_drawdown)
    first = sa.func.min(table.c.key)
    rank = sa.func.row_number().over(
        partition_by=table.c.family, order_by=(table.c.fitness.desc(), first)
    )
    ranked = sa.select(first.label("key"), rank.label("rank")).group_by(*alike)
    found = ranked.where(table.c.run == run, table.c.fitness.is_not(None)).subquery()
    chosen = sa.select(found.c.key).where(found.c.rank <= per_family)
    with engine.connect() as connection, undamaged(run):
        require_sound(connection, (evaluations,), run=run)
        # Not joined: without statistics of a new table PostgreSQL compares every row with each.
        keys = connection.execute(chosen).scalars().all()
        rows = sa.select(table).where(table.c.run == run, table.c.key.in_(keys))
        best = [strategy_of(row) for row in connection.execute(rows)]
    return sorted(best, key=lambda one: (-(one.outcome.fitness or 0.0), one.outcome.key))


def keep(connection: sa.Connection, run: str, kept: Sequence[StrategyRecord]) -> None:
    """Store strategies with their ``sharpes``, best first; replaces earlier ones."""
    connection.execute(sa.delete(strategies).where(strategies.c.run == run))
    rows = [
        (run, rank, one.outcome.key, *astuple(one.sharpes))
        for rank, one in enumerate(kept)
        if one.sharpes is not None
    ]
    insert(connection, strategies, rows)


def with_key(connection: sa.Connection, key: str) -> Sequence[sa.Row[tuple[object, ...]]]:
    """The evaluations whose key begins with ``key``, of the latest run first."""
    query = (
        sa.select(evaluations)
        .join(runs, runs.c.run == evaluations.c.run)
        .where(evaluations.c.key.startswith(key, autoescape=True))
        .where(evaluations.c.fitness.is_not(None))
        .order_by(runs.c.created_at.desc())
    )
    return connection.execute(query).all()


def trials(connection: sa.Connection, run: str, sample: int) -> tuple[int, list[Genome]]:
    """See ``Ledger.trials``."""
    mine = sa.and_(evaluations.c.run == run, evaluations.c.fitness.is_not(None))
    query = sa.select(evaluations.c.family, evaluations.c.genes).where(mine)
    count = sa.select(sa.func.count()).select_from(evaluations).where(mine)
    rows = connection.execute(query.order_by(evaluations.c.key).limit(sample)).all()
    genomes = [genome_of(cast(sa.Row[tuple[object, ...]], row)) for row in rows]
    return int(connection.execute(count).scalar_one()), genomes


def family_counts(connection: sa.Connection, run: str) -> dict[str, int]:
    """See ``Ledger.family_counts``."""
    one, member = evaluations.c, individuals.c
    last = sa.select(sa.func.max(generations.c.generation)).where(generations.c.run == run)
    count = sa.func.count().label("count")
    query = (
        sa.select(one.family, count)
        .select_from(individuals)
        .join(evaluations, sa.and_(member.run == one.run, member.key == one.key))
        .where(member.run == run, member.generation == last.scalar_subquery())
        .group_by(one.family)
        .order_by(count.desc(), one.family)
    )
    return {row.family: int(row[1]) for row in connection.execute(query)}


def _sharpes(row: sa.Row[tuple[object, ...]]) -> Sharpes:
    return Sharpes(in_sample=row.in_sample, out_of_sample=row.out_of_sample, holdout=row.holdout)
