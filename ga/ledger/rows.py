"""Many rows in one statement, by the fastest way that the database's driver has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert rows whose values stand in the order of the table's columns, JSON as text.

    SQLAlchemy's own processing of each value costs more than all the rest of a commit, so the
    values go to the driver as they are: ``COPY`` for PostgreSQL, ``executemany`` for SQLite.

    Raises:
        sqlalchemy.exc.DBAPIError: as the driver refused them.
    """
    if not rows:
        return
    prepare = connection.dialect.identifier_preparer
    columns = ", ".join(prepare.quote(column.name) for column in table.columns)
    into = f"{prepare.quote(table.name)} ({columns})"
    if connection.dialect.name == "postgresql":
        _copy(connection, f"COPY {into} FROM STDIN", rows)
    else:
        marks = ", ".join("?" * len(table.columns))
        connection.exec_driver_sql(f"INSERT INTO {into} VALUES ({marks})", list(rows))


def _copy(connection: sa.Connection, statement: str, rows: Iterable[Sequence[object]]) -> None:
    cursor = connection.connection.cursor()
    dbapi = connection.dialect.loaded_dbapi
    try:
        with cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except dbapi.Error as error:
        # As SQLAlchemy would have raised it, had the statement gone through it.
        raise sa.exc.DBAPIError.instance(
            statement, None, error, dbapi.Error, dialect=connection.dialect
        ) from error
    finally:
        cursor.close()


def text(value: str | None) -> str | None:
    """A text that both databases take: PostgreSQL has no NUL, neither has lone surrogates."""
    if value is None:
        return None
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
