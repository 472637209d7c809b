"""Listening sockets, what an unauthenticated client gets from them, and leaked secrets."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol, runtime_checkable
from urllib.parse import unquote, urlsplit

import psycopg
import redis
import requests
from redis.backoff import NoBackoff
from redis.retry import Retry

from evolution_gate.fixtures.protocols import Endpoints, Stack
from evolution_gate.fixtures.system import ports, process_table, sockets
from evolution_gate.fixtures.system.http_client import session
from evolution_gate.fixtures.system.launch import run
from evolution_gate.fixtures.system.sockets import Socket
from ga.execution.ray.tasks import evaluates
from validation.evidence.log import Sink
from validation.evidence.records import Note
from validation.evidence.records_network import (
    Access,
    Leak,
    Listener,
    Reach,
    Search,
    Survey,
)
from validation.stages.evolve_process import Evolve

_STRANGER: Final = str(Path(__file__).parents[1] / "scripts" / "unauthenticated_access.py")
_SECONDS: Final = 30.0
_TIMEOUT: Final = 3
_WORK_SECONDS: Final = 30.0
_POLL: Final = 0.05
_GUESSES: Final = ("not-the-password", "password", "postgres", "redis", "admin", "changeme")
"""Common passwords, which must be refused; a refusal of the first shows that passwords are
checked.
"""
_ACCOUNTS: Final = (("postgres", "postgres"), ("postgres", "password"), ("admin", "admin"))
_KNOWN: Final = {"redis-server": "redis", "valkey-server": "redis"}
"""Program name to the service's name, where they differ."""


@runtime_checkable
class ExposesProcesses(Protocol):
    """A stack whose processes are visible from this machine."""

    def pids(self) -> set[int]:
        """Every process that belongs to it."""
        ...

    def leads_out(self, pid: int) -> bool:
        """Whether the network of a process is reachable from other machines.

        Raises:
            OSError: that cannot be seen, for example because the process has ended.
        """
        ...


@runtime_checkable
class ExposesLogs(Protocol):
    """A stack whose logs can be read."""

    def written(self) -> Iterator[tuple[str, bytes]]:
        """Logs of its processes and the history of its images, as name and content."""
        ...


def survey(
    stack: Stack, writer: Sink, *, say: Callable[[str], None], during: Evolve | None = None
) -> None:
    """Record every listening socket of the stack, and its answer to unauthenticated clients.

    Args:
        during: An evolution that runs. The survey begins and ends when a process evaluates, after
            half a minute in any case, and leaves out sockets that were closed before they answered.
    """
    if not isinstance(stack, ExposesProcesses):
        writer.add(Note(text=f"sockets not surveyed: not supported for a stack of {stack.backend}"))
        return
    say("every listening socket, and what an unauthenticated client gets from it")
    at_work = during is not None
    evaluating = 0 if during is None else _await_work(stack, during)
    pids = stack.pids()
    found, unreadable = sockets.listening(pids)
    names = {sockets.namespace_of("self"): "host"}
    for node in stack.nodes:
        if node.pid is not None:
            names.setdefault(sockets.namespace_of(node.pid), node.name)
    by_network: dict[int, list[Socket]] = {}
    for one in found:
        by_network.setdefault(one.namespace, []).append(one)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda some: _ask(stack, some, names), by_network.values()))
    left = _left(stack) if at_work else {(one.namespace, one.text) for one in found}
    written = 0
    services = _services(stack.endpoints)
    for some, answer in zip(by_network.values(), answers, strict=True):
        out = reached_by_others(stack, [one.pid for one in some])
        for one in some:
            network = names.get(one.namespace, "of its own")
            service = services.get((network, one.port), _KNOWN.get(one.program, one.program))
            access, attempt = _access(stack.endpoints, service, answer.get(one.text))
            if out is None and access == "metrics":
                access = "unknown"
                attempt += "; whether other machines reach its network was not seen"
            if access in ("unknown", "not tried") and (one.namespace, one.text) not in left:
                continue
            written += 1
            writer.add(
                Listener(
                    service=service,
                    network=network,
                    address=one.text,
                    reach=_reach(one, leads_out=bool(out)),
                    access=access,
                    attempt=attempt,
                    at_work=at_work,
                )
            )
    writer.add(
        Survey(
            processes=len(pids),
            listeners=written,
            unreadable=len(unreadable),
            credentials=_let_in(stack.endpoints),
            at_work=at_work,
            evaluating=0 if during is None else min(evaluating, _await_work(stack, during)),
        )
    )


def _await_work(stack: ExposesProcesses, evolve: Evolve) -> int:
    """Wait until processes evaluate while an evolution runs; returns how many."""
    deadline = time.monotonic() + _WORK_SECONDS
    while evolve.running and time.monotonic() < deadline:
        if found := _evaluating(stack):
            return found
        time.sleep(_POLL)
    return 0


def _evaluating(stack: ExposesProcesses) -> int:
    return sum(evaluates(process_table.command(pid)) for pid in stack.pids())


def _left(stack: ExposesProcesses) -> set[tuple[int, str]]:
    """Network and address of every socket that listens now."""
    return {(one.namespace, one.text) for one in sockets.listening(stack.pids())[0]}


def reached_by_others(stack: ExposesProcesses, pids: Sequence[int]) -> bool | None:
    """Whether other machines reach a network, by any of its processes; None: none could be asked.

    One process may end meanwhile, as a worker does.
    """
    for pid in dict.fromkeys(pids):
        try:
            return stack.leads_out(pid)
        except OSError:
            continue
    return None


def search(stack: Stack, writer: Sink, folder: Path) -> None:
    """Look for the stack's secrets in the run's folder, in its logs, and in its images' history."""
    secrets = secrets_of(stack.endpoints)
    count = 0
    for name, content in (
        *_files(folder),
        *(stack.written() if isinstance(stack, ExposesLogs) else ()),
    ):
        count += 1
        for leaked in found_in(content, secrets):
            writer.add(Leak(secret=leaked, file=name))
    writer.add(Search(files=count, secrets=len(secrets)))


def withdraw(pages: Sequence[Path], secrets: Mapping[str, str]) -> list[str]:
    """Remove the pages that contain a secret; returns a description of each."""
    said = []
    for page in pages:
        leaked = found_in(page.read_bytes(), secrets)
        if leaked:
            page.unlink()
            said.append(f"{page.name}: {', '.join(leaked)}")
    return said


def found_in(content: bytes, secrets: Mapping[str, str]) -> list[str]:
    """Names of the secrets that the content contains."""
    return [name for name, secret in secrets.items() if secret.encode() in content]


def secrets_of(ends: Endpoints) -> dict[str, str]:
    """Owner of each secret to the secret itself."""
    return dict(_secrets(ends))


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()


def _secrets(ends: Endpoints) -> Iterator[tuple[str, str]]:
    token = ends.env.get("RAY_AUTH_TOKEN_PATH")
    if token is not None:
        yield "Ray's token", Path(token).read_text().strip()
    for name, url in (
        ("PostgreSQL", ends.postgres),
        ("Redis", ends.redis),
        ("Prometheus", ends.prometheus),
        ("Grafana", ends.grafana),
    ):
        password = urlsplit(url).password if url is not None else None
        if password:
            yield f"{name}'s password", unquote(password)


def _services(ends: Endpoints) -> dict[tuple[str, int], str]:
    """The services and their addresses, as far as the endpoints show them."""
    known = {}
    for name in ("postgres", "redis", "prometheus", "alertmanager", "grafana"):
        url = getattr(ends, name)
        if url is not None and (port := urlsplit(url).port) is not None:
            known["host", port] = name
    return known


def _reach(one: Socket, *, leads_out: bool) -> Reach:
    if one.address.is_loopback:
        return "loopback"
    return "outside" if leads_out else "stack"


def _ask(
    stack: Stack, some: Sequence[Socket], names: Mapping[int, str]
) -> Mapping[str, tuple[str, str]]:
    """The answers of sockets that are not on loopback to an unauthenticated client in their
    network.
    """
    ours = names.get(some[0].namespace) == "host"
    own = ports.outward_address() if ours else "*"
    targets = {
        one.text: f"{own}:{one.port}" if one.address.is_unspecified else one.text
        for one in some
        if not one.address.is_loopback
    }
    prefix = [] if ours else ["nsenter", f"--net=/proc/{some[0].pid}/ns/net", "--"]
    head = stack.endpoints.ray.rpartition(":")[0]
    try:
        # No environment variable of Ray gives it a token.
        done = run(
            [*prefix, sys.executable, _STRANGER, head],
            input=json.dumps(sorted(set(targets.values()))),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
        answers = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return {}
    return {text: answers[target] for text, target in targets.items() if target in answers}


def _access(ends: Endpoints, service: str, answer: tuple[str, str] | None) -> tuple[Access, str]:
    if service == "postgres" and ends.postgres is not None:
        return _postgres(ends.postgres)
    if service == "redis" and ends.redis is not None:
        return _redis(ends.redis)
    if answer is None:
        return "not tried", ""
    kinds: dict[str, Access] = {"refused": "refused", "metrics": "metrics", "open": "open"}
    return kinds.get(answer[0], "unknown"), answer[1]


def _postgres(url: str) -> tuple[Access, str]:
    own = urlsplit(url).username or ""
    tries = dict.fromkeys([*((own, word) for word in (*_GUESSES, own)), *_ACCOUNTS])
    for user, password in tries:
        try:
            _connect(url, user=user, password=password)
        except psycopg.OperationalError as error:
            if "authentication failed" not in str(error) and "no password" not in str(error):
                return "unknown", "a guessed password: no answer"
        else:
            return "open", f"{user} with the password {password!r}: accepted"
    return "refused", f"{len(tries)} guesses of user and password: authentication failed"


def _connect(url: str, *, password: str | None, user: str | None = None) -> None:
    parts = urlsplit(url)
    with psycopg.connect(
        host=parts.hostname,
        port=parts.port,
        user=parts.username if user is None else user,
        password=password,
        dbname=parts.path.lstrip("/"),
        connect_timeout=_TIMEOUT,
    ) as connection:
        connection.execute("SELECT 1")


def _redis(url: str) -> tuple[Access, str]:
    parts = urlsplit(url)
    for password in (None, *_GUESSES):
        with redis.Redis(
            host=parts.hostname or "",
            port=parts.port or 0,
            password=password,
            socket_timeout=_TIMEOUT,
            # By default the client tries a wrong password eleven times.
            retry=Retry(NoBackoff(), 0),
        ) as client:
            try:
                client.ping()
            except (redis.AuthenticationError, redis.ResponseError):
                continue
            except redis.RedisError:
                return "unknown", "PING without the password: no answer"
            how = "without a password" if password is None else f"with the password {password!r}"
            return "open", f"PING {how}: answered"
    return "refused", f"PING without a password and with {len(_GUESSES)} guesses: refused"


def _let_in(ends: Endpoints) -> dict[str, object]:
    """Whether each service accepts its own secret."""
    found: dict[str, object] = {}
    client = session()
    try:
        answer = client.get(f"{ends.dashboard}/api/version", headers=ends.headers, timeout=_TIMEOUT)
        found["dashboard"] = answer.status_code == 200
    except requests.RequestException:
        found["dashboard"] = False
    if ends.prometheus is not None and urlsplit(ends.prometheus).password:
        try:
            ready = client.get(f"{ends.prometheus}/-/ready", timeout=_TIMEOUT)
            found["prometheus"] = ready.status_code == 200
        except requests.RequestException:
            found["prometheus"] = False
    if ends.postgres is not None:
        try:
            _connect(ends.postgres, password=unquote(urlsplit(ends.postgres).password or ""))
            found["postgres"] = True
        except psycopg.OperationalError:
            found["postgres"] = False
    if ends.redis is not None:
        with redis.Redis.from_url(ends.redis, socket_timeout=_TIMEOUT) as client:
            try:
                found["redis"] = bool(client.ping())
            except redis.RedisError:
                found["redis"] = False
    return found
