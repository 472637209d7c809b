"""Which engine a run was begun by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add ``runs.made_by``; of the runs that are there it is not known."""
    op.add_column("runs", sa.Column("made_by", sa.JSON))
