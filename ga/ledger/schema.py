"""The ledger's tables, equal on SQLite and PostgreSQL.

A change here needs a new file in ``migrations/versions``; a test compares the two.
"""

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
    # The owner: see ``ga.ledger.ownership``.
    Column("token", Integer, nullable=False, server_default="0"),
    Column("owner", Text),
    # Versions on which the history depends: ``ga.ledger.records.VERSIONS``.
    Column("made_by", JSON),
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

strategies = Table(
    "strategies",
    metadata,
    Column("run", ForeignKey("runs.run"), primary_key=True),
    Column("rank", Integer, primary_key=True),
    Column("key", String(64), nullable=False),
    Column("in_sample", Double),
    Column("out_of_sample", Double),
    Column("holdout", Double),
)

attempts = Table(
    "attempts",
    metadata,
    Column("run", ForeignKey("runs.run"), primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("key", String(64), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("node", Text, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("error", Text),
    Column("at", Double, nullable=False),
)

# Every checked node: see ``ga.execution.numerics_check``.
nodes = Table(
    "nodes",
    metadata,
    Column("run", ForeignKey("runs.run"), primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("node", Text, nullable=False),
    Column("processor", Text, nullable=False),
    Column("kernel_version", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("refused", Text),
    Column("at", Double, nullable=False),
)

# What every row of an ended run was: see ``ga.ledger.anchor``. Empty for runs of versions before.
anchors = Table(
    "anchors",
    metadata,
    Column("run", ForeignKey("runs.run"), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("tables", JSON, nullable=False),
)

# Requests that the HTTP service accepted: see ``ga.service.job_store``. ``run`` is assigned at
# acceptance, so that a request is never evolved twice.
requests = Table(
    "requests",
    metadata,
    Column("run", String(32), primary_key=True),
    Column("idempotency_key", String(200), nullable=False, unique=True),
    Column("fingerprint", String(64), nullable=False),
    Column("body", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("error", Text),
    Column("created_at", Double, nullable=False),
    Column("ended_at", Double),
)
