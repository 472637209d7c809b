"""All that can be done to a run of ``python -m ga`` on a real stack while it is on.

A fault returns its receipts: that it happened, seen from outside of what it hit. It returns none
when there is nothing that it could hit.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from evolution_gate import fixtures
from evolution_gate.fixtures import Receipt
from evolution_gate.fixtures.faults import impairment
from evolution_gate.fixtures.system import netns, process_table
from ga.execution.ray.tasks import evaluates
from tests.support.evolving import RUN_SECONDS, Evolving, Ground
from tests.support.waiting import wait_at_most, wait_until

_CONFIRM_SECONDS = 10.0
_GONE_SECONDS = 90.0
_IDLE_SECONDS = 20.0
"""A run whose nodes do nothing for so long works on this machine."""
_AWAY_SECONDS = 2.0
"""How long a database is away."""
_FULL_SECONDS = 6.0
_MORE_THAN_ALL = 3.0
"""Of a node's memory limit, what is taken until the kernel kills something."""


def _receipt(
    fault: str, target: str, asked: float, before: object, after: object, confirmed: bool
) -> Receipt:
    return Receipt(
        fault=fault, target=target, requested_at=asked, confirmed_at=time.time(),
        confirmed=confirmed, before={"seen": before}, after={"seen": after},
    )  # fmt: skip


def _shoot(target: str, pid: int) -> list[Receipt]:
    identity, asked = process_table.read(pid), time.time()
    if identity is None:
        return []
    with suppress(ProcessLookupError):
        # It ended by itself: then there is no receipt.
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not identity.alive, seconds=_CONFIRM_SECONDS, what=f"{target} is dead")
        return [
            _receipt("kill", target, asked, identity, process_table.state(pid), not identity.alive)
        ]
    return []


def _evaluates(pid: int) -> bool:
    return evaluates(process_table.command(pid))


def _stop_in_work(run: Evolving) -> process_table.ProcessId | None:
    """A worker process of a node, stopped in the middle of a batch; None if there is none.

    Ray takes the task's name from the process before it sends the answer: what stands still and
    has the name has a batch in flight, and will have it until it is let go on or dies.
    """
    roots = {run.process.pid} | {n.pid for n in run.ground.stack.nodes if n.pid is not None}

    def stopped() -> process_table.ProcessId | None:
        for pid in sorted(process_table.descendants(roots), reverse=True):
            identity = process_table.read(pid)
            if identity is None or not _evaluates(pid):
                continue
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                wait_until(
                    lambda one=identity: not one.running,
                    seconds=_CONFIRM_SECONDS,
                    what=f"process {pid} stands still",
                )
                if identity.alive and _evaluates(pid):
                    return identity
                _go_on(identity)
        return None

    return wait_at_most(stopped, seconds=_IDLE_SECONDS, every=0.01, unless=lambda: run.over)


def _go_on(stopped: process_table.ProcessId | None) -> None:
    if stopped is not None and stopped.alive:
        os.kill(stopped.pid, signal.SIGCONT)


def kill_worker(run: Evolving) -> list[Receipt]:
    """A worker process, in the middle of a batch."""
    worker = _stop_in_work(run)
    return [] if worker is None else _shoot("worker process", worker.pid)


def _node(run: Evolving, worker: process_table.ProcessId | None = None) -> fixtures.Node | None:
    """The node of a worker; without one, that which answered last."""
    nodes = [node for node in run.ground.stack.nodes if node.alive]
    if worker is not None:
        return next(n for n in nodes if n.pid and worker.pid in process_table.descendants({n.pid}))
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


def driver_of(run: Evolving) -> process_table.ProcessId | None:
    """The child of the coordinator that leads a group of its own."""
    for pid in process_table.descendants({run.process.pid}):
        with suppress(ProcessLookupError):
            if os.getpgid(pid) == pid:
                return process_table.read(pid)
    return None


def kill_driver(run: Evolving) -> list[Receipt]:
    """The driver process, if the run is on the cluster now."""
    driver = driver_of(run)
    return [] if driver is None else _shoot("driver", driver.pid)


def kill_coordinator(run: Evolving, *, local: bool = False) -> list[Receipt]:
    """The process that the user started; and ``resume``, here if ``local``."""
    if run.over:
        return []
    # It stands still first: so it is not over, and starts nothing while we look.
    run.process.send_signal(signal.SIGSTOP)
    wait_until(
        lambda: run.over or process_table.state(run.process.pid) in "TtZX",
        seconds=_CONFIRM_SECONDS,
        what="the coordinator stands still",
    )
    family = [process_table.read(pid) for pid in process_table.descendants({run.process.pid})]
    identity, asked = process_table.read(run.process.pid), time.time()
    run.process.kill()
    status = run.process.wait()
    if status != -signal.SIGKILL:
        # It was faster.
        return []
    receipt = _receipt("kill", "coordinator", asked, identity, status, True)
    # What it started goes with it.
    wait_until(
        lambda: not any(one is not None and one.alive for one in family),
        seconds=_GONE_SECONDS,
        what="all that the coordinator started is gone",
    )
    run.resume(local=local)
    return [receipt]


def restart_database(run: Evolving) -> list[Receipt]:
    """PostgreSQL is killed and started again; SQLite has no server, but may be locked."""
    if run.server is not None:
        server, asked, before = run.server, time.time(), run.server.process.pid
        server.kill()
        time.sleep(_AWAY_SECONDS)  # how long the fault lasts
        server.start()
        with server.connect() as connection:
            (after,) = connection.execute("SELECT pg_postmaster_start_time()").fetchone() or (None,)
        confirmed = after is not None and after.timestamp() > asked
        return [_receipt("restart", "postgresql", asked, before, str(after), confirmed)]
    engine, asked = sa.create_engine(run.store), time.time()
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
        time.sleep(_AWAY_SECONDS)  # how long the fault lasts
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
        time.sleep(_FULL_SECONDS)  # how long the fault lasts
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
    return [node.hog_memory(_MORE_THAN_ALL, RUN_SECONDS)]


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
            strike=_fault_of_node(lambda n, what=what: n.impair(what), lambda n: n.restore()),
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


def cannot(ground: Ground, fault: str, store: str) -> str | None:
    """Why a fault cannot be done here to a run with this store; None if it can."""
    if fault == "disk full" and (ground.volume is None or not store.startswith("sqlite")):
        return "the ledger's disk is not ours to fill"
    if fault in CUTS and netns.unavailable():
        return "nodes have no network of their own here; run as root"
    if fault == "memory hog" and ground.stack.nodes[0].limits.memory_bytes is None:
        return "no memory limit can be set here; run as root"
    return None
