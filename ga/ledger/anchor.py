"""The anchor of a run: one digest over every column of every row of it, written when it ends.

Whoever can write the ledger can also write a new anchor. An anchor that was noted elsewhere shows
that, too: ``verify`` prints it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from ga.errors import LedgerError
from ga.ledger.decoding import undamaged
from ga.ledger.records import filled
from ga.ledger.schema import (
    anchors,
    attempts,
    evaluations,
    generations,
    individuals,
    nodes,
    runs,
    strategies,
)

_TABLES: Final = (runs, generations, evaluations, individuals, attempts, strategies, nodes)
_CHANGING: Final = {"runs": ("token", "owner")}
"""Columns that say who writes the run, not what it is: each owner changes them."""
_CHUNK: Final = 5_000


@dataclass(frozen=True, kw_only=True)
class Anchored:
    """A run compared with its anchor."""

    anchor: str | None
    """The stored digest; None if there is none."""
    note: str
    """Why there is none; else empty."""
    altered: tuple[str, ...]
    """What differs from it."""


def write_anchor(
    connection: sa.Connection, run: str, *, replaces: tuple[str, ...] = (), earlier: bool = True
) -> None:
    """Write the anchor of a run that has ended, in the transaction that changed its rows.

    Args:
        replaces: tables that the transaction replaced. All others must match an earlier anchor, so
            that it does not vouch for rows that were altered since.
        earlier: whether to compare with an earlier anchor: not when a run ends.

    Raises:
        LedgerError: they do not match.
    """
    tables = _digests(connection, run)
    stored = _stored(connection, run) if earlier else None
    if stored is not None and stored[0]:
        differ = [n for n in tables if n not in replaces and stored[1].get(n) != tables[n]]
        if differ:
            raise LedgerError(
                f"run {run}: {', '.join(differ)} were altered after it ended; see: python -m ga"
                f" verify {run}"
            )
    connection.execute(sa.delete(anchors).where(anchors.c.run == run))
    row = {"run": run, "digest": _total(tables), "tables": tables}
    connection.execute(sa.insert(anchors).values(row))


def compare(connection: sa.Connection, run: str) -> Anchored:
    """Compare the rows of a run with its anchor; use a snapshot."""
    try:
        stored = _stored(connection, run)
        query = sa.select(runs.c.finished_at).where(runs.c.run == run)
        ended = connection.execute(query).scalar() is not None
        tables = _digests(connection, run) if stored is not None and stored[0] else {}
    except LedgerError as error:
        return Anchored(anchor=None, note="", altered=(str(error),))
    if stored is None:
        if ended:
            return Anchored(anchor=None, note="", altered=("anchor: its row is missing",))
        return Anchored(anchor=None, note="no anchor yet: the run has not ended", altered=())
    digest, expected = stored
    if not digest:
        note = "no anchor: an earlier version began the run"
        return Anchored(anchor=None, note=note, altered=())
    altered = [
        f"table {n}: differs from the anchor" for n in tables if tables[n] != expected.get(n)
    ]
    if _total(expected) != digest:
        altered.append("anchor: its digest is not that of its tables")
    return Anchored(anchor=digest, note="", altered=tuple(altered))


def require_anchored(
    connection: sa.Connection, names: Collection[str], *, run: str | None = None
) -> None:
    """Compare some tables, which should have few rows, with the anchors of a run, or of all.

    Raises:
        LedgerError: one differs.
    """
    query = sa.select(anchors.c.run).where(anchors.c.digest != "")
    if run is not None:
        query = query.where(anchors.c.run == run)
    for one in connection.execute(query).scalars().all():
        stored = _stored(connection, one)
        assert stored is not None
        found = _digests(connection, one, names)
        differ = [name for name in found if stored[1].get(name) != found[name]]
        if differ:
            raise LedgerError(
                f"run {one}: {', '.join(differ)} were altered after it ended: restore a backup into"
                f" a new ledger; see: python -m ga verify {one}"
            )


def _stored(connection: sa.Connection, run: str) -> tuple[str, dict[str, str]] | None:
    with undamaged(run):
        row = connection.execute(sa.select(anchors).where(anchors.c.run == run)).first()
        if row is None:
            return None
        filled(anchors, row)
    return row.digest, row.tables


def _digests(connection: sa.Connection, run: str, only: Collection[str] = ()) -> dict[str, str]:
    """Table -> digest of its rows of the run. It does not depend on their order, because databases
    sort texts differently.

    Args:
        only: these tables (none: all).
    """
    found = {}
    for table in _TABLES:
        if only and table.name not in only:
            continue
        left_out = _CHANGING.get(table.name, ())
        columns = [column for column in table.columns if column.name not in left_out]
        # An option of the statement: as one of the connection it would hold for later statements,
        # and PostgreSQL has no cursor for DELETE.
        query = sa.select(*columns).where(table.c.run == run).execution_options(yield_per=_CHUNK)
        total = count = 0
        with undamaged(run):
            for row in connection.execute(query):
                line = json.dumps([_plain(value) for value in row], sort_keys=True)
                total += int.from_bytes(hashlib.sha256(line.encode()).digest(), "big")
                count += 1
        names = [column.name for column in columns]
        text = json.dumps([table.name, names, count, f"{total % 2**256:064x}"])
        found[table.name] = hashlib.sha256(text.encode()).hexdigest()
    return found


def _plain(value: object) -> object:
    # Adding zero turns -0.0 into 0.0, because SQLite stores no negative zero.
    return value + 0.0 if isinstance(value, float) else value


def _total(tables: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(tables), sort_keys=True).encode()).hexdigest()
