"""Removal of old runs: which may be removed, and their removal, one transaction for each."""

from __future__ import annotations

import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from ga.errors import InputError, LedgerError
from ga.ledger.connection import file_of, snapshot
from ga.ledger.decoding import undamaged
from ga.ledger.ownership import is_owned
from ga.ledger.schema import evaluations, generations, metadata, requests, runs
from ga.ledger.sizes import NOTHING, RunSize, ledger_size, run_sizes
from ga.ledger.soundness import require_sound
from ga.ledger.store import Ledger


@dataclass(frozen=True, kw_only=True)
class OldRun:
    """A run that is older than the limit."""

    run: str
    market: str
    """Empty if only the request of the service exists, which never began."""
    last_at: float
    """Unix seconds: when it ended; else when its last generation was committed, or it began."""
    ended: bool
    size: RunSize
    kept: str
    """Why it is not removed; empty if it may be removed."""


def old_runs(
    ledger: Ledger, before: float, *, unfinished: bool = False, keep_best: int = 0
) -> list[OldRun]:
    """The runs whose last change was before a time, oldest first.

    Args:
        unfinished: whether runs that have not ended may be removed, too.
        keep_best: how many ended runs of each market to keep whatever their age: those with the
            highest fitness.

    Raises:
        LedgerError: a value is damaged, so that ages cannot be compared.
    """
    with snapshot(ledger.engine) as connection, undamaged():
        require_sound(connection, (runs, generations, requests), related=False)
        best = _best(connection, keep_best) if keep_best else frozenset()
        sizes = run_sizes(connection)
        rows = list(_ages(connection))
    found = []
    for run, market, last_at, ended, waits in rows:
        if last_at >= before:
            continue
        kept = ""
        if waits:
            kept = "its request has not ended"
        elif run in best:
            kept = f"one of the {keep_best} best of its market"
        elif not ended and not unfinished:
            kept = "has not ended and can be resumed; --unfinished removes it"
        elif is_owned(ledger.engine, run, file_of(ledger.engine.url)):
            kept = "another process evolves it"
        size = sizes.get(run, NOTHING)
        found.append(
            OldRun(run=run, market=market, last_at=last_at, ended=ended, size=size, kept=kept)
        )
    return sorted(found, key=lambda one: (one.last_at, one.run))


def remove(ledger: Ledger, old: OldRun, before: float) -> int:
    """Remove all rows of a run from every table in one transaction; returns their number.

    The run is owned meanwhile, so that no process can evolve it.

    Raises:
        InputError: another process evolves it.
        LedgerError: it was changed since it was listed; nothing was removed.
    """
    removed = 0

    def write(connection: sa.Connection) -> None:
        nonlocal removed
        now = next(_ages(connection, old.run), None)
        if now is None or now[2] >= before or now[4]:
            raise LedgerError(f"run {old.run}: was changed since it was listed; not removed")
        removed = 0
        # Rows that refer to others go first.
        for table in reversed(metadata.sorted_tables):
            done = connection.execute(sa.delete(table).where(table.c.run == old.run))
            removed += done.rowcount

    if not old.market:
        with ledger.engine.execution_options(begin="IMMEDIATE").begin() as connection:
            write(connection)
        return removed
    with ledger.acquire(old.run) as owner:
        try:
            owner.write(write, done=lambda _: False)
        except LedgerError:
            # The connection may have been lost after the commit.
            with ledger.engine.connect() as connection:
                if not removed or next(_ages(connection, old.run), None) is not None:
                    raise
    return removed


def shrink(engine: Engine) -> str | None:
    """Return the free space of an SQLite file to its volume; why that was not done, None if it was.

    On PostgreSQL nothing is done: only an administrator can decide to lock the tables for it.
    """
    if engine.dialect.name != "sqlite":
        return (
            "PostgreSQL uses the space again for new rows; to return it to the volume, run"
            " VACUUM FULL in this database, which locks its tables meanwhile"
        )
    with engine.connect() as connection:
        if not ledger_size(connection).free:
            return None
    # A connection of the driver, because VACUUM cannot run in a transaction.
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        cursor.execute("VACUUM")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        cursor.close()
    except sqlite3.OperationalError as error:
        return (
            f"the file was not made smaller ({error}): VACUUM needs as much free space as the"
            " ledger takes, and no other writer; see to it, and prune again"
        )
    finally:
        raw.close()
    return None


def days_before(days: float) -> float:
    """The time, in Unix seconds, that was some days ago.

    Raises:
        InputError: the days are not a usable number.
    """
    # NaN fails both comparisons.
    if not 0 <= days <= 36_500:
        raise InputError(f"--older-than must be 0..36500 days, not {days:g}")
    return time.time() - 86_400 * days


def _ages(
    connection: sa.Connection, run: str | None = None
) -> Iterator[tuple[str, str, float, bool, bool]]:
    """Run, market, time of its last change, whether it ended, whether its request has not."""
    last = sa.select(sa.func.max(generations.c.finished_at)).where(generations.c.run == runs.c.run)
    waits: sa.ColumnElement[Any] = sa.and_(
        requests.c.run.is_not(None), requests.c.ended_at.is_(None)
    )
    query = sa.select(
        runs.c.run,
        runs.c.market,
        runs.c.created_at,
        runs.c.finished_at,
        last.scalar_subquery().label("last"),
        waits.label("waits"),
    ).select_from(runs.outerjoin(requests, requests.c.run == runs.c.run))
    alone = sa.select(requests).where(
        ~sa.select(runs.c.run).where(runs.c.run == requests.c.run).exists()
    )
    if run is not None:
        query, alone = query.where(runs.c.run == run), alone.where(requests.c.run == run)
    for row in connection.execute(query):
        ended = row.finished_at is not None
        at = max(row.created_at, row.finished_at or 0.0, row.last or 0.0)
        yield row.run, row.market, at, ended, bool(row.waits)
    for row in connection.execute(alone):
        at = max(row.created_at, row.ended_at or 0.0)
        yield row.run, "", at, True, row.ended_at is None


def _best(connection: sa.Connection, count: int) -> frozenset[str]:
    """The ended runs with the highest fitness of each market; of equal ones the first by id."""
    top = sa.func.max(evaluations.c.fitness)
    query = (
        sa.select(runs.c.run, runs.c.market_hash, top.label("top"))
        .join(evaluations, evaluations.c.run == runs.c.run)
        .where(runs.c.finished_at.is_not(None), evaluations.c.fitness.is_not(None))
        .group_by(runs.c.run, runs.c.market_hash)
    )
    of_market: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    for row in connection.execute(query):
        of_market[row.market_hash].append((-row.top, row.run))
    ranked: Iterable[list[tuple[float, str]]] = map(sorted, of_market.values())
    return frozenset(run for one in ranked for _, run in one[:count])
