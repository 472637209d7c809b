"""Checks rows in SQL before a command reads a part of them, so that damage in the others changes no
result: an order, a count, a group, a row that a condition leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa

from ga import families
from ga.evaluation.settings import Settings, evaluation_key
from ga.ledger.columns import Checked, DamagedError, Words
from ga.ledger.records import StrategyRecord
from ga.ledger.scanning import of_run
from ga.ledger.schema import (
    anchors,
    attempts,
    evaluations,
    generations,
    individuals,
    nodes,
    requests,
    runs,
    strategies,
)

TABLES: Final = (
    runs,
    generations,
    evaluations,
    individuals,
    attempts,
    strategies,
    nodes,
    anchors,
    requests,
)


def require_sound(
    connection: sa.Connection,
    tables: Iterable[sa.Table] = TABLES,
    *,
    run: str | None = None,
    related: bool = True,
) -> None:
    """Check type, range and length of every column of the rows of a run, or of all.

    Args:
        related: also check that each row has its run, and each evaluation a fitness or an error.

    Raises:
        DamagedError: a value is damaged.
    """
    for table in tables:
        _require_values(connection, table, run)
        if related:
            _require_related(connection, table, run)


def require_complete(connection: sa.Connection, run: str | None = None) -> None:
    """Check that no generation of a run, or of any, is missing.

    Raises:
        DamagedError: one is missing.
    """
    one, members = generations.c, individuals.c
    mine = one.run == runs.c.run
    query = sa.select(
        runs.c.run,
        runs.c.generations,
        runs.c.finished_at,
        sa.select(sa.func.count()).select_from(generations).where(mine).scalar_subquery(),
        sa.select(sa.func.max(one.generation)).where(mine).scalar_subquery(),
        sa.select(sa.func.max(members.generation))
        .where(members.run == runs.c.run)
        .scalar_subquery(),
    )
    if run is not None:
        query = query.where(runs.c.run == run)
    for name, planned, finished, count, last, bred in connection.execute(query):
        committed = 0 if last is None else int(last) + 1
        reason = None
        if count != committed or last != bred:
            reason = f"{count} rows for {committed} generations, individuals up to {bred}"
        elif (finished is not None) != (committed == planned):
            state = "has not ended" if finished is None else "has ended"
            reason = f"{committed} of {planned} of a run that {state}"
        if reason is not None:
            raise DamagedError("generations", "generation", reason, name)


def require_genomes(found: Iterable[StrategyRecord]) -> None:
    """Check that the genes of each strategy are those of its family, and within their bounds.

    Raises:
        DamagedError: they are not.
    """
    for one in found:
        family, genes = families.FAMILIES.get(one.genome.family), one.genome.genes
        column, reason = "genes", None
        if family is None:
            column, reason = "family", f"{one.genome.family} is not known"
        elif len(family.genes) != len(genes):
            reason = f"{len(genes)} genes of {family.name}, which has {len(family.genes)}"
        else:
            for gene, value in zip(family.genes, genes, strict=True):
                if value != gene.clip(value):
                    reason = f"gene {gene.name} is {value}, not {gene.low:g}..{gene.high:g}"
        if reason is not None:
            raise DamagedError("evaluations", column, reason, one.run)


def require_key(one: StrategyRecord, market_hash: str, settings: Settings) -> None:
    """Check that the key of a strategy is the hash of its genome, *visible* market and settings.

    Raises:
        DamagedError: it is not.
    """
    if evaluation_key(one.genome, market_hash, settings) != one.outcome.key:
        reason = f"{one.outcome.key[:10]} is not that of its genes, market and settings"
        raise DamagedError("evaluations", "key", reason, one.run)


def _require_values(connection: sa.Connection, table: sa.Table, run: str | None) -> None:
    lite = connection.dialect.name == "sqlite"
    wrong = {column: _wrong(column, lite=lite) for column in table.columns}
    first = sa.case(*((condition, column.name) for column, condition in wrong.items()))
    query = sa.select(first).where(sa.or_(*wrong.values())).limit(1)
    if run is not None:
        query = query.where(_of(connection, table, run))
    found = connection.execute(query).scalar()
    if found is not None:
        kind = table.columns[found].type
        assert isinstance(kind, Checked)
        raise DamagedError(table.name, found, f"a value is not {kind.needed}", run)


def _of(connection: sa.Connection, table: sa.Table, run: str) -> sa.ColumnElement[bool]:
    return of_run(connection, run) if table is evaluations else table.c.run == run


def _wrong(column: sa.Column[Any], *, lite: bool) -> sa.ColumnElement[bool]:
    kind = column.type
    assert isinstance(kind, Checked)
    conditions: list[sa.ColumnElement[bool]] = []
    if lite:
        # Also finds NULL, whose storage class is called null.
        classes = (*kind.stored, "null") if column.nullable else kind.stored
        conditions.append(sa.func.typeof(column).not_in(classes))
        if isinstance(kind, Words):
            conditions.append(kind.unlike(column))
    elif not column.nullable:
        conditions.append(column.is_(None))
    outside = kind.outside(column)
    return sa.or_(sa.false(), *conditions, *([] if outside is None else [outside]))


def _require_related(connection: sa.Connection, table: sa.Table, run: str | None) -> None:
    if table is evaluations:
        query = sa.select(table.c.run).where(table.c.fitness.is_(None) == table.c.error.is_(None))
        if run is not None:
            query = query.where(_of(connection, table, run))
        found = connection.execute(query.limit(1)).scalar()
        if found is not None:
            reason = "there must be a fitness or an error, one of them"
            raise DamagedError(table.name, "fitness", reason, found)
    # PostgreSQL does not store rows of a run that it does not have.
    if table.name in ("runs", "requests") or connection.dialect.name != "sqlite":
        return
    has = sa.select(runs.c.run).where(runs.c.run == table.c.run).exists()
    stray = connection.execute(sa.select(sa.true()).where(~has).select_from(table).limit(1))
    if stray.first() is not None:
        raise DamagedError(table.name, "run", "a row's run is not in the table runs", run)
