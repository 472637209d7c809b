"""``python -m ga cluster``: the production stack on this machine, by Docker Compose."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ga.cli.tables import table
from ga.errors import InputError
from ga.ops.compose import _LOG_LINES, COMPOSE_FILE, WORKERS, Compose, nodes, unpack
from ga.ops.ports import taken
from ga.ops.secrets import has_image, init


def add_parser(commands: Any) -> None:
    """Add ``cluster`` to the commands of ``python -m ga``."""
    text = "Manage the production stack with Docker Compose."
    parser = commands.add_parser("cluster", help=text, description=text)
    parser.add_argument(
        "--file",
        type=Path,
        default=COMPOSE_FILE,
        help=f"Compose file of the stack (default: {COMPOSE_FILE})",
    )
    actions = parser.add_subparsers(dest="action", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
        return parser

    starting = add("init", "Write random secrets and select the images.")
    starting.add_argument(
        "--webhook",
        metavar="URL",
        help="where Alertmanager sends alerts (default: as before, else nowhere)",
    )
    add("up", "Start everything and wait until it is healthy.")
    ending = add("down", "Stop everything; data is kept.")
    ending.add_argument("--volumes", action="store_true", help="also remove the data")
    state = add("status", "Show containers and Ray's nodes.")
    state.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    scaling = add("scale", "Set the number of worker nodes.")
    scaling.add_argument("workers", type=int, metavar="N", help="0 to 100")
    draining = add("drain", "Let a node finish its work, then stop it.")
    draining.add_argument("node", metavar="NODE", help="IP address or prefix of the node ID")
    draining.add_argument("--seconds", type=int, default=60, help="deadline (default: 60)")
    reading = add("logs", "Show the last log lines of a service, or of all.")
    reading.add_argument("service", nargs="?", help="name of the Compose service (default: all)")


def command(options: argparse.Namespace) -> int:
    """The command."""
    if options.action == "init" and unpack(options.file):
        print(f"deployment files written to {options.file.parent}")
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
    """Start everything; remove it again if it does not become healthy."""
    # Checked first, so that nothing is written without an engine.
    before = compose.containers()
    # Before the ports are checked, because it decides whether Grafana is among the services.
    if written := init(compose.folder):
        print(f"written in {compose.folder}: {', '.join(written)}", file=sys.stderr)
    if wide := compose.over_memory_limit():
        raise InputError(
            f"memory limits above this machine's memory: {', '.join(wide)}; lower them, see"
            " `python -m ga preflight`"
        )
    if not before and (listening := taken(compose.published())):
        raise InputError(
            f"ports in use: {', '.join(map(str, listening))}; find the processes with `ss -ltnp`,"
            " and stop them"
        )
    if compose.run("up", "-d", "--wait") == 0:
        return 0
    _print_unhealthy(compose)
    _print_missing_images(compose)
    if before:
        # Do not stop a stack that was already up: a run may use its healthy part.
        end = "fix the errors above and retry, or remove it: `python -m ga cluster down`"
    elif _down(compose, volumes=False) == 0:
        end = "it was removed again; fix the errors above and retry"
    else:
        end = "and could not be removed; see `docker compose ps --all`"
    print(f"error: the stack did not come up; {end}", file=sys.stderr)
    return 1


def _scaled(compose: Compose, workers: int) -> int:
    scale = f"{WORKERS}={workers}"
    if compose.run("up", "-d", "--no-recreate", "--wait", "--scale", scale) == 0:
        return 0
    _print_unhealthy(compose)
    print("error: not every service is healthy; fix the errors above and retry", file=sys.stderr)
    return 1


def _print_missing_images(compose: Compose) -> None:
    """Print the images that are missing after Compose has tried to pull them."""
    wanted = set(compose.read("config", "--images").split())
    if missing := sorted(image for image in wanted if not has_image(image)):
        print(
            f"\nmissing, and could not be pulled: {', '.join(missing)}; with a registry run"
            " `python -m evolution_gate.fixtures.images pull`, without one run"
            " `python -m evolution_gate.fixtures.images build`, then `python -m ga cluster init`",
            file=sys.stderr,
        )


def _print_unhealthy(compose: Compose) -> None:
    """Print the log tail of every unhealthy or restarted container."""
    for one in compose.containers():
        if not one.is_healthy or one.restarts:
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
    head = any(one.service == "ray-head" and one.is_healthy for one in containers)
    found = nodes(compose.folder) if head else []
    healthy = all(one.is_healthy for one in containers)
    if as_json:
        value: Mapping[str, object] = {
            "well": healthy,
            "containers": [{**asdict(one), "well": one.is_healthy} for one in containers],
            "nodes": [asdict(one) for one in found],
        }
        print(json.dumps(value, indent=2))
        return 0 if healthy else 1
    rows: list[dict[str, object]] = [
        {"name": c.name, "state": c.state, "health": c.health or "-", "restarts": c.restarts}
        for c in containers
    ]
    table("Containers", rows, styles=["" if one.is_healthy else "bold red" for one in containers])
    rows = [
        {"address": n.address, "state": n.state, "host": n.host, "id": n.id[:12]} for n in found
    ]
    table("Ray's nodes", rows)
    return 0 if healthy else 1


def _drain(compose: Compose, wanted: str, seconds: int) -> int:
    found = [
        one for one in nodes(compose.folder)
        if one.state == "ALIVE" and (one.address == wanted or one.id.startswith(wanted))
    ]  # fmt: skip
    if len(found) != 1:
        raise InputError(
            f"{wanted!r} matches {len(found)} live nodes; see `python -m ga cluster status`"
        )
    node = found[0]
    drain: Sequence[str] = (
        "exec", "-T", "ray-head", "ray", "drain-node", "--address=127.0.0.1:6379",
        f"--node-id={node.id}", "--reason=DRAIN_NODE_REASON_PREEMPTION",
        "--reason-message=drained by an operator", f"--deadline-remaining-seconds={seconds}",
    )  # fmt: skip
    compose.read(*drain)
    print(f"{node.address} takes no new work; its container {node.host} stops within {seconds} s")
    for argv in (["docker", "stop", f"--time={seconds}", node.host], ["docker", "rm", node.host]):
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            raise InputError(f"{' '.join(argv)}: {done.stderr.strip()}")
    print(f"{node.address} was removed; to add one: `python -m ga cluster scale N`")
    return 0
