"""The process that owns the Ray driver. The coordinator starts it and hears it by heartbeat.

Ray ends a driver that lost its cluster; here it takes no run down with it. Messages on the pipe:
to the driver ``("evaluate", genomes)`` or ``("close",)``; from it ``Ready``, ``Beat``,
``BatchResult``, ``Done`` and ``Lost``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final, TypeAlias

from ga.evaluators.base import BatchResult, CostModel, cut, probes
from ga.fitness import Batch, Settings, evaluate_batch
from ga.genome import Genome
from ga.market import Market

BEAT_SECONDS: Final = 0.2
_RETRIES: Final = 20
"""Times Ray may start a batch again because its node or worker process was lost."""
_STARVED_SECONDS: Final = 60.0
"""How long the cluster may be without a single worker node before it counts as lost."""
_BATCHES_A_SLOT: Final = 2
_DUPLICATE_AFTER: Final = 8.0
"""A batch in flight this long, with nothing else to hand out, is started a second time; the first
result wins. One stuck lease must not hang a generation (ray-project/ray issue 63405)."""


@dataclass(frozen=True, kw_only=True)
class DriverSpec:
    """What the driver needs to know."""

    address: str | None
    """``host:port`` of a cluster, or None to start one on this machine."""
    workers: int | None
    market: Market
    settings: Settings
    families: tuple[str, ...]


@dataclass(frozen=True)
class Ready:
    """Connected and warmed up; ``slots`` evaluations can run at once."""

    slots: int
    pid: int


@dataclass(frozen=True)
class Beat:
    """Still alive."""

    slots: int


@dataclass(frozen=True)
class Done:
    """All genomes of the last request are answered."""


@dataclass(frozen=True)
class Lost:
    """The cluster cannot go on; nothing more will come."""

    reason: str


def _ask_for_a_token() -> None:
    """Make the cluster that this process is about to start refuse everybody else.

    Ray listens on every address and runs anyone's code. Its processes are children of this one:
    they have the token from the environment, so it is in no file and on no command line.
    """
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def local_address(target: str) -> str:
    """The address of this machine that ``target`` (``host:port``) can reach it by."""
    host, _, port = target.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Connecting a datagram socket sends nothing; it only asks for the route.
        probe.connect((host, int(port)))
        return str(probe.getsockname()[0])


def main(connection: Connection, spec: DriverSpec) -> None:
    """Run the driver until it is told to close, or its coordinator is gone."""
    # Ctrl-C belongs to the coordinator, which then closes us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Ray writes notices (a node lost, a task retried) on stdout, which is the coordinator's result.
    os.dup2(2, 1)
    try:
        driver = _Driver(connection, spec)
        connection.send(Ready(driver.slots(), os.getpid()))
        driver.serve()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # The coordinator is gone; there is nobody left to tell.
        return
    except Exception as error:
        # Whatever it was, the coordinator must hear of it and carry on without us.
        with contextlib.suppress(BrokenPipeError):
            connection.send(Lost(f"{type(error).__name__}: {error}".splitlines()[0]))


@dataclass(frozen=True)
class _Flight:
    """A batch that was handed to a node."""

    indices: tuple[int, ...]
    copy: int
    node: str
    since: float


_Flying: TypeAlias = dict[Any, _Flight]


class _Driver:
    def __init__(self, connection: Connection, spec: DriverSpec) -> None:
        if spec.address is None:
            _ask_for_a_token()
        import ray

        self._ray, self._connection, self._spec = ray, connection, spec
        self._costs = CostModel()
        self._nodes: dict[str, int] = {}
        self._seen_at = float("-inf")
        self._tasks: dict[str, Any] = {}
        self._warming: dict[str, list[Any]] = {}
        """Of each node ever seen, the warm-up tasks that are not done."""
        if spec.address is None:
            ray.init(
                # Without this word RAY_ADDRESS would name a cluster that others started.
                address="local",
                num_cpus=spec.workers,
                include_dashboard=False,
                _node_ip_address="127.0.0.1",
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        else:
            ray.init(
                address=spec.address,
                _node_ip_address=local_address(spec.address),
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        # Computed once here, and carried along: else each batch would hash the whole market.
        _ = spec.market.hash
        # The primary copy lives beside the driver and dies only with it; nodes fetch it once each
        # and map it without copying.
        self._market = ray.put(spec.market)
        self._settings = ray.put(spec.settings)
        self._task = ray.remote(num_cpus=1, max_retries=_RETRIES)(_evaluate)
        self._warm_up()

    def slots(self) -> int:
        """CPUs of the nodes in use: all live ones, or as many as the workers asked for."""
        now = time.monotonic()
        if now - self._seen_at > 1.0:
            self._seen_at = now
            self._nodes = self._live_nodes()
        return sum(self._nodes.values())

    def _live_nodes(self) -> dict[str, int]:
        """Node id -> CPUs in use on it, in the order of the ids; those that are warm.

        A worker process takes seconds to load the kernels. A node that joins does that beside the
        work, or the whole generation would wait for its first batch.
        """
        left = self._spec.workers or sys.maxsize
        found: dict[str, int] = {}
        for node in sorted(self._ray.nodes(), key=lambda n: str(n["NodeID"])):
            cpus = int(node["Resources"].get("CPU", 0)) if node["Alive"] else 0
            if min(cpus, left) > 0:
                found[node["NodeID"]] = min(cpus, left)
                left -= found[node["NodeID"]]
        for node, cpus in found.items():
            if node not in self._warming:
                task = self._on(node)
                genomes = probes(self._spec.families)
                self._warming[node] = [
                    task.remote(self._market, self._settings, genomes) for _ in range(cpus)
                ]
            elif refs := self._warming[node]:
                self._warming[node] = self._ray.wait(refs, num_returns=len(refs), timeout=0)[1]
        return {node: cpus for node, cpus in found.items() if not self._warming[node]}

    def serve(self) -> None:
        """Answer requests until told to close."""
        while True:
            while not self._connection.poll(BEAT_SECONDS):
                self._connection.send(Beat(self.slots()))
            request = self._connection.recv()
            if request[0] == "close":
                self._ray.shutdown()
                return
            self._evaluate(request[1])
            self._connection.send(Done())

    def _warm_up(self) -> None:
        deadline = time.monotonic() + _STARVED_SECONDS
        while self.slots() == 0 or any(self._warming.values()):
            if time.monotonic() > deadline:
                if self.slots() > 0:
                    # One node is sick; the others are not kept waiting for it.
                    break
                raise TimeoutError(
                    f"no worker node with a CPU was ready after {_STARVED_SECONDS:.0f} s"
                )
            self._connection.send(Beat(self.slots()))
            time.sleep(BEAT_SECONDS)
            self._seen_at = float("-inf")
        genomes = probes(self._spec.families)
        for genome in genomes:
            for _ in range(2):
                ref = self._task.remote(self._market, self._settings, [genome])
                batch: Batch = self._ray.get(ref)[0]
                self._costs.learn([genome], batch.cpu_seconds)

    def _evaluate(self, genomes: Sequence[Genome]) -> None:
        todo = cut(genomes, self._costs, max(self.slots(), 1))
        todo.reverse()
        flying: _Flying = {}
        open_batches = set(todo)
        copies: dict[tuple[int, ...], int] = {}
        fed = time.monotonic()
        while open_batches:
            slots = self.slots()
            now = time.monotonic()
            if slots > 0:
                fed = now
            elif now - fed > _STARVED_SECONDS:
                raise TimeoutError(f"no worker node for {_STARVED_SECONDS:.0f} s")
            while todo and (node := self._free_node(flying)):
                self._launch(flying, copies, todo.pop(), genomes, node)
            if not todo:
                self._duplicate(flying, copies, genomes)
            if not flying:
                # No node to give work to; one may join.
                self._connection.send(Beat(slots))
                time.sleep(BEAT_SECONDS)
                continue
            ready, _ = self._ray.wait(list(flying), num_returns=1, timeout=BEAT_SECONDS)
            if not ready:
                self._connection.send(Beat(slots))
            for ref in ready:
                flight = flying.pop(ref)
                indices = flight.indices
                if indices not in open_batches:
                    continue
                batch, node, attempt = self._ray.get(ref)
                open_batches.discard(indices)
                self._costs.learn([genomes[i] for i in indices], batch.cpu_seconds)
                self._connection.send(
                    BatchResult(
                        indices=indices, batch=batch, node=node, attempt=attempt + flight.copy
                    )
                )
        for ref in flying:
            self._ray.cancel(ref, force=False)

    def _on(self, node: str) -> Any:
        """The task, placed on one node; Ray takes another one when that is lost.

        Left to itself Ray reuses the leases it has, and a whole generation may queue on one node.
        """
        if node not in self._tasks:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            where = NodeAffinitySchedulingStrategy(node, soft=True)
            self._tasks[node] = self._task.options(scheduling_strategy=where)
        return self._tasks[node]

    def _free_node(self, flying: _Flying) -> str | None:
        """The node with the least to do, None when all have enough.

        A second batch waits beside the one that runs, so that no slot idles for a round trip.
        """
        busy = Counter(flight.node for flight in flying.values())
        load = {node: busy[node] / cpus for node, cpus in self._nodes.items()}
        node = min(load, key=load.__getitem__, default=None)
        return node if node is not None and load[node] < _BATCHES_A_SLOT else None

    def _launch(
        self,
        flying: _Flying,
        copies: dict[tuple[int, ...], int],
        indices: tuple[int, ...],
        genomes: Sequence[Genome],
        node: str,
    ) -> None:
        copy = copies.get(indices, -1) + 1
        copies[indices] = copy
        group = [genomes[i] for i in indices]
        ref = self._on(node).remote(self._market, self._settings, group)
        flying[ref] = _Flight(indices, copy, node, time.monotonic())

    def _duplicate(
        self, flying: _Flying, copies: dict[tuple[int, ...], int], genomes: Sequence[Genome]
    ) -> None:
        now = time.monotonic()
        for flight in list(flying.values()):
            newest, copy = flight.copy == copies[flight.indices], flight.copy
            if newest and copy < 3 and now - flight.since > _DUPLICATE_AFTER * (copy + 1):
                others = [node for node in self._nodes if node != flight.node]
                node = others[copy % len(others)] if others else flight.node
                self._launch(flying, copies, flight.indices, genomes, node)


def _evaluate(
    market: Market, settings: Settings, genomes: Sequence[Genome]
) -> tuple[Batch, str, int]:
    import ray
    from ray._private.worker import global_worker

    node = str(ray.util.get_node_ip_address())
    # Ray has no public call for this number; the State API would need a request a task.
    core: Any = global_worker.core_worker  # type: ignore[attr-defined]
    attempt = int(core.get_current_task_attempt_number())
    return evaluate_batch(market, settings, genomes), node, attempt
