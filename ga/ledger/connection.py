"""Database engines for SQLite and PostgreSQL, from a file or URL."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor

from ga.errors import LedgerError
from ga.ledger.decoding import undecodable
from ga.store_url import url_of

PATIENCE: Final = 60.0
"""Seconds that a database in use may be unreachable: PostgreSQL returns 0.2 s to several seconds
after a crash.
"""
BUSY_SECONDS: Final = 30.0
_PRAGMAS: Final = (
    f"busy_timeout={BUSY_SECONDS * 1000:.0f}",
    # Keys are hashes and change most pages of their index: few large pages are written faster.
    "page_size=16384",
    "synchronous=FULL",
    "foreign_keys=ON",
)
_FOREIGN: Final = (
    "PGCHANNELBINDING",
    "PGGSSENCMODE",
    "PGHOST",
    "PGHOSTADDR",
    "PGOPTIONS",
    "PGPORT",
    "PGREQUIREAUTH",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGSSLMODE",
    "PGSSLNEGOTIATION",
    "PGSSLROOTCERT",
    "PGTARGETSESSIONATTRS",
)
"""Variables that PostgreSQL's library uses in addition to a URL. We also use those of the
password.
"""
_REASON: Final = 300
"""Maximum characters of a driver's message."""


def problem(error: sa.exc.DBAPIError, url: URL) -> str:
    """The error of a database and its remedy, in one line."""
    text = str(error.orig if error.orig is not None and str(error.orig).strip() else error)
    reason = " ".join(text.split())[:_REASON]
    if url.drivername == "sqlite":
        return f"({reason}); {_sqlite_remedy(error)}"
    set_here = [name for name in _FOREIGN if os.environ.get(name)]
    if set_here:
        are = "is" if len(set_here) == 1 else "are"
        return (
            f"({reason}); {', '.join(set_here)} {are} set in your shell and may be the cause: unset"
            " what is not meant for this server, or check the server and the URL"
        )
    return f"({reason}); check that the server is up, and the URL"


def _sqlite_remedy(error: sa.exc.DBAPIError) -> str:
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return "make space on its volume, or give a file on another"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "wait for the other process that uses it"
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return "give another file, or restore a backup into a new one"
    return "check that it exists, that it and its folder can be written, and the space there"


@contextmanager
def explained_database_errors(store: str) -> Iterator[None]:
    """Convert errors of a database to one line that says what to do.

    Raises:
        LedgerError: instead of the driver's error.
    """
    try:
        yield
    except sa.exc.DBAPIError as error:
        damaged = undecodable(error)
        if damaged is not None:
            raise damaged from None
        url = url_of(store)
        shown = url.render_as_string(hide_password=True)
        raise LedgerError(f"--store {shown}: failed {problem(error, url)}") from None


def file_of(url: URL) -> Path | None:
    """The file of an SQLite store; None for PostgreSQL and for memory."""
    if url.drivername != "sqlite" or not url.database or url.database == ":memory:":
        return None
    return Path(url.database)


def engine_of(
    url: URL, *, journal: str = "WAL", seconds: float | None = None, pooled: bool = True
) -> Engine:
    """An engine with complete transactions on both databases.

    Args:
        journal: SQLite's journal mode; with ``DELETE`` all committed data is in one file.
        seconds: of silence after which a call to PostgreSQL fails (None: ``answer_seconds``).
        pooled: whether sessions of PostgreSQL are kept for the next use.
    """
    if url.drivername != "sqlite":
        # Imported here, because SQLite needs no driver of PostgreSQL.
        from ga.ledger.deadlines import Connector, answer_seconds

        connector = Connector(answer_seconds() if seconds is None else seconds)
        timeouts = {k: v for k, v in connector.parameters.items() if k not in url.query}
        pool: dict[str, Any] = {"pool_pre_ping": True, "pool_timeout": connector.seconds}
        if not pooled:
            pool = {"poolclass": sa.NullPool}
        engine = sa.create_engine(url, connect_args=timeouts, **pool)
        sa.event.listen(engine, "do_connect", connector)
        return engine
    engine = sa.create_engine(url)
    sa.event.listen(engine, "connect", lambda c, record: _set_up(c, record, journal))
    sa.event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: DBAPIConnection, _record: object, journal: str = "WAL") -> None:
    # Python's driver begins a transaction only at the first INSERT, and never for a SELECT or
    # CREATE. Then neither a snapshot of several SELECTs nor a migration would be one transaction.
    connection.isolation_level = None
    cursor = connection.cursor()
    deadline = time.monotonic() + BUSY_SECONDS
    for pragma in (*_PRAGMAS, f"journal_mode={journal}"):
        # If several processes create one file, SQLite refuses a change of the journal mode at once,
        # without the time-out.
        while not _done(cursor, f"PRAGMA {pragma}", last=time.monotonic() > deadline):
            time.sleep(0.01)
    cursor.close()


def _done(cursor: DBAPICursor, statement: str, *, last: bool) -> bool:
    try:
        cursor.execute(statement)
    except sqlite3.OperationalError as error:
        if last or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('begin', '')}")


@contextmanager
def snapshot(engine: Engine) -> Iterator[sa.Connection]:
    """A connection with a consistent snapshot of all tables."""
    options: dict[str, Any] = {}
    if engine.dialect.name == "postgresql":
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with engine.connect().execution_options(**options) as connection:
        yield connection


def wait_for_restarts(engine: Engine) -> None:
    """From now on, new connections to PostgreSQL wait while it restarts."""
    if engine.dialect.name == "postgresql":
        # First of the listeners: the first that returns a connection is the last one asked.
        sa.event.listen(engine, "do_connect", _connect, insert=True)


def _connect(
    dialect: DefaultDialect, record: object, cargs: Sequence[Any], cparams: dict[str, Any]
) -> DBAPIConnection:
    from ga.ledger.deadlines import Connector, answer_seconds

    connect = Connector(answer_seconds())
    deadline, pause = time.monotonic() + PATIENCE, 0.05
    while True:
        try:
            return connect(dialect, record, cargs, cparams)
        except dialect.loaded_dbapi.OperationalError:
            if time.monotonic() > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 1.0)
