"""How an SQLite ledger is opened while other processes create it."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from ga.ledger import connection
from ga.ledger.connection import BUSY_SECONDS, engine_of
from ga.store_url import url_of

PRAGMAS = {
    "busy_timeout": BUSY_SECONDS * 1000,
    "page_size": 16384,
    "synchronous": 2,
    "foreign_keys": 1,
    "journal_mode": "wal",
}


def pragmas(store: Path, monkeypatch: pytest.MonkeyPatch, *, times: float, code: int) -> dict:
    """The settings of a new connection whose first changes of the journal's mode fail."""
    left = times

    class Cursor(sqlite3.Cursor):
        def execute(self, statement: str, *parameters: object) -> sqlite3.Cursor:
            nonlocal left
            if "journal_mode=" in statement and left > 0:
                left -= 1
                error = sqlite3.OperationalError("planted")
                error.sqlite_errorcode = code
                raise error
            return super().execute(statement, *parameters)

    class Connection(sqlite3.Connection):
        def cursor(self, *_: object) -> sqlite3.Cursor:
            return super().cursor(Cursor)

    monkeypatch.setattr(sqlite3.dbapi2, "connect", Connection)
    engine = engine_of(url_of(str(store)))
    try:
        with engine.connect() as opened:
            return {n: opened.exec_driver_sql(f"PRAGMA {n}").scalar() for n in PRAGMAS}
    finally:
        engine.dispose()


def test_busy_journal_change_is_retried(tmp_path, monkeypatch):
    code = sqlite3.SQLITE_BUSY_RECOVERY
    assert pragmas(tmp_path / "l.db", monkeypatch, times=3, code=code) == PRAGMAS


@pytest.mark.parametrize(
    ("times", "code"), [(1, sqlite3.SQLITE_IOERR), (math.inf, sqlite3.SQLITE_BUSY)]
)
def test_other_errors_and_timeout_are_raised(tmp_path, monkeypatch, times, code):
    monkeypatch.setattr(connection, "BUSY_SECONDS", 0.05)
    with pytest.raises(sa.exc.OperationalError, match="planted"):
        pragmas(tmp_path / "l.db", monkeypatch, times=times, code=code)
