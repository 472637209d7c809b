"""Commits while the database is locked, full, killed or unreachable."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa

from evolution_gate.fixtures.faults import disk_full
from evolution_gate.fixtures.faults.disk_full import Volume
from ga.errors import InputError, LedgerError
from ga.evolution import GENESIS
from ga.ledger import (
    Ledger,
    open_ledger,
    ownership,
)
from ga.ledger import (
    connection as connect,
)
from ga.ledger import store as store_module
from ga.ledger.schema import generations
from tests.support.ledger_stores import PLAN, Server, counts, own
from tests.support.waiting import wait_until


def test_commit_waits_for_locked_sqlite(tmp_path, history):
    store = f"sqlite:///{tmp_path / 'ledger.db'}"
    with closing(open_ledger(store, create=True)) as ledger:
        run = history.begin(ledger)
        give_up_at_once(ledger)
        with (
            ledger.acquire(run),
            closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other,
        ):
            other.execute("BEGIN IMMEDIATE")
            committing = threading.Thread(target=history.commit, args=(ledger, run, 0))
            committing.start()
            time.sleep(0.4)  # time in which a commit that does not wait would end
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
            ledger.acquire(run),
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
        with ledger.acquire(run):
            history.commit(ledger, run, 0)
            assert full.fill().confirmed
            committing = threading.Thread(target=history.commit, args=(ledger, run, 1))
            committing.start()
            time.sleep(0.4)  # time in which a commit that does not wait would end
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

            with ledger.acquire(run):
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
        with ledger.acquire(run):
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
        time.sleep(0.5)  # the outage that the commit must outlast
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
        with ledger.acquire(run) as owner:
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
        with ledger.acquire(run):
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
        with one.acquire(run):
            history.commit(one, run, 0)
            server.kill()
            server.start()
            with two.acquire(run):
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
