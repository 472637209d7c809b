"""Stores for the ledger's tests: a PostgreSQL that can be killed, and made-up histories."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

import psycopg
import sqlalchemy as sa

from evolution_gate.fixtures.services.datastores import Service, start_postgres
from evolution_gate.fixtures.system import process_table
from evolution_gate.fixtures.system.launch import environment, popen
from ga.evaluation.settings import Outcome, Settings
from ga.evolution import GENESIS, Evolution, Plan, advance_digest
from ga.ledger import Ledger
from ga.ledger.connection import engine_of
from ga.ledger.schema import evaluations, generations, individuals
from ga.market import Market
from ga.sources import MarketSpec
from ga.store_url import url_of
from tests.support.waiting import wait_until

PLAN = Plan(seed=4, population_size=12, generations=6)
STACK = "ga-ledger-tests"


class Server:
    """A PostgreSQL that can be killed and started again.

    Args:
        under: where its directory is made.
    """

    def __init__(self, under: Path | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ga-", dir=under))
        # PostgreSQL runs as another user when we are root.
        self.directory.chmod(0o711)
        self.service: Service = start_postgres(STACK, self.directory)
        self.process = self.service.process
        self._names = 0
        with self.connect() as connection:
            # After a kill it would sync each file by itself before it answers; here only processes
            # are killed, never the machine.
            connection.execute("ALTER SYSTEM SET recovery_init_sync_method = 'syncfs'")

    def database(self) -> str:
        """The URL of a new database."""
        self._names += 1
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE t{self._names}")
        return self.service.url.removesuffix("/ga") + f"/t{self._names}"

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.service.url.replace("+psycopg", ""), autocommit=True)

    def kill(self) -> None:
        """Kill all its processes: a session's own could outlive the first, and answer once more."""
        # It stands still first, so that it starts no other.
        self.process.send_signal(signal.SIGSTOP)
        sessions = [process_table.read(p) for p in process_table.descendants({self.process.pid})]
        self.process.kill()
        self.process.wait()
        for session in sessions:
            if session is not None and session.alive:
                with suppress(ProcessLookupError):
                    os.kill(session.pid, signal.SIGKILL)
        wait_until(
            lambda: not any(one is not None and one.alive for one in sessions),
            seconds=30,
            what="the sessions of PostgreSQL are gone",
            every=0.005,
        )

    def start(self) -> None:
        home = self.directory / "postgres"
        user = home.stat().st_uid if os.geteuid() == 0 else None

        def answers() -> bool:
            # It ends at once while a process of the killed one still has its memory.
            if self.process.poll() is not None:
                self.process = popen(
                    list(self.service.process.args), user=user, cwd=home, log=home / "log",
                    env=environment(STACK) | {"LC_ALL": "C", "HOME": str(home)},
                )  # fmt: skip
            try:
                self.connect().close()
            except psycopg.OperationalError:
                return False
            return True

        wait_until(answers, seconds=120, what="PostgreSQL starts again")

    def close(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        shutil.rmtree(self.directory)


class History:
    """Commits made-up generations, and knows what must be in the ledger then."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.digest = GENESIS

    def begin(self, ledger: Ledger) -> str:
        return ledger.begin(
            market=self.market, spec=MarketSpec(spec="planted"), plan=PLAN, settings=Settings(),
            mode="local",
        )  # fmt: skip

    def commit(self, ledger: Ledger, run: str, generation: int, **changes: object) -> None:
        population = Evolution(PLAN).ask()
        outcomes = [
            Outcome(key=key, fitness=generation + i / 7, trades=i, max_drawdown=0.1)
            for i, key in enumerate(keys(generation))
        ]
        self.digest = advance_digest(self.digest, outcomes)
        arguments = {
            "generation": generation, "population": population, "outcomes": outcomes,
            "fresh": {o.key: 1 for o in outcomes}, "digest": self.digest, "seconds": 0.1,
            "mode": "local", "last": generation == PLAN.generations - 1,
        }  # fmt: skip
        ledger.commit(run, **{**arguments, **changes})


def keys(generation: int) -> list[str]:
    names = (f"{generation} {i}" for i in range(PLAN.population_size))
    return [hashlib.sha256(name.encode()).hexdigest() for name in names]


def rows(store: str, table: sa.Table) -> list[tuple[object, ...]]:
    engine = engine_of(url_of(store))
    with engine.connect() as connection:
        found = connection.execute(sa.select(table).order_by(*table.primary_key)).all()
    engine.dispose()
    return [tuple(row) for row in found]


def counts(store: str) -> tuple[int, int, int]:
    return tuple(len(rows(store, table)) for table in (generations, individuals, evaluations))


def change(store: str, statement: str) -> None:
    engine = engine_of(url_of(store))
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def own(ledger: Ledger, run: str) -> None:
    """Take a run, and give it back at once."""
    with ledger.acquire(run):
        pass
