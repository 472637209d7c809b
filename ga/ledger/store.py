"""Reads and writes the ledger. A generation is committed in one transaction."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from ga.errors import InputError, LedgerError
from ga.evaluation.settings import Outcome, Settings
from ga.evolution import Plan
from ga.genome import Genome
from ga.ledger.anchor import Anchored, compare, require_anchored, write_anchor
from ga.ledger.bulk_insert import insert, text
from ga.ledger.connection import file_of, snapshot
from ga.ledger.decoding import undamaged
from ga.ledger.evaluation_rows import evaluation_rows
from ga.ledger.nodes import keep_nodes, nodes_of
from ga.ledger.ownership import RunOwner
from ga.ledger.records import (
    VERSIONS,
    Attempt,
    NodeRecord,
    RunRecord,
    StrategyRecord,
    genome_of,
    outcome_of,
    record_of,
    strategy_of,
)
from ga.ledger.run_history import History, first_difference, read
from ga.ledger.schema import attempts, evaluations, generations, individuals, metadata, runs
from ga.ledger.soundness import require_complete, require_sound
from ga.ledger.strategies import best, family_counts, keep, trials, with_key
from ga.market import Market
from ga.sources import MarketSpec

_DIGEST: Final = sa.select(generations.c.digest).where(
    generations.c.run == sa.bindparam("of"), generations.c.generation == sa.bindparam("at")
)


def new_run() -> str:
    """A new run id."""
    return uuid.uuid4().hex[:12]


class Ledger:
    """One open ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._owners: dict[str, RunOwner] = {}

    @property
    def engine(self) -> Engine:
        """The database engine, for operations on whole tables."""
        return self._engine

    def close(self) -> None:
        """Close the connections and release all runs."""
        for run in list(self._owners):
            self._owners.pop(run).release()
        self._engine.dispose()

    @contextmanager
    def acquire(self, run: str) -> Iterator[RunOwner]:
        """Acquire ``run`` until the block ends: only this process may commit its generations.

        Raises:
            InputError: another process evolves the run.
        """
        if run in self._owners:
            raise ValueError(f"this ledger owns run {run} already")
        owner = self._owner(run)
        try:
            yield owner
        finally:
            self._owners.pop(run, None)
            owner.release()

    def _owner(self, run: str) -> RunOwner:
        if run not in self._owners:
            self._owners[run] = RunOwner(self._engine, run, file_of(self._engine.url))
        return self._owners[run]

    def begin(
        self,
        *,
        market: Market,
        spec: MarketSpec,
        plan: Plan,
        settings: Settings,
        mode: str,
        run: str | None = None,
    ) -> str:
        """Record a new run and return its id: ``run`` if one is given, else a random one.

        Raises:
            InputError: a run with that id exists.
        """
        run = run or new_run()
        row = {
            "run": run,
            "created_at": time.time(),
            "market": spec.spec,
            "selection": {k: v for k, v in asdict(spec).items() if k != "spec"},
            "market_hash": market.hash,
            "seed": str(plan.seed),
            "population_size": plan.population_size,
            "generations": plan.generations,
            "families": list(plan.families),
            "settings": asdict(settings),
            "mode": mode,
            "made_by": VERSIONS,
        }
        try:
            with self._engine.begin() as connection:
                connection.execute(sa.insert(runs).values(row))
        except sa.exc.IntegrityError:
            raise InputError(
                f"--run-id {run}: already exists; give another, or: python -m ga resume {run}"
            ) from None
        return run

    def commit(
        self,
        run: str,
        *,
        generation: int,
        population: Sequence[Genome],
        outcomes: Sequence[Outcome],
        fresh: Mapping[str, int],
        digest: str,
        seconds: float,
        mode: str,
        last: bool,
        tried: Sequence[Attempt] = (),
        checked: Sequence[NodeRecord] = (),
    ) -> None:
        """Write one generation in one transaction; takes ownership of the run.

        Waits up to a minute for an unreachable or locked database.

        Args:
            fresh: key -> attempts, for the new evaluations of this generation.
            last: mark the run finished.
            tried: the failed attempts, in their order.
            checked: nodes that were checked after the last commit.

        Raises:
            LedgerError: the database stayed unreachable, another process owns the run, or the
                previous generation is missing.
        """
        new = evaluation_rows(run, generation, population, outcomes, fresh)
        members = [(run, generation, i, outcome.key) for i, outcome in enumerate(outcomes)]
        failures = [
            (
                run,
                generation,
                number,
                one.key,
                one.attempt,
                text(one.node),
                one.outcome[:16],
                text(one.error),
                one.at,
            )
            for number, one in enumerate(tried)
        ]
        now = time.time()
        failed = sum(o.error is not None for o in outcomes)
        summary = (run, generation, now, seconds, mode, failed, digest)

        def done(connection: sa.Connection) -> bool:
            return _digest(connection, run, generation) == digest

        def write(connection: sa.Connection) -> None:
            if generation and _digest(connection, run, generation - 1) is None:
                raise LedgerError(
                    f"run {run}: generation {generation} cannot be committed before"
                    f" {generation - 1}; nothing was written"
                )
            insert(connection, evaluations, new)
            insert(connection, individuals, members)
            insert(connection, attempts, failures)
            keep_nodes(connection, run, checked)
            insert(connection, generations, [summary])
            if last:
                over = sa.update(runs).where(runs.c.run == run).values(finished_at=now)
                connection.execute(over)
                write_anchor(connection, run, earlier=False)

        self._owner(run).write(write, done=done)

    def keep_nodes(self, run: str, checked: Sequence[NodeRecord]) -> None:
        """Record nodes that were checked before they got work.

        Raises:
            LedgerError: the database stayed unreachable, or another process owns the run.
        """

        def write(connection: sa.Connection) -> None:
            keep_nodes(connection, run, checked)

        # The write is idempotent, so a retry needs no check.
        self._owner(run).write(write, done=lambda _: False)

    def nodes(self, run: str) -> list[NodeRecord]:
        """The nodes of a run, in the order in which they were first checked."""
        with self._engine.connect() as connection, undamaged(run):
            return nodes_of(connection, run)

    def runs(self) -> list[RunRecord]:
        """All runs, newest first."""
        with self._engine.connect() as connection, undamaged():
            found = []
            for row in connection.execute(sa.select(runs).order_by(runs.c.created_at.desc())).all():
                with undamaged(row.run):
                    found.append(record_of(connection, row))
            return found

    def run(self, run: str) -> RunRecord:
        """One run by its id or a prefix of it.

        Raises:
            InputError: no match, or several.
        """
        with self._engine.connect() as connection:
            query = sa.select(runs).where(runs.c.run.startswith(run, autoescape=True))
            with undamaged():
                rows = connection.execute(query).all()
            if len(rows) != 1:
                what = "no such run" if not rows else f"ambiguous, matches {len(rows)} runs"
                raise InputError(f"run {run}: {what}; list them with: python -m ga runs")
            with undamaged(rows[0].run):
                return record_of(connection, rows[0])

    def require_sound(
        self,
        *tables: str,
        run: str | None = None,
        complete: bool = False,
        anchored: Sequence[str] = (),
        related: bool = True,
    ) -> None:
        """Check values of tables (none: of all), see ``ga.ledger.soundness``.

        Args:
            complete: also check that no generation is missing.
            anchored: small tables that are also compared with the anchors of ended runs.

        Raises:
            LedgerError: one is damaged.
        """
        chosen = [metadata.tables[name] for name in tables] or metadata.sorted_tables
        with snapshot(self._engine) as connection, undamaged(run):
            require_sound(connection, chosen, run=run, related=related)
            if complete:
                require_complete(connection, run)
            if anchored:
                require_anchored(connection, anchored, run=run)

    def first_difference(self, run: str) -> int | None:
        """The first generation whose digest does not match its rows; None if all match."""
        with self._engine.connect() as connection, undamaged(run):
            return first_difference(connection, run)

    def history(self, run: str) -> History:
        """All rows of a run, as a snapshot.

        Raises:
            InputError: no such run.
        """
        found = self.run(run).run
        with snapshot(self._engine) as connection:
            return read(connection, found)

    def anchored(self, run: str) -> Anchored:
        """Compare all rows of a run with its anchor."""
        with snapshot(self._engine) as connection:
            return compare(connection, run)

    def individuals(self, run: str, generation: int) -> list[tuple[Genome, Outcome]]:
        """A generation's individuals in index order."""
        with self._engine.connect() as connection, undamaged(run):
            return self._individuals(connection, run, generation)

    def evaluated(self, run: str) -> dict[str, Outcome]:
        """Every outcome of a run by its key."""
        query = sa.select(evaluations).where(evaluations.c.run == run)
        with self._engine.connect() as connection, undamaged(run):
            return {row.key: outcome_of(row) for row in connection.execute(query)}

    def keep(self, run: str, kept: Sequence[StrategyRecord]) -> None:
        """Store the final strategies of a run, best first, in place of those stored before.

        Raises:
            LedgerError: the database stayed unreachable, or another process owns the run.
        """

        def write(connection: sa.Connection) -> None:
            keep(connection, run, kept)
            query = sa.select(runs.c.finished_at).where(runs.c.run == run)
            if connection.execute(query).scalar() is not None:
                write_anchor(connection, run, replaces=("strategies", "nodes"))

        # The write is idempotent, so a retry needs no check.
        self._owner(run).write(write, done=lambda _: False)

    def strategies(self, run: str | None, limit: int) -> list[StrategyRecord]:
        """The best strategies of one run, or of all; see ``ga.ledger.strategies``."""
        with self._engine.connect() as connection, undamaged(run):
            return best(connection, run, limit)

    def strategy(self, key: str) -> StrategyRecord:
        """One strategy by a prefix of its key; if several runs have it, from the latest.

        Raises:
            InputError: no match, or several.
        """
        with self._engine.connect() as connection, undamaged():
            rows = with_key(connection, key)
        if len(key) < 4 or len({row.key for row in rows}) != 1:
            what = "ambiguous, matches several keys" if rows else "no such strategy"
            raise InputError(
                f"strategy {key}: {what}; list their keys with: python -m ga strategies"
            )
        with undamaged(rows[0].run):
            return strategy_of(rows[0])

    def trials(self, run: str, sample: int) -> tuple[int, list[Genome]]:
        """The number of evaluated strategies, and a random sample: the first by key, a hash."""
        with self._engine.connect() as connection, undamaged(run):
            return trials(connection, run, sample)

    def family_counts(self, run: str) -> dict[str, int]:
        """Individuals of each family in the last committed generation, most first."""
        with self._engine.connect() as connection, undamaged(run):
            return family_counts(connection, run)

    def _individuals(
        self, connection: sa.Connection, run: str, generation: int
    ) -> list[tuple[Genome, Outcome]]:
        joined = individuals.join(
            evaluations,
            sa.and_(individuals.c.run == evaluations.c.run, individuals.c.key == evaluations.c.key),
        )
        query = (
            sa.select(evaluations)
            .select_from(joined)
            .where(individuals.c.run == run, individuals.c.generation == generation)
            .order_by(individuals.c.index)
        )
        return [(genome_of(row), outcome_of(row)) for row in connection.execute(query)]


def _digest(connection: sa.Connection, run: str, generation: int) -> str | None:
    return connection.execute(_DIGEST, {"of": run, "at": generation}).scalar()
