"""Every command of the two handbooks exists, and works on a stack that is up."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
import yaml

from evolution_gate.fixtures.images import IMAGES
from evolution_gate.fixtures.services.monitoring import DEPLOY
from ga.cli.parser import make_parser as _parser
from ga.ops.compose import compose_of_wheel
from ga.ops.ports import PORTS

ROOT: Final = DEPLOY.parent
HANDBOOKS: Final = ("operations.md", "troubleshooting.md")
COMPOSE: Final = ["docker", "compose", "-f", "deploy/docker-compose.yml"]
LABEL: Final = "com.docker.compose.project=evolution-gate"
MISSES: Final = "python -m ga preflight"
"""Ends with 1 on a machine smaller than the plan asks for, and while the stack holds its ports."""


def commands(name: str) -> list[str]:
    """The commands of a handbook: lines that begin with ``$`` in its ``console`` blocks."""
    blocks = re.findall(r"^```console\n(.*?)^```$", (ROOT / "docs" / name).read_text(), re.M | re.S)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


PLAN: Final = (
    "docker-compose --version",
    "docker --version",
    "docker-compose build",
    "docker-compose up -d ray-head ray-worker-1 ray-worker-2",
    "docker-compose logs ray-head",
    "curl http://localhost:8265",
    "docker-compose up -d genetic-pool",
    "docker-compose exec genetic-pool python -m src.execution.genetic_strategy_pool"
    " --mode distributed --population-size 100",
    "docker-compose up -d prometheus grafana",
    "docker-compose up -d",
    "python scripts/validation/comprehensive_system_validation.py --mode distributed",
    "ray status",
    "docker-compose ps",
    "python scripts/validation/validate_distributed_performance.py",
    "curl http://localhost:9090/api/v1/targets",
    "curl http://localhost:3000/api/health",
    "docker network inspect quant_trading_genetic-cluster",
    "docker-compose down",
    "python -m src.execution.genetic_strategy_pool --mode local",
)
"""The commands of the plan for phase 1, in its order."""
NOT_RUN: Final = {
    "docker-compose build": "takes minutes; the images are there",
    "python scripts/validation/comprehensive_system_validation.py --mode distributed": "minutes",
    "python scripts/validation/validate_distributed_performance.py": "minutes",
    "curl http://localhost:3000/api/health": "the image of Grafana may be missing",
    "docker-compose down": "ends the project; the handbook does so at its end",
}
"""Commands whose row is only checked, and why."""


def plan_rows() -> dict[str, str]:
    """The plan's commands -> those that work here, by the table of the handbook."""
    text = (ROOT / "docs" / "operations.md").read_text()
    return dict(re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| [^|]+ \|$", text, re.M))


EVERY: Final = [command for name in HANDBOOKS for command in commands(name)]


def test_handbooks_contain_only_command_blocks() -> None:
    for name in HANDBOOKS:
        text = (ROOT / "docs" / name).read_text()
        assert len(commands(name)) >= 10
        fences = re.findall(r"^```(\w*)$", text, re.M)
        assert set(fences) == {"console", ""}
        inside = re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S)
        assert all(line.startswith("$ ") for block in inside for line in block.splitlines())


def test_each_command_of_the_plan_has_a_row() -> None:
    assert tuple(plan_rows()) == PLAN
    assert NOT_RUN.keys() <= set(PLAN)


@pytest.mark.parametrize("planned", PLAN)
def test_row_of_the_plan_names_what_exists(planned: str) -> None:
    words = shlex.split(plan_rows()[planned])
    if words[0] == "pytest":
        stated = json.loads((ROOT / "tests" / "goldens" / "pytest_options.json").read_text())
        known = {name for names, _ in stated.values() for name in names}
        assert {word for word in words if word.startswith("--")} <= known
    elif words[:3] == ["python", "-m", "evolution_gate.fixtures.images"]:
        assert set(words[4:]) <= set(IMAGES)
    elif words[:3] == ["docker", "network", "inspect"]:
        whole = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())
        assert words[3] in {f"{whole['name']}_{name}" for name in whole["networks"]}
    elif words[: len(COMPOSE)] == COMPOSE:
        services = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())["services"]
        verb, *rest = words[len(COMPOSE) :]
        assert verb in ("up", "logs", "exec", "ps")
        named = [word for word in rest if not word.startswith("-") and "=" not in word]
        assert set(named[:1] if verb == "exec" else named) <= set(services)
    elif words[0] == "curl":
        port = int(re.findall(r"http://127\.0\.0\.1:(\d+)/", plan_rows()[planned])[0])
        assert port in PORTS
        assert f":{port}" in planned
    else:
        assert words[0] in ("docker", "python")


@pytest.mark.parametrize("command", dict.fromkeys([*EVERY, *plan_rows().values()]))
def test_commands_name_existing_services_and_files(command: str) -> None:
    words = shlex.split(command)
    while "=" in words[0]:
        del words[0]
    services = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())["services"]
    if words[: len(COMPOSE)] == COMPOSE and "exec" in words:
        position = next(i for i, word in enumerate(words) if word in services)
        words = words[position + 1 :]
    if words[:3] == ["python", "-m", "ga"]:
        _parser().parse_args(words[3:])
    named = re.findall(r"\bray-[a-z-]+\b|\bgenetic-pool\b", command)
    assert set(named) <= set(services)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder with the deployment in it, and its commands' environment; removed at the end."""
    folder = tmp_path_factory.mktemp("checkout")
    environment = _environment(folder)
    if reason := _missing(environment):
        pytest.skip(reason)
    shutil.copytree(DEPLOY, folder / "deploy", ignore=shutil.ignore_patterns("secrets", ".env"))
    for name in ("data", "logs", "results"):
        (folder / name).mkdir()
    try:
        yield folder, environment
    finally:
        down = [sys.executable, "-m", "ga", "cluster", "down", "--volumes"]
        subprocess.run(down, cwd=folder, env=environment, capture_output=True, timeout=120)
        untag = ["docker", "image", "rm", "--no-prune", "evolution-gate/engine:previous"]
        subprocess.run(untag, env=environment, capture_output=True)


@pytest.mark.stack
@pytest.mark.nightly
def test_commands_work(checkout: tuple[Path, dict[str, str]]) -> None:
    """One after the other, as an operator would; troubleshooting while the stack is up."""
    folder, environment = checkout
    operations = commands("operations.md")
    # Upgrade and rollback end the stack: before them comes what needs it.
    turn = next(i for i, command in enumerate(operations) if command.startswith("docker tag"))
    planned = [command for name, command in plan_rows().items() if name not in NOT_RUN]
    while_up = [*operations[:turn], *planned, *commands("troubleshooting.md")]
    for command in while_up + operations[turn:]:
        filled = _filled(command, folder, environment)
        done = subprocess.run(
            ["bash", "-c", filled], cwd=folder, env=environment,
            capture_output=True, text=True, timeout=400,
        )  # fmt: skip
        allowed = (0, 1) if command.startswith(MISSES) else (0,)
        assert done.returncode in allowed, (
            f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
    assert not _containers(environment)


def _filled(command: str, folder: Path, environment: Mapping[str, str]) -> str:
    def answer(*argv: str) -> object:
        done = subprocess.run(
            argv, cwd=folder, env=environment, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)

    if "RUN" in command.split():
        ask = [*COMPOSE, "exec", "-T", "genetic-pool", "python", "-m", "ga", "runs", "--json"]
        command = command.replace("RUN", answer(*ask)[0]["run"])  # type: ignore[index]
    if "NODE" in command.split():
        found = answer("python", "-m", "ga", "cluster", "status", "--json")
        named = {"ray-head", "genetic-pool"}
        nodes = [n for n in found["nodes"] if n["state"] == "ALIVE" and n["host"] not in named]  # type: ignore[index]
        command = command.replace("NODE", nodes[0]["address"])
    return command


def _environment(folder: Path) -> dict[str, str]:
    """``python`` is this one, and ``docker compose`` is found where only the PyPI package is."""
    tools = Path(sys.executable).parent
    plugins = folder / "docker" / "cli-plugins"
    environment = {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    has = subprocess.run(["bash", "-c", "docker compose version"], capture_output=True)
    if has.returncode and (program := compose_of_wheel()):
        plugins.mkdir(parents=True)
        (plugins / "docker-compose").symlink_to(program)
        environment["DOCKER_CONFIG"] = str(plugins.parent)
    return environment


def _missing(environment: Mapping[str, str]) -> str:
    """Why the stack cannot be started here; empty: it can."""
    for command, reason in (
        ("docker info", "no Docker engine answers"),
        ("docker compose version", "Docker has no compose"),
        (
            "docker image inspect evolution-gate/engine:local",
            "no engine image: `python -m evolution_gate.fixtures.images build`",
        ),
    ):
        if subprocess.run(["bash", "-c", command], env=environment, capture_output=True).returncode:
            return reason
    return "another stack of this project is up" if _containers(environment) else ""


def _containers(environment: Mapping[str, str]) -> str:
    argv = ["docker", "ps", "--all", "--quiet", "--filter", f"label={LABEL}"]
    return subprocess.run(argv, env=environment, capture_output=True, text=True).stdout.strip()
