"""Runs, generations, individuals and evaluations: the ledger before it had versions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "runs",
        sa.Column("run", sa.String(32), primary_key=True),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("finished_at", sa.Double),
        sa.Column("market", sa.Text, nullable=False),
        sa.Column("selection", sa.JSON, nullable=False),
        sa.Column("market_hash", sa.String(64), nullable=False),
        sa.Column("seed", sa.String(20), nullable=False),
        sa.Column("population_size", sa.Integer, nullable=False),
        sa.Column("generations", sa.Integer, nullable=False),
        sa.Column("families", sa.JSON, nullable=False),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("mode", sa.String(16), nullable=False),
    )
    op.create_table(
        "generations",
        sa.Column("run", sa.String(32), sa.ForeignKey("runs.run"), primary_key=True),
        sa.Column("generation", sa.Integer, primary_key=True),
        sa.Column("finished_at", sa.Double, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("failed", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
    )
    op.create_table(
        "evaluations",
        sa.Column("run", sa.String(32), sa.ForeignKey("runs.run"), primary_key=True),
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("family", sa.String(64), nullable=False),
        sa.Column("genes", sa.JSON, nullable=False),
        sa.Column("fitness", sa.Double),
        sa.Column("trades", sa.Integer, nullable=False),
        sa.Column("max_drawdown", sa.Double, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
    )
    op.create_table(
        "individuals",
        sa.Column("run", sa.String(32), sa.ForeignKey("runs.run"), primary_key=True),
        sa.Column("generation", sa.Integer, primary_key=True),
        sa.Column("index", sa.Integer, primary_key=True),
        sa.Column("key", sa.String(64), nullable=False),
    )
