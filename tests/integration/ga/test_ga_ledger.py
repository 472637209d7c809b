"""The ledger on SQLite and PostgreSQL: its tables, their versions, and what a commit writes."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from ga.errors import InputError, LedgerError
from ga.evaluation.scoring import score
from ga.evaluation.settings import Outcome, Settings
from ga.evolution import Evolution
from ga.ledger import (
    Attempt,
    Sharpes,
    open_ledger,
)
from ga.ledger.connection import engine_of
from ga.ledger.migrate import HEAD, VERSIONS
from ga.ledger.schema import attempts, metadata, strategies
from ga.store_url import url_of
from tests.support.ledger_stores import PLAN, change, counts, keys, rows


def test_migrations_create_expected_tables(store):
    open_ledger(store, create=True).close()
    engine = engine_of(url_of(store))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == HEAD
    engine.dispose()


def test_versions_match_migrations():
    config = Config()
    config.set_main_option("script_location", "ga.ledger:migrations")
    found = [s.revision for s in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(found)) == VERSIONS


def test_strategies_are_stored_and_replaced_per_run(store, history):
    with closing(open_ledger(store, create=True)) as ledger:
        one, two = history.begin(ledger), history.begin(ledger)
        for run in (one, two):
            history.commit(ledger, run, 0)
        best = ledger.strategies(one, 100)
        assert len(best) == PLAN.population_size
        assert [s.sharpes for s in best] == [None] * len(best)
        worth = [
            Sharpes(in_sample=1.5, out_of_sample=-0.1 / 3, holdout=None),
            Sharpes(in_sample=1e-300, out_of_sample=0.0, holdout=2.5),
        ]
        kept = [replace(s, sharpes=w) for s, w in zip(best, worth, strict=False)]
        # The first is what a run that was killed here before had kept.
        for again in (best[5:6], kept, kept):
            ledger.keep(one, [s if s.sharpes else replace(s, sharpes=worth[0]) for s in again])
        assert ledger.strategies(one, 3) == [*kept, best[2]]
        assert {s.sharpes for s in ledger.strategies(two, 100)} == {None}
        both = ledger.strategies(None, 100)
        assert len(both) == 2 * len(best)
        assert [s.sharpes for s in both if s.sharpes] == worth
    assert [row[1:3] for row in rows(store, strategies)] == [
        (rank, s.outcome.key) for rank, s in enumerate(kept)
    ]


def as_before_versions(store: str) -> None:
    """Take from a new ledger all that came after its first version."""
    engine = engine_of(url_of(store))
    with engine.begin() as connection:
        for statement in (
            "DROP TABLE attempts",
            "DROP TABLE strategies",
            "DROP TABLE requests",
            "DROP TABLE nodes",
            "DROP TABLE anchors",
            "DROP TABLE alembic_version",
            "ALTER TABLE runs DROP COLUMN token",
            "ALTER TABLE runs DROP COLUMN owner",
            "ALTER TABLE runs DROP COLUMN made_by",
        ):
            connection.exec_driver_sql(statement)
    engine.dispose()


def test_unversioned_ledger_is_upgraded_with_its_history(store, history):
    with closing(open_ledger(store, create=True)) as ledger:
        run = history.begin(ledger)
        history.commit(ledger, run, 0)
        before = ledger.individuals(run, 0)
    as_before_versions(store)
    with closing(open_ledger(store, create=False)) as ledger:
        assert ledger.individuals(run, 0) == before
        history.commit(ledger, run, 1)
        assert ledger.run(run).committed == 2
    engine = engine_of(url_of(store))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_newer_ledger_is_refused(store):
    open_ledger(store, create=True).close()
    change(store, "UPDATE alembic_version SET version_num = '9999'")
    for create in (True, False):
        with pytest.raises(InputError, match=r"newer version \(tables 9999, this knows"):
            open_ledger(store, create=create)


def test_failed_upgrade_leaves_old_ledger(store, history):
    with closing(open_ledger(store, create=True)) as ledger:
        history.begin(ledger)
    as_before_versions(store)
    # The second step of the upgrade fails on it, after the table of the first was made.
    change(store, "ALTER TABLE runs ADD COLUMN owner TEXT")
    with pytest.raises((InputError, sa.exc.DBAPIError)):
        open_ledger(store, create=False)
    engine = engine_of(url_of(store))
    seen = sa.inspect(engine)
    assert not seen.has_table("attempts")
    assert not seen.has_table("alembic_version")
    assert "token" not in {c["name"] for c in seen.get_columns("runs")}
    engine.dispose()


def test_concurrent_creation_succeeds(store):
    failed: list[BaseException] = []
    start = threading.Barrier(4)

    def create() -> None:
        try:
            start.wait()
            open_ledger(store, create=True).close()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=create, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failed == []


def test_failed_attempts_are_stored(store, history):
    lost = Attempt(key=keys(0)[3], attempt=0, node="10.0.0.7", outcome="lost", at=5.5)
    bad = Attempt(
        key=keys(0)[3], attempt=1, node="local", outcome="crashed",
        error="NUL \0, \ud800, '\"\n\t\\N", at=6.25,
    )  # fmt: skip
    with closing(open_ledger(store, create=True)) as ledger:
        run = history.begin(ledger)
        history.commit(ledger, run, 0, tried=[lost, bad, lost])
        history.commit(ledger, run, 1)
    assert rows(store, attempts) == [
        (run, 0, 0, lost.key, 0, "10.0.0.7", "lost", None, 5.5),
        (run, 0, 1, lost.key, 1, "local", "crashed", "NUL \ufffd, ?, '\"\n\t\\N", 6.25),
        (run, 0, 2, lost.key, 0, "10.0.0.7", "lost", None, 5.5),
    ]


def test_numbers_round_trip_bit_exactly(store, history):
    odd = [5e-324, 0.1 + 0.2, 0.0, 1.7976931348623157e308, 1 / 3, -2.5e-7]
    with closing(open_ledger(store, create=True)) as ledger:
        run = history.begin(ledger)
        population = Evolution(PLAN).ask()
        outcomes = [
            Outcome(key=k, fitness=odd[i % 6], trades=i, max_drawdown=odd[(i + 1) % 6])
            for i, k in enumerate(keys(0))
        ]
        history.commit(ledger, run, 0, outcomes=outcomes)
        found = ledger.individuals(run, 0)
    assert repr([o for _, o in found]) == repr(outcomes)
    assert repr([g for g, _ in found]) == repr(list(population))


def test_fitness_is_never_negative_zero():
    statistics = np.zeros((3, 1, 2, 6))
    statistics[..., 1] = 1.0
    statistics[1, ..., 0] = -0.0
    statistics[2, 0, 0, 0] = -5e-324
    assert not np.signbit(score(statistics, 1.0, Settings(min_trades=0))).any()


def test_invalid_commit_writes_nothing(store, history):
    with closing(open_ledger(store, create=True)) as ledger:
        run = history.begin(ledger)
        history.commit(ledger, run, 0)
        before = counts(store)
        with pytest.raises(sa.exc.IntegrityError):
            history.commit(ledger, run, 0)
        with pytest.raises(LedgerError, match="generation 2 cannot be committed before 1"):
            history.commit(ledger, run, 2)
        assert counts(store) == before
        history.commit(ledger, run, 1)
