"""Compares a restored ledger with its source: every table and column that the database lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from validation.stages.ledger_tables import RUN, Row, Table, Tables, opened

_NAMED: Final = 3
"""Rows that are named of each difference."""
_GENERATION: Final = "generation"
_MOVES: Final = frozenset({"finished_at", "token", "owner"})
"""Columns of ``runs`` that change until a run has ended."""
_GROWS: Final = frozenset({"anchors", "nodes", "strategies"})
"""Tables without a generation, to which an unfinished run adds rows."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The runs of a ledger just before a backup: what the backup must hold at the least."""

    finished: frozenset[str]
    unfinished: frozenset[str]


@dataclass(kw_only=True)
class Comparison:
    """A copy compared with its source."""

    rows: dict[str, int] = field(default_factory=dict)
    """Rows that the copy must hold, by table."""
    differing: list[str] = field(default_factory=list)
    """Each table, column or set of rows that differs."""


def database_of(store: str) -> str:
    """``sqlite`` or ``postgresql``."""
    return make_url(store).get_backend_name()


def moment(store: str) -> Moment:
    """The runs of a ledger now."""
    with opened(store) as tables:
        table = tables.by_name["runs"]
        run, ended = table.columns.index(RUN), table.columns.index("finished_at")
        rows = tables.rows("runs")
    finished = frozenset(str(row[run]) for row in rows if row[ended] is not None)
    return Moment(finished=finished, unfinished=frozenset(str(r[run]) for r in rows) - finished)


def compare(source: str, copy: str, then: Moment) -> Comparison:
    """Compare a restored ledger with its source, run by run and row by row.

    A run that had finished before the backup must be equal in every row. Of one that was running,
    every generation up to the copy's last one must be. Later runs are no part of the backup.
    """
    found = Comparison()
    with opened(source) as mine, opened(copy) as theirs:
        lacking = mine.by_name.keys() - theirs.by_name.keys()
        found.differing += [f"table {name} is missing" for name in sorted(lacking)]
        added = theirs.by_name.keys() - mine.by_name.keys()
        found.differing += [f"table {name} is not in the source" for name in sorted(added)]
        for name in sorted(mine.by_name.keys() & theirs.by_name.keys()):
            _table(mine, theirs, name, then, found)
    return found


def _table(mine: Tables, theirs: Tables, name: str, then: Moment, found: Comparison) -> None:
    table, other = mine.by_name[name], theirs.by_name[name]
    found.rows[name] = 0
    if table.columns != other.columns:
        odd = sorted(set(table.columns) ^ set(other.columns))
        found.differing.append(f"{name}: columns {', '.join(odd)} are in one of the two only")
        return
    if not table.by_run:
        _rows(table, mine.rows(name), theirs.rows(name), found)
        return
    # What belongs to no run, like a request that was not begun, is compared as a finished run.
    known = {str(row[0]) for row in _column(mine, "runs", RUN)}
    apart = (mine.runs(name) | theirs.runs(name)) - known
    for run in sorted(then.finished | apart):
        _rows(table, mine.rows(name, run), theirs.rows(name, run), found)
    kept = theirs.runs(name) - then.finished - apart
    for run in sorted(then.unfinished | kept):
        _unfinished(table, mine.rows(name, run), theirs, run, found)


def _unfinished(table: Table, rows: Sequence[Row], theirs: Tables, run: str, f: Comparison) -> None:
    """The part of a run that was committed when the backup was taken."""
    copied = theirs.rows(table.name, run)
    last = max((g for (g,) in theirs.values("generations", run, _GENERATION)), default=-1)
    if table.name == "runs":
        kept = [i for i, column in enumerate(table.columns) if column not in _MOVES]
        part = Table(
            name=table.name,
            columns=tuple(table.columns[i] for i in kept),
            key=table.key,
            json=table.json,
            floats=table.floats,
        )
        _rows(
            part,
            [tuple(row[i] for i in kept) for row in rows],
            [tuple(row[i] for i in kept) for row in copied],
            f,
        )
    elif _GENERATION in table.columns:
        at = table.columns.index(_GENERATION)
        _rows(table, [row for row in rows if row[at] <= last], copied, f)
    elif table.name in _GROWS:
        there = {_key(table, row) for row in copied}
        _rows(table, [row for row in rows if _key(table, row) in there], copied, f)
    else:
        _rows(table, rows, copied, f)


def _rows(table: Table, source: Iterable[Row], copy: Iterable[Row], found: Comparison) -> None:
    mine = {_key(table, row): row for row in source}
    theirs = {_key(table, row): row for row in copy}
    found.rows[table.name] += len(mine)
    if mine == theirs:
        return
    for what, keys in (
        ("missing", mine.keys() - theirs.keys()),
        ("not in the source", theirs.keys() - mine.keys()),
    ):
        if keys:
            found.differing.append(f"{table.name}: {len(keys)} rows {what} ({_shown(keys)})")
    both = sorted(mine.keys() & theirs.keys(), key=str)
    for at, column in enumerate(table.columns):
        odd = [key for key in both if mine[key][at] != theirs[key][at]]
        if odd:
            found.differing.append(f"{table.name}.{column}: {len(odd)} values ({_shown(odd)})")


def _key(table: Table, row: Row) -> str:
    return repr([row[table.columns.index(column)] for column in table.key])


def _column(tables: Tables, name: str, column: str) -> list[Row]:
    at = tables.by_name[name].columns.index(column)
    return [(row[at],) for row in tables.rows(name)]


def _shown(keys: Iterable[str]) -> str:
    named = sorted(keys)
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return ", ".join(named[:_NAMED]) + more


def fill(store: str) -> None:
    """Add two made-up rows to every empty table of a ledger: one with a value in every column, and
    one with as few as the table allows. An empty table would be equal to a forgotten one.
    """
    engine = sa.create_engine(store)
    try:
        known = sa.MetaData()
        known.reflect(engine)
        with engine.begin() as connection:
            runs = connection.execute(sa.select(known.tables["runs"].c[RUN])).scalars().all()
            for table in known.sorted_tables:
                if connection.execute(sa.select(table).limit(1)).first() is None:
                    for number, whole in enumerate((True, False)):
                        row = {
                            column.name: runs[0] if column.foreign_keys else _made(column, number)
                            for column in table.columns
                            if whole or not column.nullable
                        }
                        connection.execute(table.insert().values(row))
    finally:
        engine.dispose()


_LIMITED: Final[Mapping[str, Callable[[int], object]]] = {
    "run": lambda number: f"{0xFA0 + number:012x}",
    "generation": lambda number: 103 + number,
    "fingerprint": lambda number: f"{0xFA0 + number:064x}",
    "key": lambda number: f"{0xFA0 + number:064x}",
    "idempotency_key": lambda number: f"idempotency key {number} '\\",
    "outcome": lambda number: f"made {number}",
    "state": lambda number: "queued" if number else "finished",
}
"""Columns whose values the ledger limits, and what makes one."""


def _made(column: sa.Column[Any], number: int) -> object:
    """A value that no default gives and that uses the whole precision."""
    kind = column.type
    if column.name in _LIMITED:
        return _LIMITED[column.name](number)
    if isinstance(kind, sa.JSON):
        made: Mapping[str, object] = {"made": [0.1 + number, None, "é"], "number": number}
        return made
    if isinstance(kind, sa.Float):
        return 1.0 / 3.0 + number
    if isinstance(kind, sa.Integer):
        return 1_003 + number
    text = f"{column.name} {number} é\n\t'\\"
    length = getattr(kind, "length", None)
    return text if length is None else text[-length:]
