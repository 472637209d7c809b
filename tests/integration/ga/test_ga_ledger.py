"""The ledger on SQLite and PostgreSQL: versions, ownership, and what a commit survives."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, MutableSequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from evolution_gate.fixtures.faults import disk_full
from evolution_gate.fixtures.faults.disk_full import Volume
from ga.errors import InputError, LedgerError
from ga.evaluation.scoring import score
from ga.evaluation.settings import Outcome, Settings
from ga.evolution import GENESIS, Evolution
from ga.ledger import (
    Attempt,
    Ledger,
    Sharpes,
    open_ledger,
    ownership,
)
from ga.ledger import (
    connection as connect,
)
from ga.ledger import store as store_module
from ga.ledger.connection import engine_of
from ga.ledger.migrate import HEAD, VERSIONS
from ga.ledger.schema import attempts, generations, metadata, strategies
from ga.store_url import url_of
from tests.support.ledger_stores import PLAN, Server, change, counts, keys, rows
from tests.support.waiting import wait_until

# -- versions


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


# -- what a commit writes


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


# -- ownership


def own(ledger: Ledger, run: str) -> None:
    """Take a run, and give it back at once."""
    with ledger.own(run):
        pass


def test_second_coordinator_is_refused_with_owner_name(store, history, monkeypatch):
    with (
        closing(open_ledger(store, create=True)) as one,
        closing(open_ledger(store, create=False)) as two,
    ):
        run, other = history.begin(one), history.begin(one)
        with one.own(run):
            said = rf"run {run} is being evolved by another process \(process {os.getpid()} on"
            with monkeypatch.context() as patch:
                patch.setattr(ownership, "GRACE", 0.2)
                with pytest.raises(InputError, match=said):
                    own(two, run)
                with pytest.raises(InputError, match=said):
                    history.commit(two, run, 0)
            assert counts(store) == (0, 0, 0)
            # Another run is another matter.
            with two.own(other):
                history.commit(two, other, 0)
            history.digest = GENESIS
            history.commit(one, run, 0)
        with two.own(run):
            history.commit(two, run, 1)
        with pytest.raises(InputError, match="no such run"):
            own(one, "nobody")


def test_superseded_owner_writes_nothing(store, history):
    with closing(open_ledger(store, create=True)) as ledger:
        run = history.begin(ledger)
        with ledger.own(run) as owner:
            history.commit(ledger, run, 0)
            before = counts(store)
            change(store, "UPDATE runs SET token = token + 1")
            with pytest.raises(LedgerError, match="another process evolves it now"):
                history.commit(ledger, run, 1)
        assert counts(store) == before
        with ledger.own(run) as follower:
            assert follower.token == owner.token + 2
            history.commit(ledger, run, 1, digest="1" * 64)
    assert counts(store)[0] == 2


_HOLDER = """
import sys, time
from ga.ledger import open_ledger
ledger = open_ledger(sys.argv[1], create=False)
with ledger.own(sys.argv[2]):
    print("owned", flush=True)
    time.sleep(120)
"""


def test_lock_ends_with_killed_process(store, history, monkeypatch):
    with closing(open_ledger(store, create=True)) as ledger:
        run = history.begin(ledger)
        holder = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, store, run], stdout=subprocess.PIPE, text=True
        )
        assert holder.stdout is not None
        with holder.stdout as said:
            assert said.readline() == "owned\n"
        monkeypatch.setattr(ownership, "GRACE", 0.2)
        with pytest.raises(InputError, match=f"process {holder.pid} on"):
            own(ledger, run)
        holder.kill()
        holder.wait()
        monkeypatch.undo()
        with ledger.own(run):
            history.commit(ledger, run, 0)


def test_lock_file_is_removed_on_release(tmp_path, history):
    with closing(open_ledger(str(tmp_path / "l.db"), create=True)) as ledger:
        run = history.begin(ledger)
        with ledger.own(run):
            assert (tmp_path / f"l.db.{run}.lock").exists()
        assert list(tmp_path.glob("*.lock")) == []


_EACH = 1000


def _contend(path: str, taken: MutableSequence[int], number: int) -> None:
    from ga.ledger.locks import FileLock

    inside = Path(f"{path}.inside")
    try:
        # Whoever is quick goes on: nobody takes it without others beside.
        while min(taken) < _EACH:
            lock = FileLock.take(Path(path))
            if lock is None:
                continue
            # Fails where somebody else is inside.
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
            inside.unlink()
            lock.release()
            taken[number] += 1
    except BaseException:
        # The others must not wait for one that failed.
        taken[number] += _EACH
        raise


def test_contended_lock_file_has_one_owner(tmp_path):
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    taken = context.RawArray("l", 3)
    arguments = (str(tmp_path / "lock"), taken)
    workers = [context.Process(target=_contend, args=(*arguments, n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [w.exitcode for w in workers] == [0, 0, 0]


# -- a database that goes away


def test_commit_waits_for_locked_sqlite(tmp_path, history):
    store = f"sqlite:///{tmp_path / 'ledger.db'}"
    with closing(open_ledger(store, create=True)) as ledger:
        run = history.begin(ledger)
        give_up_at_once(ledger)
        with (
            ledger.own(run),
            closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other,
        ):
            other.execute("BEGIN IMMEDIATE")
            committing = threading.Thread(target=history.commit, args=(ledger, run, 0))
            committing.start()
            time.sleep(0.4)
            assert committing.is_alive()
            other.execute("ROLLBACK")
            committing.join()
    assert counts(store) == (1, 12, 12)


def test_permanently_locked_sqlite_is_error_with_remedy(tmp_path, history, monkeypatch):
    monkeypatch.setattr(ownership, "PATIENCE", 0.3)
    store = f"sqlite:///{tmp_path / 'ledger.db'}"
    with closing(open_ledger(store, create=True)) as ledger:
        give_up_at_once(ledger)
        run = history.begin(ledger)
        with (
            ledger.own(run),
            closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other,
        ):
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LedgerError, match=rf"database is locked.*ga resume {run}"):
                history.commit(ledger, run, 0)
            other.execute("ROLLBACK")
            history.digest = GENESIS
            # The lock on the run was held all the time.
            history.commit(ledger, run, 0)
    assert counts(store) == (1, 12, 12)


@pytest.fixture
def full() -> Iterator[Volume]:
    if why := disk_full.unavailable():
        pytest.skip(why)
    with disk_full.small(1 << 22) as made:
        yield made


def looking_at(store: str) -> closing[sqlite3.Connection]:
    """A second connection: without it the log would be folded into the file, and give its space."""
    other = sqlite3.connect(store.removeprefix("sqlite:///"))
    other.execute("SELECT count(*) FROM runs").fetchall()
    return closing(other)


def test_commit_waits_for_full_disk(full, history):
    store = f"sqlite:///{full.path / 'ledger.db'}"
    with closing(open_ledger(store, create=True)) as ledger, looking_at(store):
        run = history.begin(ledger)
        with ledger.own(run):
            history.commit(ledger, run, 0)
            assert full.fill().confirmed
            committing = threading.Thread(target=history.commit, args=(ledger, run, 1))
            committing.start()
            time.sleep(0.4)
            assert committing.is_alive()
            assert full.free().confirmed
            committing.join()
    assert counts(store) == (2, 24, 24)


@pytest.mark.stack
def test_commit_waits_for_full_postgresql_disk(history):
    if why := disk_full.unavailable():
        pytest.skip(why)
    done = []
    with disk_full.small(1 << 28) as full, closing(Server(full.path)) as server:
        store = server.database()
        with closing(open_ledger(store, create=True)) as ledger:
            run = history.begin(ledger)

            def commit_all() -> None:
                for generation in range(PLAN.generations):
                    history.commit(ledger, run, generation)
                    done.append(generation)

            with ledger.own(run):
                assert full.fill().confirmed
                committing = threading.Thread(target=commit_all)
                committing.start()
                # Pages that it has already still take the first.
                committing.join(3.0)
                assert len(done) < PLAN.generations
                assert full.free().confirmed
                committing.join()
        everyone = PLAN.population_size * PLAN.generations
        assert counts(store) == (PLAN.generations, everyone, everyone)


def test_permanently_full_disk_is_error_with_remedy(full, history, monkeypatch):
    monkeypatch.setattr(ownership, "PATIENCE", 0.3)
    store = f"sqlite:///{full.path / 'ledger.db'}"
    with closing(open_ledger(store, create=True)) as ledger, looking_at(store):
        run = history.begin(ledger)
        with ledger.own(run):
            history.commit(ledger, run, 0)
            assert full.fill().confirmed
            with pytest.raises(LedgerError, match=rf"disk is full.*make space.*ga resume {run}"):
                history.commit(ledger, run, 1)
            assert full.free().confirmed
    assert counts(store) == (1, 12, 12)


def give_up_at_once(ledger: Ledger) -> None:
    """Let SQLite itself give up at once, so that the ledger has to wait."""
    sa.event.listen(
        ledger.engine, "checkout", lambda opened, *_: opened.execute("PRAGMA busy_timeout=10")
    )


@pytest.fixture
def outage(server: Server) -> Iterator[Callable[[], None]]:
    """Kills PostgreSQL now, and starts it again half a second later."""
    starting: list[threading.Thread] = []

    def start() -> None:
        time.sleep(0.5)
        server.start()

    def strike() -> None:
        server.kill()
        starting.append(threading.Thread(target=start))
        starting[-1].start()

    yield strike
    for thread in starting:
        thread.join()
    assert len(starting) > 0


@pytest.mark.stack
@pytest.mark.parametrize("moment", ["between", "fence", "generations", "commit", "committed"])
def test_postgresql_killed_during_commit_commits_once(
    postgres, history, outage, moment, monkeypatch
):
    """``committed``: the server has committed, and dies before its answer is heard."""
    monkeypatch.setattr(ownership, "GRACE", 0.2)
    struck: list[str] = []

    def strike() -> None:
        if not struck:
            struck.append(moment)
            outage()

    with closing(open_ledger(postgres, create=True)) as ledger:
        run = history.begin(ledger)
        with ledger.own(run) as owner:
            history.commit(ledger, run, 0)
            if moment == "between":
                strike()

            def statement(_connection, _cursor, text, *_):
                if moment == "fence" and text.startswith("UPDATE runs"):
                    strike()

            def committing(connection):
                if moment == "commit":
                    strike()
                if moment == "committed" and not struck:
                    raw = connection.connection
                    raw.commit()
                    strike()
                    try:
                        raw.cursor().execute("SELECT 1")
                    except psycopg.OperationalError as error:
                        raise sa.exc.OperationalError("COMMIT", None, error) from error
                    pytest.fail("PostgreSQL was killed, and answers")

            real = store_module.insert

            def insert(connection, table, values):
                if moment == "generations" and table is generations:
                    strike()
                real(connection, table, values)

            monkeypatch.setattr(store_module, "insert", insert)
            sa.event.listen(ledger.engine, "before_cursor_execute", statement)
            sa.event.listen(ledger.engine, "commit", committing)
            token = owner.token
            history.commit(ledger, run, 1)
            assert struck == [moment]
            assert owner.token == token
            # The lock was forgotten with the killed server, and is held again.
            with (
                closing(open_ledger(postgres, create=False)) as other,
                pytest.raises(InputError, match="is being evolved by another process"),
            ):
                own(other, run)
            history.commit(ledger, run, 2)
        record = ledger.run(run)
    assert (record.committed, record.digest) == (3, history.digest)
    assert counts(postgres) == (3, 36, 36)


@pytest.mark.stack
def test_repeated_postgresql_kills_lose_nothing(postgres, server, history):
    over = threading.Event()
    kills: list[float] = []

    def disturb() -> None:
        pauses = np.random.default_rng(7).uniform(0.0, 0.25, 6)
        for pause in pauses:
            if over.wait(pause):
                return
            server.kill()
            kills.append(time.monotonic())
            server.start()

    with closing(open_ledger(postgres, create=True)) as ledger:
        run = history.begin(ledger)
        with ledger.own(run):
            thread = threading.Thread(target=disturb)
            thread.start()
            committed = 0
            try:
                # However quick the machine is, it is not over before the kills are.
                while committed < 150 or (thread.is_alive() and len(kills) < 2):
                    history.commit(ledger, run, committed)
                    committed += 1
            finally:
                over.set()
                thread.join()
        record = ledger.run(run)
    assert len(kills) >= 2
    assert (record.committed, record.digest) == (committed, history.digest)
    assert counts(postgres) == tuple(committed * n for n in (1, 12, 12))


def until_unlocked(postgres: str) -> None:
    query = """SELECT count(*) FROM pg_locks JOIN pg_database ON database = pg_database.oid
        WHERE locktype = 'advisory' AND datname = current_database()"""
    with psycopg.connect(postgres.replace("+psycopg", ""), autocommit=True) as connection:
        wait_until(
            lambda: connection.execute(query).fetchone() == (0,),
            seconds=60,
            what="the lock is let go",
            every=0.02,
        )


@pytest.mark.stack
@pytest.mark.parametrize("still_there", [True, False])
def test_superseded_owner_stops_after_server_restart(
    postgres, server, history, monkeypatch, still_there
):
    monkeypatch.setattr(ownership, "PATIENCE", 0.5)
    with (
        closing(open_ledger(postgres, create=True)) as one,
        closing(open_ledger(postgres, create=False)) as two,
    ):
        run = history.begin(one)
        with one.own(run):
            history.commit(one, run, 0)
            server.kill()
            server.start()
            with two.own(run):
                history.commit(two, run, 1)
                before = history.digest
                if still_there:
                    with pytest.raises(LedgerError, match="held by another session"):
                        history.commit(one, run, 2)
            if not still_there:
                # Its session may take longer to end than the first waits for the lock.
                until_unlocked(postgres)
                with pytest.raises(LedgerError, match="taken over"):
                    history.commit(one, run, 2)
        record = one.run(run)
    assert (record.committed, record.digest) == (2, before)
    assert counts(postgres) == (2, 24, 24)


@pytest.mark.stack
def test_permanent_postgresql_outage_is_error_with_remedy(postgres, server, history, monkeypatch):
    for module in (ownership, connect):
        monkeypatch.setattr(module, "PATIENCE", 0.5)
    with closing(open_ledger(postgres, create=True)) as ledger:
        run = history.begin(ledger)
        history.commit(ledger, run, 0)
        server.kill()
        try:
            with pytest.raises(LedgerError, match=rf"start the database, .* then: .* resume {run}"):
                history.commit(ledger, run, 1)
            with pytest.raises(InputError, match="cannot be opened"):
                open_ledger(postgres, create=False)
        finally:
            server.start()
    assert counts(postgres) == (1, 12, 12)
