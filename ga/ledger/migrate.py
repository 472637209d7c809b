"""Migrates a ledger's tables to the current version in one transaction, or refuses the ledger."""

from __future__ import annotations

import errno
import os
import threading
import uuid
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
_ALEMBIC: Final = threading.Lock()
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""Errors of file systems without hard links."""


def upgrade(engine: Engine, shown: str, *, create: bool) -> None:
    """Upgrade the tables to ``HEAD``; with ``create``, make missing ones.

    Raises:
        InputError: no ledger and ``create`` is false, or its version is too old or newer than this
            one.
    """
    with engine.connect() as connection:
        if _version(connection, shown, create=create) == HEAD:
            return
    # Imported here, because the import takes longer than opening a ledger.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "ga.ledger:migrations")
    immediate = engine.execution_options(begin="IMMEDIATE")
    # Its context is global to the process, so threads must not upgrade concurrently.
    with _ALEMBIC, immediate.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        config.attributes["connection"] = connection
        found = _version(connection, shown, create=create)
        if found is not None and not _versioned(connection):
            command.stamp(config, found)
        command.upgrade(config, HEAD)


def make_file(path: Path, shown: str) -> None:
    """Make a new ledger in a file atomically.

    It is made next to ``path`` and linked there at the end. If another process was first, its file
    stays. On a file system without hard links, nothing is made here.
    """
    draft = path.with_name(f".ga-{uuid.uuid4().hex[:12]}.new")
    # One file at any moment: with a write-ahead log, a second file remains if space runs out.
    engine = engine_of(URL.create("sqlite", database=str(draft)), journal="DELETE")
    try:
        upgrade(engine, shown, create=True)
        os.link(draft, path)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    finally:
        engine.dispose()
        for end in ("", "-journal"):
            Path(f"{draft}{end}").unlink(missing_ok=True)


def _versioned(connection: sa.Connection) -> bool:
    return sa.inspect(connection).has_table("alembic_version")


def _version(connection: sa.Connection, shown: str, *, create: bool) -> str | None:
    """The version of the existing tables; None without tables."""
    if _versioned(connection):
        found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        if found is not None and found not in VERSIONS:
            raise InputError(
                f"--store {shown}: was written by a newer version (tables {found}, this knows"
                f" {HEAD}); update evolution-gate, or give another file"
            )
        if found is not None:
            return str(found)
    seen = sa.inspect(connection)
    if not seen.has_table("runs"):
        if not create:
            raise InputError(f"--store {shown}: holds no ledger; run an evolution first")
        return None
    if "selection" not in {column["name"] for column in seen.get_columns("runs")}:
        raise InputError(f"--store {shown}: was written by an earlier version; give a new file")
    return VERSIONS[0]
