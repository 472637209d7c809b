"""Which nodes evaluated a run, and which were refused."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the table ``nodes``."""
    op.create_table(
        "nodes",
        sa.Column("run", sa.String(32), sa.ForeignKey("runs.run"), primary_key=True),
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("processor", sa.Text, nullable=False),
        sa.Column("kernel_version", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("refused", sa.Text),
        sa.Column("at", sa.Double, nullable=False),
    )
