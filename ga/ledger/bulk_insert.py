"""Bulk insert by the fastest method of the database's driver."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPICursor, Dialect

_TOGETHER: Final = 64
"""Rows of one statement on SQLite, which would otherwise be run again for each row. Any release
accepts 999 values, more than ten columns have.
"""


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert rows with values in the order of the table's columns, JSON as text.

    SQLAlchemy's own processing of each value takes longer than the rest of a commit, so the values
    go to the driver unchanged: ``COPY`` for PostgreSQL, many rows in a statement for SQLite.

    Raises:
        sqlalchemy.exc.DBAPIError: the driver refused them.
    """
    if not rows:
        return
    statement, copies = _statement(connection.dialect, table)
    dbapi = connection.dialect.loaded_dbapi
    cursor = connection.connection.cursor()
    try:
        if copies:
            with cursor.copy(statement) as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            _insert_together(cursor, statement, rows)
    except dbapi.Error as error:
        # Raise the same error as SQLAlchemy itself.
        raise sa.exc.DBAPIError.instance(
            statement, None, error, dbapi.Error, dialect=connection.dialect
        ) from error
    finally:
        cursor.close()


def _insert_together(
    cursor: DBAPICursor, statement: str, rows: Sequence[tuple[object, ...]]
) -> None:
    """Insert rows with the statement of one row."""
    whole = len(rows) - len(rows) % _TOGETHER
    if whole:
        into, values = statement.split(" VALUES ")
        many = f"{into} VALUES {', '.join([values] * _TOGETHER)}"
        for at in range(0, whole, _TOGETHER):
            cursor.execute(many, list(chain.from_iterable(rows[at : at + _TOGETHER])))
    cursor.executemany(statement, rows[whole:])


@lru_cache(maxsize=64)
def _statement(dialect: Dialect, table: sa.Table) -> tuple[str, bool]:
    """The statement, and whether it is a ``COPY``."""
    quote = dialect.identifier_preparer.quote
    columns = ", ".join(quote(column.name) for column in table.columns)
    into = f"{quote(table.name)} ({columns})"
    if dialect.name == "postgresql":
        return f"COPY {into} FROM STDIN", True
    return f"INSERT INTO {into} VALUES ({', '.join('?' * len(table.columns))})", False


def text(value: str | None) -> str | None:
    """A text that both databases accept: PostgreSQL refuses NUL, both refuse lone surrogates."""
    if value is None:
        return None
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
