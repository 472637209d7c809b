"""Fault injectors for the running stack, reverted where possible: defects of mutants."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import psycopg

from evolution_gate.fixtures import Node, Receipt, Stack
from evolution_gate.fixtures.backends.process.process_group import Members
from evolution_gate.fixtures.faults.impairment import delay
from evolution_gate.fixtures.services import monitoring
from evolution_gate.fixtures.system import process_table, sockets
from evolution_gate.fixtures.system.environment import inherited
from evolution_gate.fixtures.system.http_client import session
from evolution_gate.fixtures.system.launch import spawn
from validation.evidence.base import Record
from validation.evidence.log import EvidenceWriter

WATCH_SECONDS: Final = 45.0
_SLOW_S: Final = 0.02
"""Delay in each direction; a round trip then takes four times its limit."""
SILENT_AFTER_S: Final = 20.0
_RELOAD_SECONDS: Final = 20.0
_ODD: Final = """\
import importlib.abc
import importlib.machinery
import sys


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "ga.families.volatility_scaling":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module

        def exec_module(module):
            import numpy

            run(module)
            log = module.log
            module.log = lambda values: numpy.nextafter(log(values), numpy.inf)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder())
"""
"""Loaded by every Python of a node at its start. A changed copy of the engine would have no effect,
because Ray puts the driver's folder before the node's own.
"""


@contextmanager
def nodes_stay_away(stack: Stack) -> Iterator[None]:
    """A node that ended is never started again."""
    kind: Any = type(stack.nodes[0])
    real = kind.start
    kind.start = _no_start
    try:
        yield
    finally:
        kind.start = real
        for away in stack.nodes:
            if not away.alive:
                away.start()


@contextmanager
def node_restarted(stack: Stack) -> Iterator[None]:
    """A node ends and restarts without a receipt in the evidence."""
    with ThreadPoolExecutor(1) as aside:
        restarted = aside.submit(_restart, stack.nodes[0])
        yield
        restarted.result()


@contextmanager
def exporter_killed(stack: Stack) -> Iterator[None]:
    """The exporter of a live node is killed."""
    node: Any = stack.nodes[0]
    _kill(node._members.pids(), "DashboardAgent", "dashboard/agent.py")
    yield
    node.kill()
    node.start()


@contextmanager
def dashboard_killed(stack: Stack) -> Iterator[None]:
    """Ray's dashboard is killed and stays down."""
    head = cast("Any", stack)._head.members
    _kill(head.pids(), "dashboard/dashboard.py", "ray-dashboard", "DashboardHead")
    yield


@contextmanager
def no_receipts(stack: Stack) -> Iterator[None]:
    """Kills happen, and are not confirmed."""
    node, whole = cast("Any", type(stack.nodes[0])), cast("Any", type(stack))
    real, real_head = node.kill, whole.kill_head
    node.kill = lambda self: replace(real(self), confirmed=False)
    whole.kill_head = lambda self: replace(real_head(self), confirmed=False)
    try:
        yield
    finally:
        node.kill, whole.kill_head = real, real_head


@contextmanager
def workers_spared(stack: Stack) -> Iterator[None]:
    """A kill reports success, and the node's worker processes live on, stopped."""
    real = Members.kill
    setattr(Members, "kill", _spare)  # noqa: B010 (it is no attribute to mypy)
    try:
        yield
    finally:
        setattr(Members, "kill", real)  # noqa: B010
        for node in cast("Any", stack).nodes:
            left = {pid for pid in node._members.pids() if process_table.state(pid) in "Tt"}
            process_table.send(left, signal.SIGKILL)


@contextmanager
def limit_lifted(stack: Stack) -> Iterator[None]:
    """The kernel enforces no memory limit on a node."""
    node: Any = stack.nodes[0]
    group = node._members.group
    group.set_memory(None)
    try:
        yield
    finally:
        group.set_memory(node.limits.memory_bytes)


@contextmanager
def watch_stopped(_stack: Stack) -> Iterator[None]:
    """The cluster monitor stops writing."""
    # A gap of less than a minute is tolerated, and the trial takes little more than a minute.
    with _silenced("watch", SILENT_AFTER_S):
        yield


@contextmanager
def observer_stopped(_stack: Stack) -> Iterator[None]:
    """The monitor of the harness writes nothing from the beginning."""
    with _silenced("observe", 0.0):
        yield


@contextmanager
def alerts_stopped(stack: Stack) -> Iterator[None]:
    """Alertmanager is paused."""
    with _stopped(stack, "alertmanager"):
        yield


@contextmanager
def prometheus_stopped(stack: Stack) -> Iterator[None]:
    """Prometheus is paused."""
    with _stopped(stack, "prometheus"):
        yield


@contextmanager
def rules_read_again(stack: Stack) -> Iterator[None]:
    """Prometheus reads the rules of the changed copy, and at the end those from before."""
    pid, url = cast("Any", stack)._watched["prometheus"].pid, str(stack.endpoints.prometheus)
    folder, new = Path(f"/proc/{pid}/cwd").resolve(), monitoring.rules()
    before = {name: (folder / name).read_text() for name in new}
    _reload(pid, url, folder, new)
    try:
        yield
    finally:
        _reload(pid, url, folder, before)


def _reload(pid: int, url: str, folder: Path, rules: Mapping[str, str]) -> None:
    def reloaded_at() -> str:
        with session() as http:
            lines = http.get(f"{url}/metrics", timeout=10).text.splitlines()
        name = "prometheus_config_last_reload_success_timestamp_seconds "
        return next(line for line in lines if line.startswith(name))

    for name, text in rules.items():
        (folder / name).write_text(text)
    # The time of a reload is exact to a second.
    time.sleep(1.1)
    last, deadline = reloaded_at(), time.monotonic() + _RELOAD_SECONDS
    os.kill(pid, signal.SIGHUP)
    while reloaded_at() == last:
        if time.monotonic() > deadline:
            raise RuntimeError("Prometheus did not read the changed rules")
        time.sleep(0.1)


@contextmanager
def _stopped(stack: Stack, service: str) -> Iterator[None]:
    pid = cast("Any", stack)._watched[service].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def slow_link(stack: Stack) -> Iterator[None]:
    """Delay all packets to and from a node."""
    node = stack.nodes[0]
    if not (slowed := node.impair(delay(_SLOW_S))).confirmed:
        raise RuntimeError(f"{node.name}'s link was not slowed: {slowed.detail}")
    try:
        yield
    finally:
        node.restore()
        # The cluster may have declared the node dead in the meantime.
        node.kill()
        node.start()


@contextmanager
def open_socket(stack: Stack) -> Iterator[None]:
    """An unauthenticated server of an empty folder in a node's network."""
    node, stack_id = stack.nodes[0], cast("Any", stack).id
    enter = ["nsenter", f"--net=/proc/{node.pid}/ns/net", "--"]
    with (
        tempfile.TemporaryDirectory(prefix="ga-trial-") as empty,
        spawn(
            [*enter, sys.executable, "-m", "http.server", "8000", "--directory", empty],
            env=inherited({process_table.STACK_VARIABLE: stack_id}),
            stderr=subprocess.DEVNULL,
        ) as server,
    ):
        try:
            while not any(one.port == 8000 for one in sockets.listening({server.pid})[0]):
                if server.poll() is not None:
                    raise RuntimeError(f"the open socket ended with status {server.returncode}")
                time.sleep(0.05)
            yield
        finally:
            server.kill()


@contextmanager
def default_password(stack: Stack) -> Iterator[None]:
    """An additional account with a common user name and password."""
    postgres = stack.endpoints.postgres
    assert postgres is not None
    url = postgres.replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE postgres LOGIN PASSWORD 'postgres'")
        try:
            yield
        finally:
            connection.execute("DROP ROLE postgres")


@contextmanager
def _silenced(name: str, after_s: float) -> Iterator[None]:
    """The thread of that name continues, but stops writing after a while."""
    real, stop = EvidenceWriter.add, time.monotonic() + after_s

    def add(self: EvidenceWriter, record: Record) -> None:
        if threading.current_thread().name != name or time.monotonic() < stop:
            real(self, record)

    setattr(EvidenceWriter, "add", add)  # noqa: B010 (it is no attribute to mypy)
    try:
        yield
    finally:
        setattr(EvidenceWriter, "add", real)  # noqa: B010


@contextmanager
def odd_node(stack: Stack) -> Iterator[None]:
    """Restart a node with logarithms that differ in the last place, as with another processor's
    library.
    """
    node: Any = stack.nodes[0]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sitecustomize.py").write_text(_ODD)
        before = node.environment.get("PYTHONPATH", "")
        node.kill()
        node.use(PYTHONPATH=os.pathsep.join(filter(None, (folder, before))))
        node.start()
        try:
            yield
        finally:
            node.kill()
            node.use(PYTHONPATH=before)
            node.start()


def _restart(node: Node) -> None:
    """Restart while the monitor runs, without a receipt in the record."""
    time.sleep(WATCH_SECONDS / 3)
    node.kill()
    node.start()


def _spare(members: Members) -> set[int]:
    for pid in members.pids():
        name = (process_table.command(pid) or [""])[0]
        spared = name.startswith("ray::") and "Agent" not in name
        process_table.send({pid}, signal.SIGSTOP if spared else signal.SIGKILL)
    return set()


def _no_start(node: Any) -> Receipt:
    now = time.time()
    return Receipt(
        fault="start",
        target=node.name,
        requested_at=now,
        confirmed_at=now,
        confirmed=False,
        before={},
        after={},
        detail="sabotaged",
    )


def _kill(pids: set[int], *names: str) -> None:
    """SIGKILL the processes whose command line holds one of the names."""
    found = [p for p in pids if any(n in " ".join(process_table.command(p) or []) for n in names)]
    if not found:
        raise SystemExit(f"trial: no process of {', '.join(names)} is running")
    for pid in found:
        os.kill(pid, signal.SIGKILL)
