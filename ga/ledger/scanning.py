"""The condition that evaluations are of a run, in the form that is read fastest."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ga.ledger.schema import evaluations

_SHARE: Final = 8
"""A scan is faster if at least one in this number of evaluations is of the run."""


def of_run(connection: sa.Connection, run: str | None) -> sa.ColumnElement[bool]:
    """The condition that an evaluation is of a run (None: of any).

    SQLite does not use the index for a run with many of all evaluations: the index has the order of
    the keys, which are hashes, so that every row would be read from another page.
    """
    if run is None:
        return sa.true()
    mine = evaluations.c.run == run
    if connection.dialect.name != "sqlite":
        return mine
    count = sa.select(sa.func.count()).select_from(evaluations).where(mine)
    rows = connection.execute(count).scalar_one()
    # The highest row number is found without a scan.
    total = connection.exec_driver_sql("SELECT max(rowid) FROM evaluations").scalar() or 0
    if rows * _SHARE < total:
        return mine
    return sa.type_coerce(evaluations.c.run, sa.String).op("||")("") == run
