"""The process that owns the Ray driver. The coordinator starts it and hears it by heartbeat.

Ray ends a driver that lost its cluster; here it takes no run down with it. Messages on the pipe:
to the driver ``("evaluate", genomes)`` or ``("close",)``; from it ``Ready``, ``Beat``,
``BatchResult``, ``Done`` and ``Lost``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final

from ga.evaluators.base import BatchResult, CostModel, cut, probes
from ga.fitness import Batch, Settings, evaluate_batch
from ga.genome import Genome
from ga.market import Market

BEAT_SECONDS: Final = 0.2
_RETRIES: Final = 20
"""Times Ray may start a batch again because its node or worker process was lost."""
_STARVED_SECONDS: Final = 60.0
"""How long the cluster may be without a single worker node before it counts as lost."""
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


class _Driver:
    def __init__(self, connection: Connection, spec: DriverSpec) -> None:
        import ray

        self._ray, self._connection, self._spec = ray, connection, spec
        self._costs = CostModel()
        self._slots, self._slots_at = 0, 0.0
        if spec.address is None:
            ray.init(
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
        """CPUs of the cluster's live nodes, at most the workers asked for; read once a second."""
        now = time.monotonic()
        if now - self._slots_at > 1.0:
            self._slots = int(self._ray.cluster_resources().get("CPU", 0))
            self._slots_at = now
        wanted = self._spec.workers
        return self._slots if wanted is None else min(self._slots, wanted)

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
        # One task a node and slot: each worker process loads the kernels and maps the market.
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        genomes = probes(self._spec.families)
        waiting = []
        for node in self._ray.nodes():
            cpus = int(node["Resources"].get("CPU", 0)) if node["Alive"] else 0
            where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=True)
            task = self._task.options(scheduling_strategy=where)
            waiting += [
                task.remote(self._market, self._settings, genomes) for _ in range(min(cpus, 64))
            ]
        deadline = time.monotonic() + _STARVED_SECONDS
        while waiting:
            _, waiting = self._ray.wait(waiting, timeout=BEAT_SECONDS)
            self._connection.send(Beat(self.slots()))
            if time.monotonic() > deadline:
                raise TimeoutError(f"workers were not ready after {_STARVED_SECONDS:.0f} s")
        if self.slots() == 0:
            raise TimeoutError("the cluster has no worker node with a CPU")
        for genome in genomes:
            for _ in range(2):
                ref = self._task.remote(self._market, self._settings, [genome])
                batch: Batch = self._ray.get(ref)[0]
                self._costs.learn([genome], batch.cpu_seconds)

    def _evaluate(self, genomes: Sequence[Genome]) -> None:
        todo = cut(genomes, self._costs, max(self.slots(), 1))
        todo.reverse()
        flying: dict[Any, tuple[tuple[int, ...], int, float]] = {}
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
            while todo and len(flying) < self._most_in_flight(slots):
                self._launch(flying, copies, todo.pop(), genomes)
            if not todo:
                self._duplicate(flying, copies, genomes)
            ready, _ = self._ray.wait(list(flying), num_returns=1, timeout=BEAT_SECONDS)
            if not ready:
                self._connection.send(Beat(slots))
            for ref in ready:
                indices, copy, _ = flying.pop(ref)
                if indices not in open_batches:
                    continue
                batch, node, attempt = self._ray.get(ref)
                open_batches.discard(indices)
                self._costs.learn([genomes[i] for i in indices], batch.cpu_seconds)
                self._connection.send(
                    BatchResult(indices=indices, batch=batch, node=node, attempt=attempt + copy)
                )
        for ref in flying:
            self._ray.cancel(ref, force=False)

    def _most_in_flight(self, slots: int) -> int:
        # A second batch a slot waits beside the first, so that none idles for a round trip; but
        # in a cluster larger than was asked for, it would not wait: it would take another slot.
        return max(slots, 1) * (1 if self._slots > slots else 2)

    def _launch(
        self,
        flying: dict[Any, tuple[tuple[int, ...], int, float]],
        copies: dict[tuple[int, ...], int],
        indices: tuple[int, ...],
        genomes: Sequence[Genome],
    ) -> None:
        copy = copies.get(indices, -1) + 1
        copies[indices] = copy
        group = [genomes[i] for i in indices]
        ref = self._task.remote(self._market, self._settings, group)
        flying[ref] = (indices, copy, time.monotonic())

    def _duplicate(
        self,
        flying: dict[Any, tuple[tuple[int, ...], int, float]],
        copies: dict[tuple[int, ...], int],
        genomes: Sequence[Genome],
    ) -> None:
        now = time.monotonic()
        for indices, copy, since in list(flying.values()):
            newest = copy == copies[indices]
            if newest and copy < 3 and now - since > _DUPLICATE_AFTER * (copy + 1):
                self._launch(flying, copies, indices, genomes)


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
