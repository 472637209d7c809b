"""The thread that looks after evolutions: what disturbs it, and what it reports."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from ga.errors import InputError
from ga.ledger.connection import engine_of
from ga.ledger.deadlines import ANSWER_SECONDS, answer_seconds
from ga.service.database_watch import DatabaseWatch
from ga.service.supervisor import Runner
from tests.support.service_app import Service
from tests.support.waiting import wait_until

SECONDS = 120.0


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path, queued=9, seconds=2, quiet_seconds=2)
    with closing(made.ledger), made.http:
        yield made


@pytest.fixture
def sleepers(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen]:
    """Children that sleep, in place of evolutions."""
    started: list[subprocess.Popen] = []
    popen = subprocess.Popen

    def begin(*_: object, **options: object) -> subprocess.Popen:
        started.append(popen(["sleep", "600"], **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", begin)
    return started


def runner_of(service: Service, **changes: object) -> Runner:
    told = {"command": lambda *_: [], "env": {}, "say": lambda _: None, "niceness": 0}
    return Runner(service.store, service.limits, **{**told, **changes})


def until_state(service: Service, run: str, state: str) -> None:
    wait_until(
        lambda: service.store.get(run).state == state, seconds=SECONDS, what=f"{run} is {state}"
    )


@pytest.mark.usefixtures("sleepers")
def test_vanished_market_fails_only_its_evolution(service):
    gone, other = (service.submit(key).json()["id"] for key in ("gone", "other"))

    def command(job, _resumed):
        if job.run == gone:
            raise InputError("market x.csv: no such file")
        return []

    runner = runner_of(service, command=command)
    runner.start()
    with closing(runner):
        until_state(service, gone, "failed")
        until_state(service, other, "running")
    assert service.store.get(gone).error == "market x.csv: no such file"


@pytest.mark.usefixtures("sleepers")
def test_unexpected_error_is_reported_and_survived(service):
    run = service.submit().json()["id"]
    broken, said = threading.Event(), []
    broken.set()

    def held() -> bool:
        if broken.is_set():
            raise RuntimeError("a defect\nof two lines")
        return True

    runner = runner_of(service, held=held, say=said.append)
    runner.start()
    with closing(runner):
        wait_until(lambda: not runner.alive, seconds=SECONDS, what="it is in trouble")
        assert runner.trouble == "evolutions: RuntimeError: a defect of two lines"
        broken.clear()
        until_state(service, run, "running")
        wait_until(lambda: runner.alive, seconds=SECONDS, what="it is well again")
    assert said == [
        "evolutions: RuntimeError: a defect of two lines; trying again",
        "evolutions are looked after again",
    ]


@pytest.mark.usefixtures("sleepers")
def test_displaced_supervisor_takes_up_work_again(service):
    run = service.submit().json()["id"]
    answers = iter([False, False])
    said: list[str] = []
    runner = runner_of(service, held=lambda: next(answers, True), say=said.append)
    runner.start()
    with closing(runner):
        until_state(service, run, "running")
    assert [line.split(":")[0] for line in said] == [
        "another service uses the store",
        "evolutions are looked after again",
    ]


def test_evolution_without_progress_is_failed(service, sleepers):
    first, second = (service.submit(key).json()["id"] for key in ("first", "second"))
    runner = runner_of(service)
    runner.start()
    with closing(runner):
        until_state(service, first, "failed")
        # One slot: the next can only begin when the first has left it.
        until_state(service, second, "failed")
    assert service.store.get(first).error.startswith("ended by the service: ")
    assert [child.returncode for child in sleepers] == [-15, -15]


@pytest.mark.usefixtures("sleepers")
def test_outage_does_not_count_as_work(service):
    run = service.submit().json()["id"]
    with closing(DatabaseWatch(service.ledger.engine, seconds=5)) as watch:
        runner = runner_of(service, watch=watch)
        runner.start()
        with closing(runner):
            until_state(service, run, "running")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(DatabaseWatch, "away", "gone")
                time.sleep(3)  # longer than the evolution may work
            assert service.store.get(run).state == "running"


@pytest.mark.parametrize("error", [sa.exc.OperationalError, sa.exc.TimeoutError])
def test_database_error_is_answered_with_503(service, monkeypatch, error):
    def away(*_: object, **__: object) -> None:
        raise error("SELECT 1", {}, OSError("gone"))

    monkeypatch.setattr(service.store, "newest", away)
    answer = service.http.get("/v1/evolutions")
    assert answer.status_code == 503
    assert "database" in answer.json()["detail"]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[DatabaseWatch, Callable[[bool], None], list[str]]]:
    """A watch of a file, a function that takes the file away or brings it back, what was said."""
    made = Service(tmp_path)
    said: list[str] = []
    with closing(made.ledger), made.http:
        made.ledger.engine.dispose()
        watch = DatabaseWatch(made.ledger.engine, seconds=5, say=said.append)

        def there(yes: bool) -> None:
            with made.ledger.engine.begin() as connection:
                names = ("elsewhere", "requests") if yes else ("requests", "elsewhere")
                connection.exec_driver_sql(f"ALTER TABLE {names[0]} RENAME TO {names[1]}")

        yield watch, there, said
        watch.close()


@pytest.mark.parametrize("started", [False, True])
def test_watch_reports_each_change_once(watched, started):
    watch, there, said = watched
    if started:
        watch.start()
    assert watch.ask(SECONDS) is None
    for _ in range(2):
        there(False)
        for _ in range(3):
            wait_until(lambda: watch.ask(SECONDS), seconds=SECONDS, what="it is away")
            assert "no such table" in watch.away
        there(True)
        wait_until(lambda: watch.ask(SECONDS) is None, seconds=SECONDS, what="it is back")
        assert watch.away is None
    assert [line.split(" (")[0].split(",")[0] for line in said] == [
        "database: away",
        "database: answers again",
    ] * 2


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon"])
def test_invalid_database_seconds_are_refused(monkeypatch, text):
    monkeypatch.setenv("GA_DATABASE_SECONDS", text)
    with pytest.raises(InputError, match="GA_DATABASE_SECONDS: must be a number"):
        answer_seconds()


def test_database_seconds_come_from_variable(monkeypatch):
    monkeypatch.delenv("GA_DATABASE_SECONDS", raising=False)
    assert answer_seconds() == ANSWER_SECONDS
    monkeypatch.setenv("GA_DATABASE_SECONDS", "2.5")
    assert answer_seconds() == 2.5


def test_silent_server_is_an_operational_error():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = sa.make_url(f"postgresql+psycopg://u@127.0.0.1:{silent.getsockname()[1]}/x")
        engine = engine_of(url, seconds=0.2)
        with pytest.raises(sa.exc.OperationalError, match="timeout expired"):
            engine.connect()
        engine.dispose()


@pytest.mark.stack
def test_slow_statement_ends_and_session_is_dropped(postgres):
    engine = engine_of(sa.make_url(postgres), seconds=5.0)
    with engine.connect() as connection:
        # Not silent for long: each row is a sign of life.
        rows = "SELECT pg_sleep(1.5), repeat('x', 20000) FROM generate_series(1, 5)"
        assert len(connection.exec_driver_sql(rows).all()) == 5
        with pytest.raises(sa.exc.OperationalError, match="has not answered for 5 s") as failed:
            connection.exec_driver_sql("SELECT pg_sleep(600)")
        assert failed.value.connection_invalidated
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    engine.dispose()
