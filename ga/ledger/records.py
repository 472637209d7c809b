"""Records that the ledger returns, and their construction from rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import sqlalchemy as sa

from ga.backtest.simulation import Costs
from ga.errors import InputError
from ga.evaluation.settings import Outcome, Settings
from ga.evolution import GENESIS, SEARCH_VERSION, Plan
from ga.families import KERNEL_VERSION
from ga.genome import Genome
from ga.ledger.columns import DamagedError
from ga.ledger.schema import evaluations, generations, runs
from ga.sources import MarketSpec

VERSIONS: Final = {"kernels": KERNEL_VERSION, "search": SEARCH_VERSION}
"""Versions on which a history depends, besides plan, market and settings."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run in the ledger."""

    run: str
    created_at: float
    finished_at: float | None
    market: MarketSpec
    """The source of the market."""
    market_hash: str
    made_by: Mapping[str, int]
    """``VERSIONS`` of the engine that began it; empty for engines that did not record them."""
    plan: Plan
    settings: Settings
    mode: str
    committed: int
    """Generations committed so far."""
    digest: str

    def check_version(self) -> None:
        """Check that this engine can continue or repeat the run.

        Raises:
            InputError: the engine that began it breeds or evaluates differently.
        """
        self._same(self.made_by, VERSIONS, "breeds or evaluates")

    def check_kernels(self) -> None:
        """Check that this engine's kernels can repeat the run's evaluations.

        Raises:
            InputError: the engine that began the run evaluates differently.
        """
        had = {what: number for what, number in self.made_by.items() if what == "kernels"}
        self._same(had, {"kernels": KERNEL_VERSION}, "evaluates")

    def _same(self, had: Mapping[str, int], versions: Mapping[str, int], does: str) -> None:
        if had != versions:
            theirs, ours = (
                ", ".join(f"{what} {number}" for what, number in of.items()) or "unknown"
                for of in (had, versions)
            )
            raise InputError(
                f"run {self.run}: begun by an engine of another version ({theirs}; this one:"
                f" {ours}), which {does} differently; use that one, or start a new run"
            )


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A failed or superseded attempt at an evaluation."""

    key: str
    attempt: int
    """Number of earlier attempts."""
    node: str
    """Address of the node; ``local`` on this machine."""
    outcome: str
    """The result, a word of at most 16 letters: lost, timeout, crashed, ..."""
    error: str | None = None
    at: float
    """Unix seconds when it was abandoned."""


@dataclass(frozen=True, kw_only=True)
class NodeRecord:
    """A node that was checked before it got work; see ``ga.execution.protocol.NodeReport``."""

    id: str
    node: str
    processor: str
    kernel_version: int
    digest: str
    refused: str | None = None


@dataclass(frozen=True, kw_only=True)
class Sharpes:
    """Annualised net Sharpe ratios of a final strategy; None where a part has no bars."""

    in_sample: float | None
    out_of_sample: float | None
    holdout: float | None


@dataclass(frozen=True, kw_only=True)
class StrategyRecord:
    """One evaluated genome of a run."""

    run: str
    genome: Genome
    outcome: Outcome
    generation: int
    """The generation in which it was first evaluated."""
    sharpes: Sharpes | None = None
    """Measured at the end of the run for its final strategies; None for others."""


def record_of(connection: sa.Connection, row: sa.Row[tuple[object, ...]]) -> RunRecord:
    """The record of a row of ``runs``, with its progress.

    Raises:
        DamagedError: its values are damaged.
    """
    filled(runs, row)
    query = sa.select(generations.c.generation, generations.c.digest)
    order = generations.c.generation.desc()
    last = connection.execute(
        query.where(generations.c.run == row.run).order_by(order).limit(1)
    ).first()
    settings = dict(row.settings)
    column = "settings"
    try:
        read = Settings(costs=Costs(**settings.pop("costs")), **settings)
        column = "families" if int(row.seed) < 2**63 else "seed"
        plan = Plan(
            seed=int(row.seed),
            population_size=row.population_size,
            generations=row.generations,
            families=tuple(row.families),
        )
    except InputError as error:
        raise DamagedError("runs", column, str(error), row.run) from None
    return RunRecord(
        run=row.run,
        created_at=row.created_at,
        finished_at=row.finished_at,
        market=MarketSpec(spec=row.market, **_selection(row.selection)),
        market_hash=row.market_hash,
        made_by=row.made_by or {},
        plan=plan,
        settings=read,
        mode=row.mode,
        committed=0 if last is None else int(last.generation) + 1,
        digest=GENESIS if last is None else str(last.digest),
    )


def filled(table: sa.Table, row: sa.Row[Any]) -> None:
    """Check that a row has a value in each column of a table that must have one.

    Raises:
        DamagedError: it has none.
    """
    # Not as attributes: ``index`` is a method of every row.
    values = row._mapping
    for column in table.columns:
        if not column.nullable and values[column.name] is None:
            raise DamagedError(table.name, column.name, "there is no value", values["run"])


def _selection(stored: Mapping[str, object]) -> dict[str, Any]:
    found = dict(stored)
    if found.get("assets") is not None:
        found["assets"] = tuple(cast(Sequence[str], found["assets"]))
    return found


def genome_of(row: sa.Row[tuple[object, ...]]) -> Genome:
    """The genome of a row of ``evaluations``.

    Raises:
        DamagedError: it has none.
    """
    if row.family is None or row.genes is None:
        column = "genes" if row.genes is None else "family"
        raise DamagedError("evaluations", column, "there is no value")
    return Genome(row.family, tuple(map(float, row.genes)))


def strategy_of(row: sa.Row[tuple[object, ...]]) -> StrategyRecord:
    """The strategy of a row of ``evaluations``.

    Raises:
        DamagedError: its values are damaged.
    """
    return StrategyRecord(
        run=row.run, genome=genome_of(row), outcome=outcome_of(row), generation=row.generation
    )


def outcome_of(row: sa.Row[tuple[object, ...]]) -> Outcome:
    """The outcome of a row of ``evaluations``.

    Raises:
        DamagedError: its values are damaged.
    """
    if None in (row.key, row.trades, row.max_drawdown, row.generation):
        filled(evaluations, row)
    return Outcome(
        key=row.key,
        fitness=row.fitness,
        trades=row.trades,
        max_drawdown=row.max_drawdown,
        error=row.error,
    )
