"""How an SQLite ledger is opened while others make it."""

from __future__ import annotations

import math
import sqlite3

import pytest

from ga.ledger import connection


class Refusing:
    """A connection whose first statements on the journal fail, as in a file that others make."""

    def __init__(self, times: float, code: int) -> None:
        self.left, self.code, self.done = times, code, []

    def cursor(self):
        return self

    def close(self) -> None:
        pass

    def execute(self, statement: str) -> None:
        if "journal_mode" in statement and self.left > 0:
            self.left -= 1
            error = sqlite3.OperationalError("planted")
            error.sqlite_errorcode = self.code
            raise error
        self.done.append(statement)


def test_a_journal_that_others_change_is_waited_for_and_nothing_else_is(monkeypatch):
    busy = Refusing(3, sqlite3.SQLITE_BUSY_RECOVERY)
    connection._set_up(busy, None)
    assert busy.done == [f"PRAGMA {p}" for p in (*connection._PRAGMAS, "journal_mode=WAL")]
    for again, code in ((1, sqlite3.SQLITE_IOERR), (math.inf, sqlite3.SQLITE_BUSY)):
        monkeypatch.setattr(connection, "_BUSY_S", 0.05)
        with pytest.raises(sqlite3.OperationalError, match="planted"):
            connection._set_up(Refusing(again, code), None)
