"""A service whose PostgreSQL is stopped, killed and started again, in any order."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from evolution_gate.fixtures.system import process_table
from tests.support.ledger_stores import Server
from tests.support.service_process import Service
from tests.support.waiting import wait_until

pytestmark = pytest.mark.stack

SECONDS = 240.0
DEADLINE = "1"
"""Seconds of silence after which the database is away, for the service and for evolutions."""
STOPPED_SECONDS = 3.5
"""Longer than every deadline."""
NEVER = ("Traceback", "Exception in ASGI application")


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    """A server that only these tests disturb."""
    with closing(Server()) as made:
        yield made


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Service]]:
    monkeypatch.setenv("GA_DATABASE_SECONDS", DEADLINE)
    made: list[Service] = []

    def begin(store: str) -> Service:
        made.append(Service(tmp_path / "service.log", store, "--database-seconds", DEADLINE))
        return made[-1]

    yield begin
    for one in made:
        if one.process.poll() is None:
            one.close()


def processes(database: Server) -> list[int]:
    pid = database.process.pid
    return [pid, *process_table.descendants({pid})]


def ready(service: Service) -> int:
    return service.http.get(f"{service.url}/readyz", timeout=60).status_code


def states(service: Service) -> dict[str, tuple[str, str | None]]:
    answer = service.http.get(f"{service.url}/v1/evolutions", timeout=60)
    if answer.status_code != 200:
        return {}
    return {one["id"]: (one["state"], one["error"]) for one in answer.json()["evolutions"]}


def submit(service: Service, key: str, **changes: object) -> str:
    """Submit until it is accepted: with the same key, it is accepted once."""

    def accepted() -> str | None:
        answer = service.submit(key, **changes)
        assert answer.status_code in (200, 202, 503), answer.text
        return answer.json().get("id")

    return wait_until(accepted, seconds=SECONDS, what=f"{key} is accepted")


def finished(service: Service, runs: list[str]) -> None:
    wait_until(
        lambda: set(states(service).items()) >= {(run, ("finished", None)) for run in runs},
        seconds=SECONDS,
        what=lambda: f"all runs are finished: {states(service)}\n{log_of(service)}",
        every=0.2,
    )


def log_of(service: Service) -> str:
    return Path(str(service.log.name)).read_text()


def test_stopped_database_is_away_until_continued(start, database):
    service = start(database.database())
    run = submit(service, "one", generations=60)
    wait_until(lambda: ready(service) == 200, seconds=SECONDS, what="it is ready")
    stopped = processes(database)
    process_table.send(stopped, signal.SIGSTOP)
    try:
        # No question is answered, however long it waits: each answer shows a deadline.
        assert ready(service) == 503
        wait_until(
            lambda: "database: away" in log_of(service), seconds=SECONDS, what="it is noticed"
        )
        before = threads_of(service)
        for number in range(40):
            assert ready(service) == 503
            assert service.submit(f"during-{number}").status_code == 503
        assert threads_of(service) <= before + 5
        assert service.http.get(f"{service.url}/healthz", timeout=60).status_code == 200
    finally:
        process_table.send(stopped, signal.SIGCONT)
    wait_until(lambda: ready(service) == 200, seconds=SECONDS, what="it is ready again")
    finished(service, [run, submit(service, "after", generations=3)])
    log = log_of(service)
    # On a busy machine it may seem to be away once more.
    assert log.count("database: away") == log.count("database: answers again") <= 5
    assert not any(word in log for word in NEVER)


def threads_of(service: Service) -> int:
    return len(list(Path(f"/proc/{service.process.pid}/task").iterdir()))


def test_disturbed_database_loses_no_accepted_run(start, database, fault_seed):
    """``--fault-schedules COUNT`` runs more schedules, ``--replay SEED`` one again."""
    dice = random.Random(fault_seed)
    service = start(database.database())
    runs = [submit(service, "key-0", generations=100)]
    for number in range(1, 4):
        disturb(database, dice)
        runs.append(submit(service, f"key-{number}", generations=dice.choice((5, 40))))
    wait_until(lambda: ready(service) == 200, seconds=SECONDS, what="it is ready again")
    finished(service, runs)
    found = wait_until(lambda: states(service), seconds=SECONDS, what="it is listed")
    assert len(found) == len(set(runs))
    log = log_of(service)
    assert not any(word in log for word in NEVER), log
    assert log.count("database: away") == log.count("database: answers again"), log


def disturb(database: Server, dice: random.Random) -> None:
    """One fault of a schedule: short, or longer than every deadline; of all or of the first."""
    kind = dice.choice(("all", "first", "kill", "kill while stopped"))
    seconds = dice.choice((0.2, STOPPED_SECONDS))
    if kind == "kill":
        database.kill()
        time.sleep(seconds)  # the fault lasts as long
        database.start()
        return
    stopped = processes(database) if kind != "first" else [database.process.pid]
    process_table.send(stopped, signal.SIGSTOP)
    time.sleep(seconds)  # the fault lasts as long
    if kind == "kill while stopped":
        database.kill()
        database.start()
    else:
        process_table.send(stopped, signal.SIGCONT)
