"""The ledger's tables, equal on SQLite and PostgreSQL.

A change here needs a new file in ``migrations/versions``; a test compares the two.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, fields
from typing import Any, Final

from sqlalchemy import Column, ForeignKey, MetaData, Table

from ga.backtest.simulation import Costs
from ga.evaluation.settings import Settings
from ga.ledger.columns import (
    LAST_TIME,
    MOST,
    Json,
    Number,
    Prose,
    Whole,
    Words,
    is_number,
    is_text,
)
from ga.sources import MarketSpec

metadata = MetaData()

_HEX: Final = "[0-9a-f]"
_PRINTABLE: Final = "[ -~]"
_WORD: Final = "[a-z_]"
_MEASURE: Final = sys.float_info.max
"""Bound of measured values: all but infinity."""
_MILLION: Final = 1_000_000
_COSTS: Final = asdict(Costs())
_SETTINGS: Final = asdict(Settings())


def _selects(value: Any) -> bool:
    if not isinstance(value, dict) or not value.keys() <= {f.name for f in fields(MarketSpec)}:
        return False
    assets = value.get("assets")
    others = [one for name, one in value.items() if name != "assets" and one is not None]
    listed = isinstance(assets, list) and bool(assets) and all(map(is_text, assets))
    return (assets is None or listed) and all(map(is_text, others))


def _sets(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("costs"), dict):
        return False
    return _as_default(value["costs"], _COSTS) and _as_default(
        {name: one for name, one in value.items() if name != "costs"}, _SETTINGS
    )


def _as_default(value: dict[str, Any], defaults: dict[str, Any]) -> bool:
    """Whether all are numbers, and those are whole whose default is."""
    return all(
        name in defaults and is_number(one) and (type(one) is int or type(defaults[name]) is float)
        for name, one in value.items()
    )


def _names(value: Any) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return all(is_text(one) and len(one) <= 64 for one in value)


def _versions(value: Any) -> bool:
    if not isinstance(value, dict) or not all(map(is_text, value)):
        return False
    return all(type(one) is int and 0 <= one <= MOST for one in value.values())


def _genes(value: Any) -> bool:
    return isinstance(value, list) and 1 <= len(value) <= 64 and all(map(is_number, value))


def _digests(value: Any) -> bool:
    return isinstance(value, dict) and all(map(is_text, [*value, *value.values()]))


def _object(value: Any) -> bool:
    return isinstance(value, dict) and all(map(is_text, value))


runs = Table(
    "runs",
    metadata,
    Column("run", Words("runs.run", 32, _HEX, 12), primary_key=True),
    Column("created_at", Number("runs.created_at", 0.0, LAST_TIME), nullable=False),
    Column("finished_at", Number("runs.finished_at", 0.0, LAST_TIME)),
    Column("market", Prose("runs.market"), nullable=False),
    Column(
        "selection", Json("runs.selection", _selects, "the selection of a market"), nullable=False
    ),
    Column("market_hash", Words("runs.market_hash", 64, _HEX, 64), nullable=False),
    Column("seed", Words("runs.seed", 20, "[0-9]", 1), nullable=False),
    Column("population_size", Whole("runs.population_size", 1, _MILLION), nullable=False),
    Column("generations", Whole("runs.generations", 1, _MILLION), nullable=False),
    Column("families", Json("runs.families", _names, "a list of families"), nullable=False),
    Column("settings", Json("runs.settings", _sets, "the settings of evaluations"), nullable=False),
    Column("mode", Words("runs.mode", 16, _WORD, 1), nullable=False),
    # The owner: see ``ga.ledger.ownership``.
    Column("token", Whole("runs.token"), nullable=False, server_default="0"),
    Column("owner", Prose("runs.owner")),
    # Versions on which the history depends: ``ga.ledger.records.VERSIONS``.
    Column("made_by", Json("runs.made_by", _versions, "versions")),
)

generations = Table(
    "generations",
    metadata,
    Column("run", Words("generations.run", 32, _HEX, 12), ForeignKey("runs.run"), primary_key=True),
    Column("generation", Whole("generations.generation", 0, _MILLION), primary_key=True),
    Column("finished_at", Number("generations.finished_at", 0.0, LAST_TIME), nullable=False),
    Column("seconds", Number("generations.seconds", 0.0, 1e9), nullable=False),
    Column("mode", Words("generations.mode", 16, _WORD, 1), nullable=False),
    Column("failed", Whole("generations.failed", 0, _MILLION), nullable=False),
    Column("digest", Words("generations.digest", 64, _HEX, 64), nullable=False),
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("run", Words("evaluations.run", 32, _HEX, 12), ForeignKey("runs.run"), primary_key=True),
    Column("key", Words("evaluations.key", 64, _HEX, 64), primary_key=True),
    Column("family", Words("evaluations.family", 64, "[0-9A-Za-z_.:-]", 1), nullable=False),
    Column("genes", Json("evaluations.genes", _genes, "a list of 1 to 64 numbers"), nullable=False),
    Column("fitness", Number("evaluations.fitness", -_MEASURE, _MEASURE)),
    Column("trades", Whole("evaluations.trades"), nullable=False),
    Column("max_drawdown", Number("evaluations.max_drawdown", -_MEASURE, _MEASURE), nullable=False),
    Column("error", Prose("evaluations.error")),
    Column("generation", Whole("evaluations.generation", 0, _MILLION), nullable=False),
    Column("attempts", Whole("evaluations.attempts"), nullable=False),
)

individuals = Table(
    "individuals",
    metadata,
    Column("run", Words("individuals.run", 32, _HEX, 12), ForeignKey("runs.run"), primary_key=True),
    Column("generation", Whole("individuals.generation", 0, _MILLION), primary_key=True),
    Column("index", Whole("individuals.index", 0, _MILLION), primary_key=True),
    Column("key", Words("individuals.key", 64, _HEX, 64), nullable=False),
)

strategies = Table(
    "strategies",
    metadata,
    Column("run", Words("strategies.run", 32, _HEX, 12), ForeignKey("runs.run"), primary_key=True),
    Column("rank", Whole("strategies.rank", -_MILLION, _MILLION), primary_key=True),
    Column("key", Words("strategies.key", 64, _PRINTABLE), nullable=False),
    Column("in_sample", Number("strategies.in_sample", -_MEASURE, _MEASURE)),
    Column("out_of_sample", Number("strategies.out_of_sample", -_MEASURE, _MEASURE)),
    Column("holdout", Number("strategies.holdout", -_MEASURE, _MEASURE)),
)

attempts = Table(
    "attempts",
    metadata,
    Column("run", Words("attempts.run", 32, _HEX, 12), ForeignKey("runs.run"), primary_key=True),
    Column("generation", Whole("attempts.generation", 0, _MILLION), primary_key=True),
    Column("number", Whole("attempts.number"), primary_key=True),
    Column("key", Words("attempts.key", 64, _PRINTABLE), nullable=False),
    Column("attempt", Whole("attempts.attempt"), nullable=False),
    Column("node", Prose("attempts.node"), nullable=False),
    Column("outcome", Words("attempts.outcome", 16, _PRINTABLE), nullable=False),
    Column("error", Prose("attempts.error")),
    Column("at", Number("attempts.at", 0.0, LAST_TIME), nullable=False),
)

# Every checked node: see ``ga.execution.numerics_check``.
nodes = Table(
    "nodes",
    metadata,
    Column("run", Words("nodes.run", 32, _HEX, 12), ForeignKey("runs.run"), primary_key=True),
    Column("id", Words("nodes.id", 64, _PRINTABLE), primary_key=True),
    Column("node", Prose("nodes.node"), nullable=False),
    Column("processor", Prose("nodes.processor"), nullable=False),
    Column("kernel_version", Whole("nodes.kernel_version"), nullable=False),
    Column("digest", Words("nodes.digest", 64, _PRINTABLE), nullable=False),
    Column("refused", Prose("nodes.refused")),
    Column("at", Number("nodes.at", 0.0, LAST_TIME), nullable=False),
)

# What every row of an ended run was: see ``ga.ledger.anchor``. Empty for runs of versions before.
anchors = Table(
    "anchors",
    metadata,
    Column("run", Words("anchors.run", 32, _HEX, 12), ForeignKey("runs.run"), primary_key=True),
    Column("digest", Words("anchors.digest", 64, _PRINTABLE), nullable=False),
    Column("tables", Json("anchors.tables", _digests, "a digest for each table"), nullable=False),
)

# Requests that the HTTP service accepted: see ``ga.service.job_store``. ``run`` is assigned at
# acceptance, so that a request is never evolved twice.
requests = Table(
    "requests",
    metadata,
    Column("run", Words("requests.run", 32, _HEX, 12), primary_key=True),
    Column(
        "idempotency_key",
        Words("requests.idempotency_key", 200, _PRINTABLE),
        nullable=False,
        unique=True,
    ),
    Column("fingerprint", Words("requests.fingerprint", 64, _HEX, 64), nullable=False),
    Column("body", Json("requests.body", _object, "a request"), nullable=False),
    Column(
        "state",
        Words("requests.state", 16, _WORD, 1),
        nullable=False,
    ),
    Column("tries", Whole("requests.tries"), nullable=False),
    Column("error", Prose("requests.error")),
    Column("created_at", Number("requests.created_at", 0.0, LAST_TIME), nullable=False),
    Column("ended_at", Number("requests.ended_at", 0.0, LAST_TIME)),
)
