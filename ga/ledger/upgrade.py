"""Bring a ledger's tables to this version, in one transaction, or refuse it."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from ga.errors import InputError

VERSIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006")
"""All versions of the tables, oldest first; each has its file in ``migrations/versions``."""
HEAD: Final = VERSIONS[-1]
_LOCK: Final = 0x6A_1ED6E4
"""The advisory lock that two processes meet at when both create or upgrade one ledger."""


def upgrade(engine: Engine, shown: str, *, create: bool) -> None:
    """Upgrade the tables to ``HEAD``; with ``create``, make them where there are none.

    Raises:
        InputError: no ledger and ``create`` is false, too old to be upgraded, or newer than this.
    """
    with engine.connect() as connection:
        if _version(connection, shown, create=create) == HEAD:
            return
    # Only now: it takes longer to import than to open a ledger.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "ga.ledger:migrations")
    immediate = engine.execution_options(begin="IMMEDIATE")
    with immediate.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        config.attributes["connection"] = connection
        found = _version(connection, shown, create=create)
        if found is not None and not _versioned(connection):
            command.stamp(config, found)
        command.upgrade(config, HEAD)


def _versioned(connection: sa.Connection) -> bool:
    return sa.inspect(connection).has_table("alembic_version")


def _version(connection: sa.Connection, shown: str, *, create: bool) -> str | None:
    """The version of the tables that are there; None if there are none."""
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
