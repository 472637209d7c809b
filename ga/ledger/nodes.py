"""The nodes of a run: their processors, and whether they got work."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

import sqlalchemy as sa

from ga.ledger.bulk_insert import text
from ga.ledger.records import NodeRecord, filled
from ga.ledger.schema import nodes


def keep_nodes(connection: sa.Connection, run: str, checked: Sequence[NodeRecord]) -> None:
    """Record nodes; a recorded one is replaced."""
    for one in checked:
        same = sa.and_(nodes.c.run == run, nodes.c.id == one.id)
        connection.execute(sa.delete(nodes).where(same))
        row = {**asdict(one), "processor": text(one.processor), "refused": text(one.refused)}
        connection.execute(sa.insert(nodes).values(run=run, at=time.time(), **row))


def nodes_of(connection: sa.Connection, run: str) -> list[NodeRecord]:
    """The nodes of a run, in the order in which they were first checked."""
    query = sa.select(nodes).where(nodes.c.run == run).order_by(nodes.c.at)
    rows = connection.execute(query).all()
    for row in rows:
        filled(nodes, row)
    return [
        NodeRecord(
            id=row.id,
            node=row.node,
            processor=row.processor,
            kernel_version=row.kernel_version,
            digest=row.digest,
            refused=row.refused,
        )
        for row in rows
    ]
