"""Failed attempts, and the owner of a run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the table ``attempts`` and the columns ``token`` and ``owner`` of ``runs``."""
    op.create_table(
        "attempts",
        sa.Column("run", sa.String(32), sa.ForeignKey("runs.run"), primary_key=True),
        sa.Column("generation", sa.Integer, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.add_column("runs", sa.Column("token", sa.Integer, nullable=False, server_default="0"))
    op.add_column("runs", sa.Column("owner", sa.Text))
