"""The final strategies of a run, with what they are worth."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table ``strategies``."""
    op.create_table(
        "strategies",
        sa.Column("run", sa.String(32), sa.ForeignKey("runs.run"), primary_key=True),
        sa.Column("rank", sa.Integer, primary_key=True),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("in_sample", sa.Double),
        sa.Column("out_of_sample", sa.Double),
        sa.Column("holdout", sa.Double),
    )
