"""The ledger's tables, equal on SQLite and PostgreSQL."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Column,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

runs = Table(
    "runs",
    metadata,
    Column("run", String(32), primary_key=True),
    Column("created_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("market", Text, nullable=False),
    Column("selection", JSON, nullable=False),
    Column("market_hash", String(64), nullable=False),
    Column("seed", String(20), nullable=False),
    Column("population_size", Integer, nullable=False),
    Column("generations", Integer, nullable=False),
    Column("families", JSON, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("mode", String(16), nullable=False),
)

generations = Table(
    "generations",
    metadata,
    Column("run", ForeignKey("runs.run"), primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("finished_at", Double, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("mode", String(16), nullable=False),
    Column("failed", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("run", ForeignKey("runs.run"), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("family", String(64), nullable=False),
    Column("genes", JSON, nullable=False),
    Column("fitness", Double),
    Column("trades", Integer, nullable=False),
    Column("max_drawdown", Double, nullable=False),
    Column("error", Text),
    Column("generation", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
)

individuals = Table(
    "individuals",
    metadata,
    Column("run", ForeignKey("runs.run"), primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("index", Integer, primary_key=True),
    Column("key", String(64), nullable=False),
)
