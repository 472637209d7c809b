"""The production stack of ``python -m ga cluster`` for real, where an engine and its images are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from evolution_gate.fixtures.system.http_client import session
from ga.execution.protocol import PATIENCE_SECONDS
from ga.execution.ray.fleet import COLD_SECONDS
from ga.ops import compose as cluster
from ga.ops import secrets
from tests.support.waiting import wait_until
from validation.monitors import dashboards

ROOT = Path(__file__).parents[3]


PROMETHEUS = "http://127.0.0.1:9090"


ENGINE = "evolution-gate/engine:local"


@pytest.mark.stack
def test_production_stack_evolves_scales_drains_and_stops(production: Path) -> None:
    def ga(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "ga", "cluster", "--file", str(production), *arguments]
        return subprocess.run(argv, capture_output=True, text=True)

    def alive() -> list[str]:
        found = json.loads(ga("status", "--json").stdout)
        assert found["well"]
        hosts = ("ray-head", "genetic-pool")
        nodes = [n for n in found["nodes"] if n["state"] == "ALIVE" and n["host"] not in hosts]
        return [node["address"] for node in nodes]

    before = _left()
    with _rules_of_forwarding() as rules:
        up = ga("up")
    assert up.returncode == 0, f"{up.stderr}\nrules of forwarding meanwhile: {rules}"
    nodes = alive()
    assert len(nodes) == 3
    evolve = ["python", "-m", "ga", "evolve", "--market", "synthetic:assets=2,bars=1500,seed=1"]
    evolve += ["--population-size", "100", "--generations", "2", "--seed", "7", "--json"]
    compose = [*cluster.Compose(production).command, "exec", "-T", "genetic-pool"]
    histories = []
    for mode in (["--mode", "distributed", "--address", "ray-head:6379"], ["--mode", "local"]):
        done = subprocess.run([*compose, *evolve, *mode], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        histories.append(json.loads(done.stdout)["digest"])
    assert histories[0] == histories[1]
    _watched_and_served(production)
    _wrong_secrets_are_told(compose)
    drained = ga("drain", nodes[0], "--seconds", "5")
    assert drained.returncode == 0, drained.stderr
    assert ga("scale", "2").returncode == 0
    assert nodes[0] in drained.stdout
    assert len(alive()) >= 3
    assert ga("down", "--volumes").returncode == 0
    _nothing_is_left_since(before)


@pytest.mark.stack
def test_half_started_production_stack_is_removed(
    production: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An image of something else: PostgreSQL and Prometheus run by the time that it fails.
    monkeypatch.setenv("GA_IMAGE_REDIS", os.environ.get("GA_IMAGE_ENGINE", ENGINE))
    before = _left()
    argv = [sys.executable, "-m", "ga", "cluster", "--file", str(production), "up"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 1
    assert "redis-server: not found" in done.stderr, done.stderr
    assert "it was removed again" in done.stderr
    _nothing_is_left_since(before)


@contextmanager
def _rules_of_forwarding() -> Iterator[list[tuple[str, str]]]:
    """Every change of the host's rules for bridged packets, with its time.

    If containers do not reach each other, these say why; afterwards they are gone."""
    seen: list[tuple[str, str]] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(1.0):
            told = subprocess.run(
                ["iptables", "-w", "-S", "FORWARD"], capture_output=True, text=True, check=False
            )
            rules = told.stdout or told.stderr
            if not seen or seen[-1][1] != rules:
                seen.append((time.strftime("%H:%M:%S"), rules))

    watcher = threading.Thread(target=watch if shutil.which("iptables") else ended.wait)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


def _left() -> set[str]:
    """What Docker has of this project, and all volumes that no container uses."""
    ours = ["--filter", "label=com.docker.compose.project=evolution-gate"]
    asked = {
        "container": ["ps", "--all", "--quiet", *ours],
        "network": ["network", "ls", "--quiet", *ours],
        "volume": ["volume", "ls", "--quiet", "--filter", "dangling=true"],
    }
    told = {
        kind: subprocess.run(["docker", *argv], capture_output=True, text=True, check=True).stdout
        for kind, argv in asked.items()
    }
    return {f"{kind} {name}" for kind, names in told.items() for name in names.split()}


def _nothing_is_left_since(before: set[str]) -> None:
    # Other tests of this engine make volumes, which no container uses for a moment.
    wait_until(lambda: _left() <= before, seconds=60, what=lambda: f"removal of {_left() - before}")


def _watched_and_served(production: Path) -> None:
    """Every target is up but that of an engine, Ray's panels have data, the service evolves."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    watched = _monitoring_needs_the_password(production)

    def answer(url: str, token: str | None = None, body: dict[str, object] | None = None) -> Any:
        headers = {"Content-Type": "application/json", "Idempotency-Key": "one"}
        if token is not None:
            secret = (production.parent / "secrets" / token).read_text()
            headers["Authorization"] = f"Bearer {secret}"
        elif url.startswith(PROMETHEUS):
            headers["Authorization"] = watched
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, headers=headers, data=data)
        with opener.open(request, timeout=10) as found:
            return json.load(found)

    def states() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for one in answer(f"{PROMETHEUS}/api/v1/targets")["data"]["activeTargets"]:
            found.setdefault(one["labels"]["job"], set()).add(one["health"])
        return found

    others = ("ray", "service", "prometheus", "alertmanager", "backup")
    expected = {"ga": {"down"}, **{name: {"up"} for name in others}}
    wait_until(lambda: states() == expected, seconds=90, what=states, every=1.0)
    began = time.time() - 60
    prometheus = dashboards.Prometheus(_with_password(production))
    cluster = [query for query in dashboards.checked_in() if query.dashboard == "Cluster"]
    assert len(cluster) >= 10

    def empty() -> list[str]:
        now = time.time()
        return [one.panel for one in cluster if not prometheus.answer(one, began, now).points]

    wait_until(lambda: not empty(), seconds=90, what=empty, every=1.0)
    assert answer("http://127.0.0.1:8265/api/version", "ray_token")["ray_version"]
    wanted = {"market": "synthetic:bars=600", "population_size": 20, "generations": 1}
    service = "http://127.0.0.1:8000/v1/evolutions"
    run = answer(service, "service_token", wanted)["id"]
    last: dict[str, Any] = {}

    def finished() -> bool:
        last.update(answer(f"{service}/{run}", "service_token"))
        return last["state"] not in ("queued", "running")

    def standing() -> str:
        argv = [*cluster.Compose(production).command, "logs", "--tail", "40", "genetic-pool"]
        log = subprocess.run(argv, capture_output=True, text=True)
        return f"{last}\n{log.stdout}{log.stderr}"

    # So long the engine itself waits for a node whose lease is stuck, and tries again.
    patience = COLD_SECONDS + PATIENCE_SECONDS
    wait_until(finished, seconds=patience, what=standing, every=1.0)
    assert last["state"] == "finished", standing()


def _with_password(production: Path) -> str:
    """Prometheus' URL with the password."""
    password = (production.parent / "secrets" / "monitoring_password").read_text()
    return PROMETHEUS.replace("//", f"//{secrets.MONITORING_USER}:{password}@")


def _monitoring_needs_the_password(production: Path) -> str:
    """Nobody else is answered, and Alertmanager gets Prometheus' alerts; returns the header."""
    with session() as client:
        assert client.get(f"{PROMETHEUS}/metrics", timeout=5).status_code == 401
        wrong = client.get(f"{PROMETHEUS}/metrics", auth=("ga", "wrong"), timeout=5)
        assert wrong.status_code == 401
        found = client.get(f"{_with_password(production)}/-/ready", timeout=5)
        assert found.status_code == 200

        def sent() -> bool:
            url = f"{_with_password(production)}/api/v1/alertmanagers"
            return bool(client.get(url, timeout=5).json()["data"]["activeAlertmanagers"])

        wait_until(sent, seconds=60, what="Prometheus finds Alertmanager", every=1.0)
        return str(found.request.headers["Authorization"])


def _wrong_secrets_are_told(compose: list[str]) -> None:
    """Of the database and of the cluster: one line each, without the secret."""
    wrong = "0" * 64
    at, pool = compose.index("genetic-pool"), ["genetic-pool", "python", "-m", "ga"]
    small = ["evolve", "--market", "synthetic:bars=600", "--population-size", "4"]
    cases = {
        "password authentication failed": (
            f"GA_STORE=postgresql+psycopg://ga:{wrong}@postgres:5432/ga", ["runs"],
        ),
        "token": (
            f"RAY_AUTH_TOKEN={wrong}",
            [*small, "--mode", "distributed", "--address", "ray-head:6379"],
        ),
    }  # fmt: skip
    for words, (variable, arguments) in cases.items():
        argv = [*compose[:at], "-e", variable, *pool, *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
        assert done.returncode == 2, (words, done.stdout, done.stderr)
        assert words in done.stderr
        assert wrong not in done.stdout + done.stderr
