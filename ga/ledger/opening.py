"""Opens a ledger by its URL or file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine

from ga.errors import InputError
from ga.ledger.connection import engine_of, file_of, problem, wait_for_restarts
from ga.ledger.migrate import (
    VERSION_TABLE,
    foreign_tables,
    is_foreign,
    make_file,
    migrate,
    upgrade,
)
from ga.ledger.store import Ledger
from ga.store_url import url_of


def open_ledger(
    store: str, *, create: bool, wait: bool = True, seconds: float | None = None
) -> Ledger:
    """Open the ledger at a file or URL; with ``create``, make what is missing.

    A ledger of an earlier version is upgraded. With ``wait``, operations wait for a PostgreSQL that
    restarts; otherwise they raise an error at once. A call fails when PostgreSQL has been silent
    for ``seconds`` (None: ``ga.ledger.deadlines.answer_seconds``).

    Raises:
        InputError: it cannot be opened, is not a ledger, or is missing and ``create`` is false.
    """
    url, shown, path = _located(store)
    if path is not None and not create and not path.exists():
        raise InputError(f"--store {shown}: no such file; run an evolution first")
    with _explained_errors(url, shown):
        if path is not None and create and not os.path.lexists(path):
            _made(path, shown)
        engine = engine_of(url, seconds=seconds)
        try:
            upgrade(engine, shown, create=create)
        except BaseException:
            engine.dispose()
            raise
    if wait:
        wait_for_restarts(engine)
    return Ledger(engine)


def fill_new(store: str, fill: Callable[[sa.Connection], None]) -> None:
    """Fill a ledger, which may not exist yet, in one transaction.

    Args:
        fill: raises an error if the ledger is not one to be filled, or cannot be filled. Then it is
            as before: a new file is not there, and a database gets no tables.

    Raises:
        InputError: it cannot be opened, or is not a ledger.
    """
    url, shown, path = _located(store)

    def work(engine: Engine) -> None:
        with engine.execution_options(begin="IMMEDIATE").begin() as connection:
            migrate(connection, shown, create=True)
            fill(connection)

    with _explained_errors(url, shown):
        if path is not None and not os.path.lexists(path):
            try:
                if make_file(path, shown, work):
                    return
            except FileExistsError:
                raise InputError(
                    f"--store {shown}: another process made it meanwhile; give another file"
                ) from None
        engine = engine_of(url)
        try:
            work(engine)
        finally:
            engine.dispose()


def _located(store: str) -> tuple[URL, str, Path | None]:
    """The URL of a store, how it is shown, and its file."""
    url = url_of(store)
    shown = url.render_as_string(hide_password=True)
    path = file_of(url)
    if path is not None:
        if path.exists() and not (path.is_file() or path.is_dir()):
            # SQLite would wait for the other end of a pipe.
            raise InputError(f"--store {shown}: is a pipe or a device; give a file")
        if not path.parent.is_dir():
            raise InputError(f"--store {shown}: folder {path.parent} does not exist; make it")
        # Before it is opened as a ledger, which changes how its journal is written.
        others = _foreign_tables(path)
        if others:
            raise foreign_tables(shown, others)
    return url, shown, path


def _foreign_tables(path: Path) -> set[str]:
    """The tables of a file of SQLite that is another program's, read without any change; else, or
    if it cannot be read, none.
    """
    name = quote(os.path.abspath(path))
    names: set[str] = set()
    # Without its locks, which make files next to it, what is being written may be read in part.
    for how in ("mode=ro&immutable=1", "mode=ro"):
        try:
            with closing(sqlite3.connect(f"file:{name}?{how}", uri=True)) as connection:
                read = connection.execute
                rows = read("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
                names = {str(row[0]) for row in rows}
                columns = {str(row[1]) for row in read("PRAGMA table_info(runs)")}
                versions: list[str] = []
                if VERSION_TABLE in names:
                    versions = [str(row) for row in read(f"SELECT * FROM {VERSION_TABLE}")]
        except sqlite3.Error:
            return set()
        if not is_foreign(names, columns, versions):
            return set()
    return names


def _made(path: Path, shown: str) -> None:
    try:
        make_file(path, shown)
    except FileExistsError:
        # Another process was first.
        return


@contextmanager
def _explained_errors(url: URL, shown: str) -> Iterator[None]:
    """Convert errors of the database and of the file to one line.

    Raises:
        InputError: instead of them.
    """
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise InputError(f"--store {shown}: cannot be opened {problem(error, url)}") from None
    except OSError as error:
        raise InputError(
            f"--store {shown}: cannot be opened ({error.strerror}); check that it and its folder"
            " can be written"
        ) from None
