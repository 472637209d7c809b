"""Records that the ledger returns, and their construction from rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import sqlalchemy as sa

from ga.backtest.simulation import Costs
from ga.errors import InputError, LedgerError
from ga.evaluation.settings import Outcome, Settings
from ga.evolution import GENESIS, SEARCH_VERSION, Plan
from ga.families import KERNEL_VERSION
from ga.genome import Genome
from ga.ledger.schema import generations
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
class Committed:
    """The last committed generation of a run, with everything that is needed to continue."""

    generation: int
    digest_before: str
    population: tuple[Genome, ...]
    outcomes: tuple[Outcome, ...]
    best: tuple[tuple[Genome, Outcome], ...]
    """The ``ARCHIVE`` best of each family up to this generation."""


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


@contextmanager
def undamaged(what: str) -> Iterator[None]:
    """Convert the errors of rows that cannot be read, for example because they were altered.

    Raises:
        LedgerError: instead of them.
    """
    try:
        yield
    except InputError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise LedgerError(
            f"run {what}: its rows are damaged ({reason}); restore a backup into a new ledger"
        ) from None


def record_of(connection: sa.Connection, row: sa.Row[tuple[object, ...]]) -> RunRecord:
    """The record of a row of ``runs``, with its progress."""
    query = sa.select(generations.c.generation, generations.c.digest)
    order = generations.c.generation.desc()
    last = connection.execute(
        query.where(generations.c.run == row.run).order_by(order).limit(1)
    ).first()
    settings = dict(row.settings)
    costs = Costs(**settings.pop("costs"))
    return RunRecord(
        run=row.run,
        created_at=row.created_at,
        finished_at=row.finished_at,
        market=MarketSpec(spec=row.market, **_selection(row.selection)),
        market_hash=row.market_hash,
        made_by=row.made_by or {},
        plan=Plan(
            seed=int(row.seed),
            population_size=row.population_size,
            generations=row.generations,
            families=tuple(row.families),
        ),
        settings=Settings(costs=costs, **settings),
        mode=row.mode,
        committed=0 if last is None else int(last.generation) + 1,
        digest=GENESIS if last is None else str(last.digest),
    )


def _selection(stored: Mapping[str, object]) -> dict[str, Any]:
    found = dict(stored)
    if found.get("assets") is not None:
        found["assets"] = tuple(cast(Sequence[str], found["assets"]))
    return found


def genome_of(row: sa.Row[tuple[object, ...]]) -> Genome:
    """The genome of a row of ``evaluations``."""
    return Genome(str(row.family), tuple(float(v) for v in cast(Sequence[float], row.genes)))


def strategy_of(row: sa.Row[tuple[object, ...]]) -> StrategyRecord:
    """The strategy of a row of ``evaluations``."""
    return StrategyRecord(
        run=row.run, genome=genome_of(row), outcome=outcome_of(row), generation=row.generation
    )


def outcome_of(row: sa.Row[tuple[object, ...]]) -> Outcome:
    """The outcome of a row of ``evaluations``."""
    return Outcome(
        key=row.key,
        fitness=row.fitness,
        trades=row.trades,
        max_drawdown=row.max_drawdown,
        error=row.error,
    )
