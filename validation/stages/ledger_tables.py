"""Every table and column of a ledger, as its database lists them, read by the gate's own SQL.

Nothing here comes from the engine: neither its list of tables nor its types. So a table or column
that the engine forgets is seen, and one that it adds is compared from the first day.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

RUN: Final = "run"
"""The column that says to which run a row belongs."""
MAY_DIFFER: Final[Mapping[str, frozenset[str]]] = {
    "runs": frozenset({"run", "created_at", "finished_at", "mode", "token", "owner"}),
    "generations": frozenset({"run", "finished_at", "seconds", "mode"}),
    "evaluations": frozenset({"run", "attempts"}),
    "individuals": frozenset({"run"}),
    "strategies": frozenset({"run"}),
}
"""Columns in which two runs of one plan may differ: names, times, who did the work and how often.
All other columns, also those of a later version, must be equal bit for bit."""
OWN_TO_A_RUN: Final = frozenset({"anchors", "attempts", "nodes", "requests"})
"""Tables that tell what happened to a run, not what it found: ``irregular`` checks them."""
_MODES: Final = frozenset({"local", "distributed"})
_SHA256: Final = re.compile("[0-9a-f]{64}")

Row = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table, as the database's catalogue describes it."""

    name: str
    columns: tuple[str, ...]
    """In alphabetical order: databases may keep them in another one."""
    key: tuple[str, ...]
    """The columns of the primary key; all columns if it has none."""
    json: frozenset[str]
    floats: frozenset[str]

    @property
    def by_run(self) -> bool:
        """Whether each row belongs to a run."""
        return RUN in self.columns


class Tables:
    """An open ledger. Use ``opened``."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        seen = sa.inspect(connection)
        self.by_name: dict[str, Table] = {}
        for name in sorted(seen.get_table_names()):
            columns = {str(c["name"]): c["type"] for c in seen.get_columns(name)}
            key = seen.get_pk_constraint(name)["constrained_columns"] or sorted(columns)
            self.by_name[name] = Table(
                name=name,
                columns=tuple(sorted(columns)),
                key=tuple(sorted(key)),
                json=frozenset(c for c, kind in columns.items() if isinstance(kind, sa.JSON)),
                floats=frozenset(c for c, kind in columns.items() if isinstance(kind, sa.Float)),
            )

    def rows(self, name: str, run: str | None = None) -> list[Row]:
        """The rows of a table, or of one run in it; values in the order of ``columns``.

        JSON is parsed, and a number in a column of fractions is a float. So equal values are equal
        whichever database holds them. SQLite has no negative zero; here none has.
        """
        table = self.by_name[name]
        found = sa.table(name, *map(sa.column, table.columns))
        query = sa.select(found)
        if run is not None:
            query = query.where(found.c[RUN] == run)
        rows = [tuple(row) for row in self._connection.execute(query)]
        for at, column in enumerate(table.columns):
            if column in table.json or column in table.floats:
                read = _parsed if column in table.json else _number
                rows = [(*row[:at], read(row[at]), *row[at + 1 :]) for row in rows]
        return rows

    def values(self, name: str, run: str, *columns: str) -> list[Row]:
        """Some columns of a run's rows."""
        at = [self.by_name[name].columns.index(column) for column in columns]
        return [tuple(row[i] for i in at) for row in self.rows(name, run)]

    def runs(self, name: str) -> set[str]:
        """The runs that have rows in a table."""
        column: sa.ColumnClause[str] = sa.column(RUN)
        query = sa.select(column).select_from(sa.table(name, column)).distinct()
        return {str(row[0]) for row in self._connection.execute(query)}


@contextmanager
def opened(store: str) -> Iterator[Tables]:
    """The tables of a store. In PostgreSQL all are of one moment; nothing may write to SQLite."""
    engine = sa.create_engine(store)
    try:
        level = "REPEATABLE READ" if engine.dialect.name == "postgresql" else "SERIALIZABLE"
        with engine.connect().execution_options(isolation_level=level) as connection:
            yield Tables(connection)
    finally:
        engine.dispose()


def content_digest(tables: Tables, run: str) -> str:
    """SHA-256 over every table and column of a run, without ``MAY_DIFFER`` and ``OWN_TO_A_RUN``.

    Two runs of one plan have equal digests, whichever machines did the work.
    """
    digest = hashlib.sha256()
    for name, table in tables.by_name.items():
        if not table.by_run or name in OWN_TO_A_RUN:
            continue
        ignored = MAY_DIFFER.get(name, frozenset({RUN}))
        kept = [i for i, column in enumerate(table.columns) if column not in ignored]
        key = [i for i in kept if table.columns[i] in table.key]
        rows = [tuple(row[i] for i in kept) for row in tables.rows(name, run)]
        at = [kept.index(i) for i in key]
        rows.sort(key=lambda row: [row[i] for i in at])
        digest.update(repr((name, [table.columns[i] for i in kept])).encode())
        for row in rows:
            # The shortest text of a float that gives the same bits.
            digest.update(repr(row).encode())
    return digest.hexdigest()


def irregular(tables: Tables, run: str, *, planned: int, cached: bool) -> list[str]:
    """What is wrong in the columns and tables that the digest leaves out. Times are not judged
    here, because a clock may be set.

    Args:
        planned: Number of generations.
        cached: Whether outcomes may come from a cache: then an evaluation may have no attempt.
    """
    wrong: list[str] = []
    modes = [*tables.values("runs", run, "mode"), *tables.values("generations", run, "mode")]
    wrong += [f"mode {mode!r}" for (mode,) in modes if mode not in _MODES]
    for generation, seconds in tables.values("generations", run, "generation", "seconds"):
        if seconds < 0:
            wrong.append(f"generation {generation}: {seconds} s")
    keys = set()
    for key, attempts in tables.values("evaluations", run, "key", "attempts"):
        keys.add(key)
        if attempts < (0 if cached else 1):
            wrong.append(f"evaluation {key[:10]}: {attempts} attempts")
    for generation, number, key, attempt, outcome, node in tables.values(
        "attempts", run, "generation", "number", "key", "attempt", "outcome", "node"
    ):
        sound = key in keys and attempt >= 0 and outcome and node
        if not sound or not 0 <= generation < planned:
            wrong.append(f"attempt {number} of generation {generation}: {outcome!r} of {key[:10]}")
    for node, processor, digest, refused in tables.values(
        "nodes", run, "node", "processor", "digest", "refused"
    ):
        if not node or not processor or not (digest or refused):
            wrong.append(f"node {node!r}: processor {processor!r}, digest {digest!r}")
    for (digest,) in tables.values("anchors", run, "digest"):
        if not _SHA256.fullmatch(digest):
            wrong.append(f"anchor {digest[:10]!r} is no SHA-256")
    return wrong


def from_cache(tables: Tables, run: str) -> int:
    """Evaluations of a run that no worker did."""
    return sum(attempts == 0 for (attempts,) in tables.values("evaluations", run, "attempts"))


def _parsed(value: object) -> object:
    # PostgreSQL's driver has parsed it already.
    return json.loads(value) if isinstance(value, str) else value


def _number(value: object) -> float | None:
    return None if value is None else float(value) + 0.0  # type: ignore[arg-type]
