"""Migrates a ledger's tables to the current version in one transaction, or refuses the ledger."""

from __future__ import annotations

import errno
import os
import threading
import uuid
from collections.abc import Callable, Collection, Set
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine

from ga.errors import InputError
from ga.ledger.connection import engine_of

VERSIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006", "0007")
"""All versions of the tables, oldest first; each has its file in ``migrations/versions``."""
HEAD: Final = VERSIONS[-1]
_LOCK: Final = 0x6A_1ED6E4
"""The advisory lock for creating or upgrading a ledger."""
VERSION_TABLE: Final = "alembic_version"
_COLUMNS_OF_RUNS: Final = frozenset({"run", "market_hash", "population_size"})
"""Columns by which the table ``runs`` of every version of a ledger is known."""
_NAMED: Final = 5
_ALEMBIC: Final = threading.Lock()
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""Errors of file systems without hard links."""


def upgrade(engine: Engine, shown: str, *, create: bool) -> None:
    """Upgrade the tables to ``HEAD``; with ``create``, make missing ones.

    Raises:
        InputError: no ledger and ``create`` is false, another program's tables, or a version that
            is too old or newer than this one.
    """
    with engine.connect() as connection:
        if _version(connection, shown, create=create) == HEAD:
            return
    with engine.execution_options(begin="IMMEDIATE").begin() as connection:
        migrate(connection, shown, create=create)


def migrate(connection: sa.Connection, shown: str, *, create: bool) -> None:
    """``upgrade`` in the caller's transaction, which must be one that writes (``IMMEDIATE``)."""
    # Its context is global to the process, so threads must not upgrade concurrently.
    with _ALEMBIC:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        found = _version(connection, shown, create=create)
        if found == HEAD:
            return
        # Imported here, because the import takes longer than opening a ledger.
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", "ga.ledger:migrations")
        config.attributes["connection"] = connection
        if found is not None and not sa.inspect(connection).has_table(VERSION_TABLE):
            command.stamp(config, found)
        command.upgrade(config, HEAD)


def make_file(path: Path, shown: str, fill: Callable[[Engine], None] = lambda _: None) -> bool:
    """Make a new ledger in a file atomically; False if there is no way to do so here.

    It is made next to ``path`` and linked there at the end. If another process was first, its file
    stays. On a file system without hard links, nothing is made.

    Args:
        fill: writes the first rows. If it fails, nothing is made.

    Raises:
        FileExistsError: another process was first.
    """
    draft = path.with_name(f".ga-{uuid.uuid4().hex[:12]}.new")
    # One file at any moment: with a write-ahead log, a second file remains if space runs out.
    engine = engine_of(URL.create("sqlite", database=str(draft)), journal="DELETE")
    try:
        upgrade(engine, shown, create=True)
        fill(engine)
        os.link(draft, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    finally:
        engine.dispose()
        for end in ("", "-journal"):
            Path(f"{draft}{end}").unlink(missing_ok=True)
    return True


def is_foreign(names: Set[str], columns_of_runs: Set[str], versions: Collection[str]) -> bool:
    """Whether a database with these tables, columns and versions is another program's."""
    return bool(names - {VERSION_TABLE} or versions) and not columns_of_runs >= _COLUMNS_OF_RUNS


def foreign_tables(shown: str, names: Set[str]) -> InputError:
    """The error for a database with tables of another program."""
    some = ", ".join(sorted(names - {VERSION_TABLE})[:_NAMED]) or VERSION_TABLE
    return InputError(
        f"--store {shown}: holds tables of another program ({some}); nothing was written to it:"
        " give another file, or a PostgreSQL database that is empty"
    )


def _version(connection: sa.Connection, shown: str, *, create: bool) -> str | None:
    """The version of the existing tables; None without tables."""
    seen = sa.inspect(connection)
    names = set(seen.get_table_names())
    versions = None
    if VERSION_TABLE in names:
        query = sa.text(f"SELECT version_num FROM {VERSION_TABLE}")
        versions = [str(found) for found in connection.execute(query).scalars()]
    if not names - {VERSION_TABLE} and not versions:
        if not create:
            raise InputError(f"--store {shown}: holds no ledger; run an evolution first")
        return None
    columns = {column["name"] for column in seen.get_columns("runs")} if "runs" in names else set()
    if is_foreign(names, columns, versions or ()):
        raise foreign_tables(shown, names)
    if versions is None:
        if "selection" not in columns:
            raise InputError(f"--store {shown}: was written by an earlier version; give a new file")
        return VERSIONS[0]
    if not versions:
        raise InputError(
            f"--store {shown}: its table {VERSION_TABLE} is empty, so the version of the ledger's"
            " tables is not known; restore a backup into a new ledger"
        )
    if versions[0] not in VERSIONS:
        raise InputError(
            f"--store {shown}: was written by a newer version (tables {versions[0]}, this knows"
            f" {HEAD}); update evolution-gate, or give another file"
        )
    return versions[0]
