"""A run of ``python -m ga`` on a real stack, and all that can be done to it while it is on.

A fault returns its receipts: that it happened, seen from outside of what it hit. It returns none
when there is nothing that it could hit.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from ledger_stores import Server

import fixtures
from fixtures import Receipt, Stack, impairment, proc
from fixtures.launch import popen
from fixtures.services import start_redis
from fixtures.volume import Volume

_ROOT = Path(__file__).resolve().parents[2]
_CPUS = 0.8
_RUN_SECONDS = 240.0
_CONFIRM_SECONDS = 10.0
_IDLE_SECONDS = 20.0
"""A run whose nodes do nothing for so long works on this machine."""
_AWAY_SECONDS = 2.0
"""How long a database is away."""
_FULL_SECONDS = 6.0
_HOG = "held = []\nwhile True:\n    held.append(bytearray(b'x') * (1 << 24))\n"


class Ground:
    """The stack that the runs of a module share; one whose head is dead is replaced."""

    def __init__(self) -> None:
        self.stack: Stack = fixtures.start_stack(nodes=2, cpus_per_node=_CPUS, backend="processes")
        self.headless = False

    volume: Volume | None = None
    """Where ledgers of SQLite are kept; None: this machine gives us none."""

    def cannot(self, fault: str, store: str) -> str | None:
        """Why a fault cannot be done here to a run with this store; None if it can."""
        if fault == "disk full" and (self.volume is None or not store.startswith("sqlite")):
            return "the ledger's disk is not ours to fill"
        if fault in CUTS and self.stack._network is None:
            return "nodes have no network of their own here; run as root"
        if fault == "memory hog" and self.stack.nodes[0].limits.memory_bytes is None:
            return "no memory limit can be set here; run as root"
        return None

    def kill_head(self) -> Receipt:
        self.headless = True
        return self.stack.kill_head()

    def restore(self) -> None:
        """All of it is there again."""
        if self.headless:
            self.stack.close()
            self.__init__()
        for node in self.stack.nodes:
            self.revive(node)

    def revive(self, node: fixtures.Node) -> list[Receipt]:
        """A node as good as new, whatever was done to it."""
        if node.alive and node.name in self.stack.alive_nodes():
            return []
        receipt = node.start()
        assert receipt.confirmed, receipt
        return [receipt]


class Evolving:
    """One run, and what was done to it. A context manager: no process of it outlives it.

    Args:
        store: a URL.
        server: the PostgreSQL of the store, if it is not SQLite.
        module: ``ga``, or what stands for it.
    """

    def __init__(
        self, ground: Ground, store: str, folder: Path, server: Server | None, module: str = "ga"
    ) -> None:
        self.ground, self.store, self.server = ground, store, server
        self.redis = start_redis("ga-fault-tests", folder)
        self.receipts: list[Receipt] = []
        self.resumed = 0
        self._folder, self._module = folder, module
        self._log = folder / "log.jsonl"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Evolving:
        return self

    def __exit__(self, *_: object) -> None:
        for process in filter(None, (self._process, self.redis.process)):
            process.kill()
            process.wait()

    def start(self, *argv: str) -> None:
        """Begin the run on the cluster."""
        self._launch("evolve", *argv, "--json", "--top", "0")

    def _launch(self, *argv: str, local: bool = False) -> None:
        cluster = ("--mode", "local", "--workers", "2")
        if not (local or self.ground.headless):
            cluster = ("--mode", "distributed", "--address", self.ground.stack.endpoints.ray)
        env = {**os.environ, **self.ground.stack.endpoints.env, "PYTHONPATH": str(_ROOT)}
        env |= {"GA_STORE": self.store, "GA_CACHE_URL": self.redis.url}
        with (self._folder / "out").open("ab") as out, (self._folder / "err").open("ab") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, *argv, *cluster, "--log", str(self._log)],
                env=env, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            )  # fmt: skip

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the run was not started"
        return self._process

    @property
    def over(self) -> bool:
        return self.process.poll() is not None

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What the run has logged so far, over all its processes."""
        lines = self._log.read_text().splitlines(keepends=True) if self._log.exists() else []
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in events if event["event"] == kind]

    def go_on(self, batches: int) -> bool:
        """Wait until so many more batches are done; False if the run is over before."""
        wanted = len(self.events("batch")) + batches
        _until(lambda: self.over or len(self.events("batch")) >= wanted, _RUN_SECONDS, self.said)
        return not self.over

    def next_generation(self, ahead: int = 1) -> bool:
        """Wait for the first answer in the next one, or further ahead; False if the run is over
        before. The one before is being committed then, or just was."""
        batches = self.events("batch")
        now = batches[-1]["generation"] if batches else 0
        _until(lambda: self.over or self._reached(now + ahead), _RUN_SECONDS, self.said)
        return not self.over

    def _reached(self, generation: int) -> bool:
        return any(batch["generation"] >= generation for batch in self.events("batch"))

    def start_goes_on(self, seconds: float) -> None:
        """Wait so long at most: the start is over with the first answer."""
        deadline, begun = time.monotonic() + seconds, len(self.events("batch"))
        while time.monotonic() < deadline and len(self.events("batch")) == begun:
            time.sleep(0.01)

    def said(self) -> str:
        return (self._folder / "err").read_text()[-2000:]

    def finish(self) -> None:
        """Wait for the end of the run."""
        _until(lambda: self.over, _RUN_SECONDS, self.said)
        assert self.process.returncode == 0, self.said()

    def resume(self, *, local: bool = False) -> None:
        """Go on with a run whose coordinator was killed; on the cluster, if there is one."""
        self.resumed += 1
        (run,) = {event["run"] for event in self.events("ready")}
        self._launch("resume", run, "--json", "--top", "0", local=local)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        engine = sa.create_engine(self.store)
        with engine.connect() as connection:
            found = [tuple(row) for row in connection.execute(sa.text(query))]
        engine.dispose()
        return found


def _until(done: Callable[[], bool], seconds: float, why: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"it did not happen in {seconds:.0f} s: {why()}"
        time.sleep(0.05)


def _receipt(
    fault: str, target: str, asked: float, before: object, after: object, confirmed: bool
) -> Receipt:
    return Receipt(
        fault=fault, target=target, requested_at=asked, confirmed_at=time.time(),
        confirmed=confirmed, before={"seen": before}, after={"seen": after},
    )  # fmt: skip


def _shoot(target: str, pid: int) -> list[Receipt]:
    identity, asked = proc.read(pid), time.time()
    if identity is None:
        return []
    with suppress(ProcessLookupError):
        # It ended by itself: then there is no receipt.
        os.kill(pid, signal.SIGKILL)
        _until(lambda: not identity.alive, _CONFIRM_SECONDS)
        return [_receipt("kill", target, asked, identity, proc.state(pid), not identity.alive)]
    return []


def _evaluates(pid: int) -> bool:
    words = proc.command(pid)
    return bool(words) and words[0].startswith("ray::_evaluate")


def _stop_in_work(run: Evolving) -> proc.ProcessId | None:
    """A worker process of a node, stopped in the middle of a batch; None if there is none.

    Ray takes the task's name from the process before it sends the answer: what stands still and
    has the name has a batch in flight, and will have it until it is let go on or dies.
    """
    roots = {run.process.pid} | {n.pid for n in run.ground.stack.nodes if n.pid is not None}
    deadline = time.monotonic() + _IDLE_SECONDS
    while not run.over and time.monotonic() < deadline:
        for pid in sorted(proc.descendants(roots), reverse=True):
            identity = proc.read(pid)
            if identity is None or not _evaluates(pid):
                continue
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                _until(lambda one=identity: not one.running, _CONFIRM_SECONDS)
                if identity.alive and _evaluates(pid):
                    return identity
                _go_on(identity)
        time.sleep(0.01)
    return None


def _go_on(stopped: proc.ProcessId | None) -> None:
    if stopped is not None and stopped.alive:
        os.kill(stopped.pid, signal.SIGCONT)


def kill_worker(run: Evolving) -> list[Receipt]:
    """A worker process, in the middle of a batch."""
    worker = _stop_in_work(run)
    return [] if worker is None else _shoot("worker process", worker.pid)


def _node(run: Evolving, worker: proc.ProcessId | None = None) -> fixtures.Node | None:
    """The node of a worker; without one, that which answered last."""
    nodes = [node for node in run.ground.stack.nodes if node.alive]
    if worker is not None:
        return next(n for n in nodes if n.pid and worker.pid in proc.descendants({n.pid}))
    last = {batch["node"]: at for at, batch in enumerate(run.events("batch"))}
    return max((n for n in nodes if n.address in last), key=lambda n: last[n.address], default=None)


def _fault_of_node(
    strike: Callable[[fixtures.Node], Receipt],
    undo: Callable[[fixtures.Node], Receipt] | None,
    *,
    stops: bool = False,
) -> Callable[[Evolving], list[Receipt]]:
    """Of one that has a batch in flight when it is hit, if there is any work on nodes.

    Args:
        stops: the fault itself stops the node's processes, and ``undo`` lets them go on.
    """

    def fault(run: Evolving) -> list[Receipt]:
        worker = _stop_in_work(run)
        node = _node(run, worker)
        if node is None:
            return []
        try:
            receipts = [strike(node)]
            if not stops:
                _go_on(worker)
            # What it had in flight is of the generation that answered last or, if that was its end,
            # of the next one; it has come from elsewhere when the one after has begun.
            run.next_generation(2)
        finally:
            if undo is not None:
                receipts.append(undo(node))
            _go_on(worker)
        if not run.ground.headless:
            # One that was given up while it was away ends by itself; sooner or later it is started.
            receipts += run.ground.revive(node)
        return receipts

    return fault


def kill_head(run: Evolving) -> list[Receipt]:
    """The head and its control service: the cluster is gone."""
    return [] if run.ground.headless else [run.ground.kill_head()]


def driver_of(run: Evolving) -> proc.ProcessId | None:
    """The child of the coordinator that leads a group of its own."""
    for pid in proc.descendants({run.process.pid}):
        with suppress(ProcessLookupError):
            if os.getpgid(pid) == pid:
                return proc.read(pid)
    return None


def kill_driver(run: Evolving) -> list[Receipt]:
    """The driver process, if the run is on the cluster now."""
    driver = driver_of(run)
    return [] if driver is None else _shoot("driver", driver.pid)


def kill_coordinator(run: Evolving, *, local: bool = False) -> list[Receipt]:
    """The process that the user started; and ``resume``, here if ``local``."""
    if run.over:
        return []
    family = [proc.read(pid) for pid in proc.descendants({run.process.pid})]
    identity, asked = proc.read(run.process.pid), time.time()
    run.process.kill()
    status = run.process.wait()
    if status != -signal.SIGKILL:
        # It was faster.
        return []
    receipt = _receipt("kill", "coordinator", asked, identity, status, True)
    # What it started goes with it.
    _until(lambda: not any(one is not None and one.alive for one in family), 30.0)
    run.resume(local=local)
    return [receipt]


def restart_database(run: Evolving) -> list[Receipt]:
    """PostgreSQL is killed and started again; SQLite has no server, but may be locked."""
    if run.server is not None:
        server, asked, before = run.server, time.time(), run.server.process.pid
        server.kill()
        time.sleep(_AWAY_SECONDS)
        server.start()
        with server.connect() as connection:
            (after,) = connection.execute("SELECT pg_postmaster_start_time()").fetchone() or (None,)
        confirmed = after is not None and after.timestamp() > asked
        return [_receipt("restart", "postgresql", asked, before, str(after), confirmed)]
    engine, asked = sa.create_engine(run.store), time.time()
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
        time.sleep(_AWAY_SECONDS)
        connection.rollback()
    engine.dispose()
    return [_receipt("lock", "sqlite", asked, None, f"{_AWAY_SECONDS} s", True)]


def fill_disk(run: Evolving) -> list[Receipt]:
    """The ledger's volume has no space for longer than a generation takes."""
    if (volume := run.ground.volume) is None or not Path(run.store[10:]).is_relative_to(
        volume.path
    ):
        return []
    try:
        receipts = [volume.fill()]
        time.sleep(_FULL_SECONDS)
    finally:
        receipts.append(volume.free())
    return receipts


def kill_redis(run: Evolving) -> list[Receipt]:
    """The cache."""
    return _shoot("redis", run.redis.process.pid) if run.redis.process.poll() is None else []


def hog_memory(run: Evolving) -> list[Receipt]:
    """A process on a node that takes all memory until the kernel kills something there."""
    node = _node(run)
    if node is None:
        return []
    before, asked = node.usage().oom_kills, time.time()
    group = node._members.group
    hog = popen([sys.executable, "-c", _HOG], env=dict(os.environ), cwd=_ROOT,
                log=run._folder / "hog", group=group)  # fmt: skip
    try:
        hog.wait(_RUN_SECONDS)
    finally:
        hog.kill()
        hog.wait()
    after = node.usage().oom_kills
    return [_receipt("memory", node.name, asked, before, after, after > before)]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One row of the matrix."""

    strike: Callable[[Evolving], list[Receipt]]
    moment: Callable[[Evolving], bool] = lambda run: run.go_on(4)
    """Waits for it; False if the run is over before."""
    outcomes: frozenset[str] = frozenset()
    """What the ledger must say of at least one try, in one of these words."""
    takes_work: bool = False
    """Whether a batch was in flight in what it hits that is not answered meanwhile, for certain."""
    fallbacks: int = 0
    """Times that this machine must take over."""


LOST = frozenset({"lost", "crashed"})
"""A worker that dies with its node may be seen before the node is."""

IMPAIRMENTS = {
    "nothing reaches node": impairment.one_way("in"),
    "nothing leaves node": impairment.one_way("out"),
    "loss": impairment.loss(0.1),
    "delay": impairment.delay(0.05),
    "narrow bandwidth": impairment.narrow(1_000_000),
}
CUTS = frozenset({"partition node", *IMPAIRMENTS})
"""They need a network namespace."""

FAULTS = {
    "kill worker": Fault(strike=kill_worker, outcomes=frozenset({"crashed"}), takes_work=True),
    "kill node": Fault(
        strike=_fault_of_node(lambda n: n.kill(), None), outcomes=LOST, takes_work=True
    ),
    "pause node": Fault(
        strike=_fault_of_node(lambda n: n.pause(), lambda n: n.resume(), stops=True),
        outcomes=LOST | {"overtaken"},
        takes_work=True,
    ),
    "partition node": Fault(
        strike=_fault_of_node(lambda n: n.partition(), lambda n: n.heal()),
        outcomes=LOST | {"overtaken"},
        takes_work=True,
    ),
    **{
        name: Fault(
            strike=_fault_of_node(lambda n, what=what: n.impair(what), lambda n: n.mend()),
            outcomes=LOST | {"overtaken"} if what.fault == "one_way" else frozenset(),
            takes_work=name == "nothing leaves node",
        )
        for name, what in IMPAIRMENTS.items()
    },
    "kill driver": Fault(strike=kill_driver, outcomes=frozenset({"lost"}), fallbacks=1),
    "kill coordinator": Fault(strike=kill_coordinator, moment=Evolving.next_generation),
    "restart database": Fault(strike=restart_database),
    "disk full": Fault(strike=fill_disk),
    "kill redis": Fault(strike=kill_redis),
    "memory hog": Fault(strike=hog_memory),
    "kill head": Fault(strike=kill_head, outcomes=LOST, fallbacks=1),
}
LAST = "kill head"
"""After it the stack must be started again."""
