"""The service's answers, without a process behind them: what is accepted, refused and shown."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from prometheus_client import generate_latest

from ga.cli import main
from ga.cli.serve import read_token
from ga.errors import InputError
from ga.service import engine_process, singleton_lock
from ga.service.database_watch import DatabaseWatch
from ga.service.job_store import Job
from ga.service.limits import Limits
from ga.service.middleware import Metrics
from ga.service.supervisor import Runner, engine_command
from tests.support.service_app import GOOD, TOKEN, Service
from tests.support.waiting import wait_until


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path, queued=3, body_bytes=4000, population_size=100)
    with closing(made.ledger), made.http:
        yield made


def refused(answer, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert set(document) == {"type", "title", "status", "detail"}
    for word in words:
        assert word in document["detail"]


def test_accepted_evolution_is_stored_and_shown(service):
    answer = service.submit()
    assert answer.status_code == 202
    run = answer.json()["id"]
    assert answer.headers["location"] == f"/v1/evolutions/{run}"
    assert service.store.get(run).body["market"] == GOOD["market"]
    shown = service.http.get(f"/v1/evolutions/{run}").json()
    assert (shown["state"], shown["generation"], shown["digest"]) == ("queued", 0, None)
    listed = service.http.get("/v1/evolutions").json()["evolutions"]
    assert [one["id"] for one in listed] == [run]


def test_equal_idempotency_key_returns_same_evolution(service):
    first, second = service.submit(), service.submit()
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["id"] == second.json()["id"]
    assert len(service.store.newest(10)) == 1


def test_idempotency_key_with_other_body_conflicts(service):
    service.submit()
    refused(service.submit(seed=9), 409, "Idempotency-Key")
    assert len(service.store.newest(10)) == 1


def test_full_queue_refuses_until_evolution_ends(service):
    runs = [service.submit(str(n)).json()["id"] for n in range(3)]
    refused(service.submit("more"), 429)
    assert service.submit("0").status_code == 200
    assert service.http.delete(f"/v1/evolutions/{runs[0]}").json()["state"] == "cancelled"
    assert service.submit("more").status_code == 202


@pytest.mark.parametrize("header", [None, "Bearer wrong", f"Basic {TOKEN}", "Bearer é"])
@pytest.mark.parametrize(
    "path", ["/v1/evolutions", "/v1/evolutions/0123456789ab", "/metrics", "/v1/evolutions/x/events"]
)
def test_requests_without_token_are_unauthorized(service, path, header):
    anyone = TestClient(service.app)
    headers = {} if header is None else {"Authorization": header.encode()}
    answer = anyone.get(path, headers=headers)
    refused(answer, 401, "Bearer TOKEN")
    assert TOKEN not in answer.text


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json"])
def test_health_needs_no_token(service, path):
    answer = TestClient(service.app).get(path)
    # No thread looks after evolutions here, and readiness says so.
    assert answer.status_code == (503 if path == "/readyz" else 200)


@pytest.mark.parametrize(
    "changes",
    [
        {"market": "/etc/passwd"},
        {"market": "../../etc/passwd"},
        {"market": "synthetic:bars=6000000"},
        {"market": "synthetic:bars=x"},
        {"population_size": 101},
        {"population_size": 0},
        {"population_size": "12"},
        {"generations": 10**9},
        {"seed": -1},
        {"families": ["nosuch"]},
        {"families": []},
        {"assets": ["--store=x,y"]},
        {"start": "2024-02-01", "end": "2024-01-01"},
        {"fee": 0.7},
        {"unknown": 1},
    ],
)
def test_invalid_plan_is_refused_and_not_stored(service, changes):
    refused(service.submit(**changes), 422)
    assert service.store.newest(10) == []


def test_invalid_json_or_missing_key_is_refused(service):
    key = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    refused(service.http.post("/v1/evolutions", content=b"{", headers=key), 422)
    refused(service.http.post("/v1/evolutions", json=GOOD), 422, "idempotency-key")


@pytest.mark.parametrize("chunked", [False, True])
def test_oversized_body_is_refused(service, chunked):
    body = b"x" * 5000
    sent = iter([body]) if chunked else body
    headers = {"Idempotency-Key": "k"}
    refused(service.http.post("/v1/evolutions", content=sent, headers=headers), 413, "4,000")


@pytest.mark.parametrize("rest", ["", "/events", "/strategies", "/strategies/01234567"])
def test_unknown_id_is_not_found(service, rest):
    refused(service.http.get(f"/v1/evolutions/0123456789ab{rest}"), 404, "0123456789ab")
    refused(service.http.get(f"/v1/evolutions/nosuch{rest}"), 422)
    refused(service.http.get("/nosuch"), 404)


def test_strategies_are_distinct_and_have_benchmarks(service, tmp_path, capsys):
    run = service.submit().json()["id"]
    path = f"/v1/evolutions/{run}/strategies"
    assert service.http.get(path).json() == {"strategies": [], "benchmarks": []}
    store = str(tmp_path / "ledger.db")
    evolve = ("evolve", "--market", "synthetic:bars=600", "--population-size", "20", "--json")
    options = ("--generations", "2", "--families", "ema_crossover,rsi_filter", "--workers", "1")
    assert main.main([*evolve, *options, "--run-id", run, "--store", store, "--top", "3"]) == 0
    printed = json.loads(capsys.readouterr().out)
    found = service.http.get(path, params={"limit": 3}).json()
    assert found["strategies"] == printed["best"]
    assert found["benchmarks"] == printed["benchmarks"]
    every = service.http.get(path, params={"all": "true"}).json()
    assert len(every["strategies"]) == 20
    assert every["benchmarks"] == []
    assert {one["statistics"] for one in every["strategies"]} == {None}
    for place, one in enumerate(found["strategies"]):
        shown = service.http.get(f"{path}/{one['key'][:10]}").json()
        # What only the market tells is stored for the best of all, not for each distinct one.
        stored = {name: value for name, value in shown.items() if value is not None}
        assert stored.items() <= one.items()
        assert shown.keys() <= one.keys()
        assert place or stored == shown


def test_lost_market_names_parameter_without_it(service, tmp_path, write_csv):
    run = service.submit().json()["id"]
    prices = write_csv("prices.csv")
    evolve = ("evolve", "--market", str(prices), "--population-size", "8", "--generations", "1")
    options = ("--families", "ema_crossover", "--workers", "1", "--run-id", run)
    assert main.main([*evolve, *options, "--store", str(tmp_path / "ledger.db")]) == 0
    prices.unlink()
    path = f"/v1/evolutions/{run}/strategies"
    refused(service.http.get(path), 409, "all=true")
    assert service.http.get(path, params={"all": "true"}).json()["strategies"]


def test_ended_evolution_cannot_be_cancelled(service):
    run = service.submit().json()["id"]
    service.store.move(run, "finished")
    refused(service.http.delete(f"/v1/evolutions/{run}"), 409, "finished")
    assert service.store.get(run).state == "finished"


def test_cancelled_evolution_stays_cancelled(service):
    run = service.submit().json()["id"]
    for _ in range(2):
        answer = service.http.delete(f"/v1/evolutions/{run}")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert not service.store.move(run, "finished")
    events = service.http.get(f"/v1/evolutions/{run}/events").text
    assert events.startswith("event: end\n")


def test_store_outage_does_not_fail_evolution(service, tmp_path):
    run = service.submit().json()["id"]
    engine = engine_command(service.limits, address=None, workers=1)
    stores = [tmp_path / "away" / "ledger.db", tmp_path / "ledger.db"]

    def command(job: Job, resumed: bool) -> list[str]:
        return [*engine(job, resumed), f"--store={stores.pop(0)}"]

    runner = Runner(
        service.store, service.limits, command=command, env={}, say=pytest.fail, niceness=0
    )
    runner.start()
    try:
        wait_until(
            lambda: service.store.get(run).state in ("finished", "failed"),
            seconds=240,
            what="the evolution ends",
        )
    finally:
        runner.close()
    assert service.store.get(run).state == "finished"
    assert (service.store.get(run).tries, stores) == (1, [])


def test_child_process_sets_its_niceness(monkeypatch):
    done = []
    monkeypatch.setattr(
        engine_process.ctypes, "CDLL", lambda *_, **__: SimpleNamespace(prctl=lambda *_: 0)
    )
    monkeypatch.setattr(engine_process.os, "nice", done.append)
    monkeypatch.setattr(engine_process.os, "execv", lambda _, arguments: done.append(arguments[1:]))
    engine_process.main([str(os.getppid()), "7", "runs", "--json"])
    assert done == [7, ["-m", "ga", "runs", "--json"]]


def test_stopped_service_leaves_evolution_to_next(service, monkeypatch):
    run = service.submit().json()["id"]
    begun, started = threading.Event(), []
    popen = subprocess.Popen

    def begin(*_, **options):
        started.append(popen(["sleep", "600"], **options))
        begun.set()
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", begin)
    runner = Runner(
        service.store, service.limits, command=lambda *_: [], env={}, say=pytest.fail, niceness=0
    )
    runner.start()
    assert begun.wait(60)
    runner.close()
    assert started[0].returncode == -signal.SIGTERM
    assert service.store.get(run).state == "running"


@pytest.mark.parametrize("niceness", ["-1", "20"])
def test_invalid_niceness_is_refused(capsys, niceness, tmp_path):
    store = tmp_path / "ledger.db"
    assert main.main(["serve", "--niceness", niceness, "--store", str(store)]) == 2
    assert f"--niceness must be 0..19, not {niceness}" in capsys.readouterr().err
    assert not store.exists()


@pytest.mark.parametrize("let_go", [True, False])
def test_singleton_lock_waits_for_previous_session(monkeypatch, let_go):
    monkeypatch.setattr(singleton_lock, "LOCK_SECONDS", 60.0 if let_go else 0.3)
    answers = iter([False, False, *[let_go] * 100])
    monkeypatch.setattr(singleton_lock, "take_in_session", lambda *_: next(answers))
    connection = SimpleNamespace(
        commit=lambda: None, invalidate=lambda: None, close=lambda: closed.append(True)
    )
    url, closed = sa.make_url("postgresql://nowhere/ga"), []
    ledger = SimpleNamespace(engine=SimpleNamespace(url=url, connect=lambda: connection))
    end = nullcontext() if let_go else pytest.raises(InputError, match="another service uses it")
    with end, singleton_lock.acquire_singleton(ledger):
        assert let_go
    assert closed == [True]


def test_request_metrics_are_labelled_by_route(service):
    service.submit()
    service.http.get("/v1/evolutions/0123456789ab")
    series = service.http.get("/metrics").text
    assert 'ga_service_evolutions{state="queued"} 1.0' in series
    line = 'method="GET",route="/v1/evolutions/{run}",status="404"} 1.0'
    assert f"ga_service_requests_total{{{line}" in series


def test_database_outage_leaves_other_metrics(service, monkeypatch):
    def away() -> dict[str, int]:
        raise sa.exc.OperationalError("SELECT", {}, OSError("refused"))

    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        watch = DatabaseWatch(service.ledger.engine, seconds=5)
        series = Metrics(service.store, watch, {"database": nobody.getsockname()}).registry
        line = 'ga_reachable{run="service",service="database"} 0.0'
        assert line in generate_latest(series).decode()
        monkeypatch.setattr(service.store, "counts", away)
        without = generate_latest(series).decode()
    assert line in without
    assert "ga_service_evolutions{" not in without


def test_markets_outside_folder_are_refused(tmp_path):
    folder = tmp_path / "markets"
    (folder / "deep").mkdir(parents=True)
    inside, outside = folder / "deep" / "btc.csv", tmp_path / "secret.csv"
    inside.touch()
    outside.touch()
    (folder / "link.csv").symlink_to(outside)
    limits = Limits(markets=folder)
    assert limits.market("deep/btc.csv") == str(inside)
    for bad in ("../secret.csv", str(outside), "link.csv", "nosuch.csv", ".", "a" * 5000):
        with pytest.raises(InputError, match="no such market"):
            limits.market(bad)
    with pytest.raises(InputError, match="no such market"):
        Limits().market(str(inside))


def test_request_values_never_become_options():
    body = {**GOOD, "market": "eurusd", "assets": ["-x"], "start": "--help"}
    job = Job(
        run="0123456789ab",
        state="queued",
        body=body,
        tries=0,
        error=None,
        created_at=0.0,
        ended_at=None,
        generation=0,
        digest=None,
    )
    command = engine_command(Limits(), address=None, workers=2)
    with pytest.raises(ValueError, match="start"):
        command(job, False)
    del body["start"]
    first, *rest = command(job, False)
    assert first == "evolve"
    assert "--assets=-x" in rest
    assert all(one.startswith("--") for one in rest)
    assert command(job, True)[:2] == ["resume", "0123456789ab"]


@pytest.mark.parametrize("token", [None, "", "short", "not plain: é and more of it"])
def test_service_needs_a_token(monkeypatch, tmp_path, capsys, token):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GA_SERVICE_TOKEN", raising=False)
    arguments = ["serve", "--port", "0"]
    if token is not None:
        (tmp_path / "token").write_text(token)
        arguments += ["--token-file", "token"]
    assert main.main(arguments) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "secrets.token_urlsafe" in error
    assert not (tmp_path / "ga.db").exists()


def test_token_is_read_from_file_or_environment(monkeypatch, tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert read_token(file) == TOKEN
    monkeypatch.setenv("GA_SERVICE_TOKEN", TOKEN)
    assert read_token(None) == TOKEN
