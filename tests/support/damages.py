"""Damaged values for the columns of a ledger, and ledgers that have them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from ga.ledger.columns import LONGEST, Number, Prose
from ga.ledger.schema import metadata

VALUES = {
    "NULL": "NULL",
    "NaN": "NULL + 0.0",
    "text": "'damaged text \u00e9'",
    "blob": "x'00ff7b7d'",
    "negative": "-1000000000000",
    "large": "1e30",
    "infinite": "9e999",
    "object": "'{}'",
    "list": "'[null]'",
    "nested": f"replace(printf('%.{LONGEST // 2}c', '['), 'x', '')",
    "lone surrogate": "CAST(x'eda080' AS TEXT)",
    "escaped surrogate": r"""'["\ud800"]'""",
    "JSON NaN": "'[NaN]'",
    "very long": f"printf('%.{LONGEST + 1}c', 'a')",
}
COLUMNS = [(t.name, c.name) for t in metadata.sorted_tables for c in t.columns]


def plausible(table: str, column: str, value: str) -> bool:
    """Whether the column might hold the value, so that only an anchor or a digest shows it."""
    where = metadata.tables[table].columns[column]
    if value in ("NULL", "NaN"):
        return bool(where.nullable)
    if isinstance(where.type, Prose):
        # SQLite turns numbers into texts there.
        return value not in ("blob", "very long", "lone surrogate")
    if isinstance(where.type, Number) and where.type.low < 0:
        return value in ("negative", "large")
    # Others that match the pattern of a text or are the object that is expected.
    return (column, value) in {
        ("outcome", "object"), ("outcome", "list"), ("outcome", "JSON NaN"),
        ("idempotency_key", "object"), ("idempotency_key", "list"),
    } or (value in TEXTS and (table, column) in ANY_TEXT) or (
        value == "object" and column in ("selection", "made_by", "tables", "body")
    )  # fmt: skip


TEXTS = (
    "object", "list", "JSON NaN", "negative", "large", "infinite", "escaped surrogate",
)  # fmt: skip
ANY_TEXT = {
    ("strategies", "key"), ("attempts", "key"), ("attempts", "outcome"), ("nodes", "id"),
    ("nodes", "digest"), ("anchors", "digest"), ("requests", "idempotency_key"),
}  # fmt: skip
"""Columns that hold any printable text."""


def loosen(file: Path) -> None:
    """Let SQLite store any value anywhere, as a disk does."""
    with closing(sqlite3.connect(file)) as there, there:
        there.execute("PRAGMA writable_schema = ON")
        there.execute("UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '')")


def damage(file: Path, table: str, column: str, value: str) -> None:
    """Set a column of the last row of a table."""
    with closing(sqlite3.connect(file)) as there, there:
        there.execute(
            f'UPDATE {table} SET "{column}" = {VALUES[value]}'
            f" WHERE rowid = (SELECT max(rowid) FROM {table})"
        )
