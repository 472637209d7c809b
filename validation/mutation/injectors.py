"""Harm that is done to a running stack, and mended where it can be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import psycopg

from fixtures import Node, Receipt, Stack
from fixtures.faults.impairment import delay
from fixtures.system import process_table, sockets
from fixtures.system.environment import inherited
from fixtures.system.launch import spawn
from validation.evidence.base import Record
from validation.evidence.log import EvidenceWriter
from validation.mutation.mutants import Harm

WATCH_SECONDS: Final = 45.0
_SLOW_S: Final = 0.02
"""Each way: four times what a round trip may take, and the least that can be shown."""
SILENT_AFTER_S: Final = 20.0
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
"""Loaded by every Python of a node as it starts. A copy of the engine would not do: Ray puts the
driver's folder before the node's own."""
RUINOUS: Final[frozenset[Harm]] = frozenset({"dashboard killed"})
"""What cannot be mended: nothing else can be tried on that stack."""


@contextmanager
def harmed(stack: Stack, harm: Harm | None) -> Iterator[None]:
    """Do harm to a stack of processes, and mend what can be mended."""
    inside: Any = stack
    if harm is None or harm in ("outages", "leak", "unwatched"):
        yield
        return
    if harm == "nodes stay away":
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
        return
    if harm == "node restarted":
        with ThreadPoolExecutor(1) as aside:
            restarted = aside.submit(_restart, stack.nodes[0])
            yield
            restarted.result()
        return
    if harm == "odd node":
        with _odd(inside.nodes[0]):
            yield
        return
    if harm == "slow link":
        with _slow_link(stack.nodes[0]):
            yield
        return
    if harm == "open socket":
        with _open_socket(inside.id, stack.nodes[0]):
            yield
        return
    if harm == "exporter killed":
        node: Any = inside.nodes[0]
        _kill(node._members.pids(), "DashboardAgent", "dashboard/agent.py")
        yield
        node.kill()
        node.start()
        return
    if harm == "default password":
        with _default_account(inside.endpoints.postgres):
            yield
        return
    if harm == "no receipts":
        real, real_head = type(node := inside.nodes[0]).kill, type(inside).kill_head
        type(node).kill = lambda self: replace(real(self), confirmed=False)
        type(inside).kill_head = lambda self: replace(real_head(self), confirmed=False)
        try:
            yield
        finally:
            type(node).kill, type(inside).kill_head = real, real_head
        return
    if harm in ("watch stopped", "observer stopped"):
        # A silence of less than a minute is no doubt, and the trial takes little more than one.
        name, after = ("watch", SILENT_AFTER_S) if harm == "watch stopped" else ("observe", 0.0)
        with _silenced(name, after):
            yield
        return
    if harm in ("alerts stopped", "prometheus stopped"):
        pid = inside._watched["alertmanager" if harm == "alerts stopped" else "prometheus"].pid
        os.kill(pid, signal.SIGSTOP)
        yield
        os.kill(pid, signal.SIGCONT)
        return
    if harm == "dashboard killed":
        head = inside._head.members
        _kill(head.pids(), "dashboard/dashboard.py", "ray-dashboard", "DashboardHead")
    yield


@contextmanager
def _slow_link(node: Node) -> Iterator[None]:
    """Hold back what passes to and from the node."""
    if not (slowed := node.impair(delay(_SLOW_S))).confirmed:
        raise RuntimeError(f"{node.name}'s link was not slowed: {slowed.detail}")
    try:
        yield
    finally:
        node.mend()
        # The cluster may have given it up meanwhile.
        node.kill()
        node.start()


@contextmanager
def _open_socket(stack_id: str, node: Node) -> Iterator[None]:
    """A server for anybody, in a node's network, that shows an empty folder."""
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
def _default_account(postgres: str) -> Iterator[None]:
    """Beside the stack's own: user and password are what everybody tries first."""
    url = postgres.replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE postgres LOGIN PASSWORD 'postgres'")
        try:
            yield
        finally:
            connection.execute("DROP ROLE postgres")


@contextmanager
def _silenced(name: str, after_s: float) -> Iterator[None]:
    """The thread of that name goes on, and after a while writes nothing more."""
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
def _odd(node: Any) -> Iterator[None]:
    """Start a node again with logarithms that differ in the last place, as they would with another
    processor's library."""
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
    """Under the watch, and without a receipt in the record."""
    time.sleep(WATCH_SECONDS / 3)
    node.kill()
    node.start()


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
        raise SystemExit(f"trial: no process of {', '.join(names)} is there to be killed")
    for pid in found:
        os.kill(pid, signal.SIGKILL)
