"""A service as its own process, killed with evolutions accepted, under way and ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from evolution_gate.fixtures.system import process_table
from tests.support.service_process import BODY, GENERATIONS, ROOT, Service, environment
from tests.support.waiting import wait_until

_SECONDS = 240.0


def until(seen: Callable[[], object], what: str) -> None:
    # To be asked takes the service's processor time.
    wait_until(seen, seconds=_SECONDS, what=what, every=0.1)


def gone(pid: int) -> bool:
    return process_table.state(pid) in "ZX"


def stop_under_way(service: Service, runs: list[str]) -> list[int]:
    """The service's children, standing still with the first run under way, the second waiting."""

    def stopped() -> list[int]:
        children = service.children()
        process_table.send(children, signal.SIGSTOP)
        until(
            lambda: all(process_table.state(pid) in "TtZX" for pid in children),
            "the children stand still",
        )
        one, other = (service.get(f"/{run}") for run in runs)
        assert one["state"] in ("queued", "running"), "it was over before it could be stopped"
        # One that stands still has not ended; and that of the second run is not there yet.
        standing = bool(children) and not any(gone(child) for child in children)
        if standing and one["generation"] >= 1 and other["state"] == "queued":
            assert one["state"] == "running"
            return children
        process_table.send(children, signal.SIGCONT)
        return []

    return wait_until(
        stopped,
        seconds=_SECONDS,
        what="one run is under way, the other waits",
        every=0.02,
    )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def begin(*arguments: str, store: str = str(tmp_path / "service.db")) -> Service:
        made.append(Service(tmp_path / "service.log", store, *arguments))
        return made[-1]

    yield begin
    for one in made:
        if one.process.poll() is None:
            one.close()


@pytest.mark.parametrize(
    "store",
    [
        pytest.param("sqlite", marks=pytest.mark.slow),
        pytest.param("postgresql", marks=pytest.mark.stack),
    ],
    indirect=True,
)
def test_killed_service_loses_no_history(start, store, tmp_path):
    first = start(store=store)
    runs = [first.submit(f"key {n}".replace(" ", "-"), seed=n).json()["id"] for n in range(2)]
    children = stop_under_way(first, runs)
    first.close(signal.SIGKILL)
    until(lambda: all(gone(child) for child in children), "the children are gone")

    second = start(store=store)
    assert second.submit("key-0", seed=0).status_code == 200
    until(
        lambda: all(one["state"] == "finished" for one in second.get("")["evolutions"]),
        "all evolutions are finished",
    )
    found = {one["id"]: one for one in second.get("")["evolutions"]}
    assert set(found) == set(runs)
    assert [found[run]["error"] for run in runs] == [None, None]
    assert second.get(f"/{runs[0]}/strategies?limit=3")["strategies"]
    answer = second.http.get(
        f"{second.url}/v1/evolutions/{runs[0]}/events",
        headers={"Last-Event-ID": f"{GENERATIONS - 3}"},
        timeout=30,
    )
    events = [e.splitlines() for e in answer.text.strip().split("\n\n")]
    assert [e[0] for e in events] == [
        f"id: {GENERATIONS - 2}",
        f"id: {GENERATIONS - 1}",
        "event: end",
    ]
    assert second.close() == 0

    options = {name.replace("_", "-"): value for name, value in BODY.items() if name != "families"}
    undisturbed = subprocess.run(
        [
            *(sys.executable, "-m", "ga", "evolve", "--json", "--workers", "1", "--seed", "0"),
            *("--families", ",".join(BODY["families"]), "--store", str(tmp_path / "other.db")),
            *(f"--{name}={value}" for name, value in options.items()),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
    )
    assert found[runs[0]]["digest"] == json.loads(undisturbed.stdout)["digest"]
    assert found[runs[0]]["digest"] != found[runs[1]]["digest"]


def test_failed_and_cancelled_states_are_reported(start):
    service = start()
    bad = service.submit("bad", assets=["NONE"]).json()["id"]
    until(lambda: service.get(f"/{bad}")["state"] == "failed", "the bad one has failed")
    assert "has no NONE" in service.get(f"/{bad}")["error"]
    long = service.submit("long", generations=1000).json()["id"]
    until(lambda: service.get(f"/{long}")["generation"] >= 1, "the long one is under way")
    children = service.children()
    assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in children} == {os.nice(0)}
    assert service.http.delete(f"{service.url}/v1/evolutions/{long}", timeout=30).ok
    until(lambda: all(gone(child) for child in children), "the children are gone")
    assert service.get(f"/{long}")["state"] == "cancelled"


def test_event_streams_are_limited(start):
    service = start("--max-watchers", "2")
    run = service.submit("long", generations=1000).json()["id"]
    url = f"{service.url}/v1/evolutions/{run}/events"
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: service.http.get(url, stream=True, timeout=30), range(8)))
    watching = [answer for answer in opened if answer.status_code == 200]
    assert len(watching) == 2
    for answer in opened:
        if answer not in watching:
            assert answer.status_code == 429
            assert answer.json()["detail"].startswith("2 streams are open")
            answer.close()
    assert "ga_service_watchers 2.0" in service.http.get(f"{service.url}/metrics", timeout=30).text
    watching.pop().close()
    until(
        lambda: service.http.get(url, stream=True, timeout=30).status_code == 200,
        "there is room for a watcher",
    )
    service.http.delete(f"{service.url}/v1/evolutions/{run}", timeout=30)
    assert "event: end" in watching.pop().text


@pytest.mark.stack
def test_database_outage_is_reported_and_waited_for(start, server):
    service = start(store=server.database())
    ready = f"{service.url}/readyz"
    assert service.http.get(ready, timeout=30).status_code == 200
    run = service.submit("before", generations=10).json()["id"]
    server.kill()
    try:
        for answer in (
            service.http.get(ready, timeout=30),
            service.submit("during", generations=10),
        ):
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert "database" in answer.json()["detail"]
        assert service.http.get(f"{service.url}/healthz", timeout=30).status_code == 200
    finally:
        server.start()
    until(lambda: service.http.get(ready, timeout=30).status_code == 200, "it is ready")
    assert service.submit("during", generations=10).status_code == 202
    until(
        lambda: all(one["state"] == "finished" for one in service.get("")["evolutions"]),
        "all evolutions are finished",
    )
    assert service.get(f"/{run}")["error"] is None
    assert len(service.get("")["evolutions"]) == 2


LOCKS = """SELECT pid, objid, classid FROM pg_locks JOIN pg_database ON database = pg_database.oid
    WHERE locktype = 'advisory' AND datname = current_database() AND granted = %s"""


def service_lock(connection) -> tuple[int, int]:
    """Who has the lock of the service that alone uses a database, and its key."""
    ((pid, low, high),) = connection.execute(LOCKS, [True]).fetchall()
    key = high << 32 | low
    return pid, key - 2**64 if key >= 2**63 else key


@pytest.mark.stack
def test_service_retakes_lock_after_session_loss(start, postgres):
    service = start(store=postgres)
    with psycopg.connect(postgres.replace("+psycopg", ""), autocommit=True) as connection:
        before, key = service_lock(connection)
        connection.execute("SELECT pg_terminate_backend(%s)", [before])
        until(
            lambda: [p for p, *_ in connection.execute(LOCKS, [True]) if p != before],
            "another session has the lock",
        )
        assert service_lock(connection)[1] == key
    assert service.http.get(f"{service.url}/readyz", timeout=30).status_code == 200


@pytest.mark.stack
def test_displaced_service_stops_evolving(start, postgres):
    service = start(store=postgres)
    url = postgres.replace("+psycopg", "")
    with (
        psycopg.connect(url, autocommit=True) as connection,
        psycopg.connect(url, autocommit=True) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        before, key = service_lock(connection)
        service.submit("long", generations=1000)
        until(service.children, "an evolution is started")
        # As another service would that comes first when the database is back: it is next in the
        # queue, so the service cannot have its lock again before.
        other.execute("SET lock_timeout = '60s'")
        taken = pool.submit(other.execute, "SELECT pg_advisory_lock(%s)", [key])
        until(lambda: connection.execute(LOCKS, [False]).fetchall(), "it waits for the lock")
        connection.execute("SELECT pg_terminate_backend(%s)", [before])
        taken.result(60)
        ready = f"{service.url}/readyz"
        until(lambda: service.http.get(ready, timeout=30).status_code == 503, "it is not ready")
        until(lambda: not service.children(), "its evolution is ended")


def test_second_service_on_store_is_refused(start, store):
    start(store=store)
    other = subprocess.run(
        [sys.executable, "-m", "ga", "serve", "--port", "0"],
        env=environment(store),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert other.returncode == 2
    assert "another service uses it" in other.stderr
