"""An anchor over every column of every row of a run, written when the run ends."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the table ``anchors``; the runs that are there get an empty one: not known."""
    op.create_table(
        "anchors",
        sa.Column("run", sa.String(32), sa.ForeignKey("runs.run"), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("tables", sa.JSON, nullable=False),
    )
    op.execute("INSERT INTO anchors (run, digest, tables) SELECT run, '', '{}' FROM runs")
