"""How much of a ledger each run takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from ga.ledger.columns import DamagedError
from ga.ledger.schema import metadata, requests, runs

_ROW_BYTES: Final[Mapping[str, int]] = {"evaluations": 340, "individuals": 200}
"""What a row takes on average with its indexes, measured on a ledger of 2 million evaluations."""
_OTHER_ROW_BYTES: Final = 400


@dataclass(frozen=True, kw_only=True)
class LedgerSize:
    """The size of a whole ledger."""

    used: int
    """Bytes of rows and indexes."""
    free: int
    """Bytes of SQLite's file that hold nothing and are used again; 0 for PostgreSQL, which does not
    tell.
    """


@dataclass(frozen=True, kw_only=True)
class RunSize:
    """The size of one run."""

    rows: int
    """In all tables."""
    bytes: int
    """Estimate: its share of the ledger by its rows."""


NOTHING: Final = RunSize(rows=0, bytes=0)


def ledger_size(connection: sa.Connection) -> LedgerSize:
    """The size of the ledger's tables and indexes."""
    if connection.dialect.name == "sqlite":
        pages, free, size = (
            int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
            for name in ("page_count", "freelist_count", "page_size")
        )
        return LedgerSize(used=(pages - free) * size, free=free * size)
    of = [sa.func.pg_total_relation_size(name) for name in metadata.tables]
    return LedgerSize(used=sum(map(int, connection.execute(sa.select(*of)).one())), free=0)


def run_sizes(connection: sa.Connection) -> dict[str, RunSize]:
    """Run -> its size, also of runs that only have a request of the service.

    Raises:
        DamagedError: a row's run does not exist.
    """
    known = set(connection.execute(sa.select(runs.c.run)).scalars())
    rows: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    for table in metadata.sorted_tables:
        query = sa.select(table.c.run, sa.func.count()).group_by(table.c.run)
        for run, count in connection.execute(query):
            if run is None:
                raise DamagedError(table.name, "run", "there is no value")
            # A request waits until its run begins.
            if run not in known and table is not requests:
                raise DamagedError(table.name, "run", "a row's run is not in the table runs")
            rows[run] += count
            weights[run] += count * _ROW_BYTES.get(table.name, _OTHER_ROW_BYTES)
    used, total = ledger_size(connection).used, weights.total()
    return {
        run: RunSize(rows=count, bytes=used * weights[run] // total) for run, count in rows.items()
    }
