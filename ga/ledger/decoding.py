"""Errors of rows that cannot be read, in one line that names run, table, column and remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from ga.errors import InputError, LedgerError
from ga.ledger.columns import DamagedError


@contextmanager
def undamaged(run: str | None = None) -> Iterator[None]:
    """Convert the errors of rows that cannot be read, and add the run to those that name none.

    Raises:
        LedgerError: instead of them.
    """
    try:
        yield
    except InputError:
        raise
    except DamagedError as error:
        raise (error if run is None else error.of(run)) from None
    except sa.exc.OperationalError as error:
        damaged = undecodable(error)
        if damaged is None:
            raise
        raise (damaged if run is None else damaged.of(run)) from None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        of = "" if run is None else f"run {run}: "
        raise LedgerError(
            f"{of}its rows are damaged ({reason}); restore a backup into a new ledger"
        ) from None


def undecodable(error: sa.exc.DBAPIError) -> DamagedError | None:
    """The damage that SQLite's driver reports for a text that is not UTF-8; None for others."""
    found = re.match(r"Could not decode to UTF-8 column '(\w+)'", str(error.orig))
    if found is None:
        return None
    table = re.search(r"FROM (\w+)", error.statement or "")
    return DamagedError(table[1] if table else "?", found[1], "a text is not UTF-8")
