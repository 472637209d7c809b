"""The process that owns the Ray driver. The coordinator starts it and hears it by heartbeat.

Ray ends a driver that lost its cluster; here it takes no run down with it. Messages on the pipe:
to the driver ``("evaluate", genomes)`` or ``("close",)``; from it ``Ready``, ``Beat``,
``NodeReport``, ``HandedOut``, ``BatchResult``, ``Done``, ``Lost`` and ``Refused``.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, Final

from ga.errors import ClusterError, MachineError
from ga.evaluation.settings import Settings, evaluation_key
from ga.execution.forkserver import ONE_THREAD
from ga.execution.numerics_check import Proof, prove
from ga.execution.pool import Pool
from ga.execution.protocol import (
    PATIENCE_SECONDS,
    BatchResult,
    CostModel,
    NodeReport,
    probes,
    report,
)
from ga.execution.ray.auth import refuses
from ga.execution.ray.dispatcher import (
    BEAT_SECONDS,
    STARVED_SECONDS,
    Dispatcher,
    Fault,
)
from ga.execution.ray.tasks import EVALUATE, EVALUATE_APART
from ga.execution.worker import fault_of, work
from ga.genome import Genome
from ga.market import Market

_NODES_SECONDS: Final = 1.0
"""How old the list of nodes may be."""
_ONCE: Final[Mapping[str, Any]] = {"num_cpus": 1, "max_retries": 0}
"""No retries by Ray: it would count a lost node and a genome that crashes alike, put what was lost
behind all that waits, and for a lack of memory it would try for ever."""
_WARM_TRIES: Final = 3
COLD_SECONDS: Final = 180.0
"""How long nodes that compile their kernels are waited for while no other is ready."""
_WARM_SECONDS: Final = 30.0
"""A node that is not warm by then is used if one of its processes has passed the numerics check,
and else warmed up again: one stuck lease must not hide it for ever."""


@dataclass(frozen=True, kw_only=True)
class DriverSpec:
    """What the driver needs to know."""

    address: str | None
    """``host:port`` of a cluster, or None to start one on this machine."""
    workers: int | None
    market: Market
    settings: Settings
    families: tuple[str, ...]
    patience: float = PATIENCE_SECONDS
    """Wall seconds that any batch may take before its worker counts as hung."""


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
class HandedOut:
    """A batch was started on a node."""

    indices: tuple[int, ...]
    node: str


@dataclass(frozen=True)
class Done:
    """All genomes of the last request are answered."""

    slots: int


@dataclass(frozen=True)
class Lost:
    """The cluster cannot go on; nothing more will come."""

    reason: str


@dataclass(frozen=True)
class Refused:
    """The cluster does not take our token. Not a loss: it would be refused on the next try too."""


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
    # A group of our own, with all that Ray starts: some of its agents would outlive it.
    os.setpgid(0, 0)
    # Ray writes notices (a node lost, a task retried) on stdout, which is the coordinator's result.
    os.dup2(2, 1)
    # What Ray's processes on this machine inherit: the niceness and threads of the local pool. Of a
    # cluster that somebody else started, the settings are its own.
    os.environ.update({"RAY_worker_niceness": "0", **ONE_THREAD})
    try:
        if spec.address is not None and refuses(spec.address):
            connection.send(Refused())
            return
        driver = _Driver(connection, spec)
        connection.send(Ready(driver.fleet.slots, os.getpid()))
        driver.serve()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # The coordinator is gone; there is nobody left to tell.
        return
    except Exception as error:
        # Whatever it was, the coordinator must hear of it and carry on without us.
        with contextlib.suppress(BrokenPipeError):
            connection.send(Lost(f"{type(error).__name__}: {error}".splitlines()[0]))


class _RayFleet:
    """The worker nodes of a Ray cluster (``ga.execution.ray.dispatcher.Fleet``)."""

    def __init__(self, spec: DriverSpec, tell: Callable[[NodeReport], None]) -> None:
        self._tell = tell
        if spec.address is None:
            _ask_for_a_token()
        import ray

        self._ray, self._spec = ray, spec
        self._nodes: dict[str, int] = {}
        self._addresses: dict[str, str] = {}
        """Of each node ever seen."""
        self._seen_at = float("-inf")
        self._met: dict[str, float] = {}
        """When the last warm-up of each node was started."""
        self._warming: dict[str, list[Any]] = {}
        """Of each node ever seen, the warm-up tasks that are not done."""
        self._proven: set[str] = set()
        """Nodes of which a worker process has passed the numerics check."""
        self._live: frozenset[str] = frozenset()
        """Nodes that are there and not refused."""
        self._lost: Counter[str] = Counter()
        """Warm-up tasks that were lost, by node."""
        self._refused: set[str] = set()
        """Nodes that get no work: they failed it, or cannot evaluate at all."""
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
            self._request(spec.workers)
        # Computed once here, and carried along: else each batch would hash the whole market.
        _ = spec.market.hash
        # The primary copy lives beside the driver and dies only with it; nodes fetch it once each
        # and map it without copying. A task that loads it could be repeated, but its copy would lie
        # on a worker node, and be lost with that.
        self._market = _Shared(spec.market.hash, ray.put(spec.market))
        self._tasks = {apart: evaluation_task(ray, apart=apart) for apart in (False, True)}
        self._warm = ray.remote(**_ONCE)(_warm)
        self._placed: dict[tuple[str, bool], Any] = {}

    def _request(self, cpus: int | None) -> None:
        """Ask a cluster that autoscales for as many CPUs; 0: it may shrink again.

        Waiting tasks would not do it: each is meant for a node that is there.
        """
        if cpus is None:
            return
        from ray.autoscaler.sdk import request_resources

        request_resources(num_cpus=cpus)

    def close(self) -> None:
        """Leave the cluster; what was requested of its autoscaler would outlive us."""
        if self._spec.address is not None and self._spec.workers is not None:
            self._request(0)
        self._ray.shutdown()

    @property
    def slots(self) -> int:
        """CPUs of the nodes in use: all live ones, or as many as the workers asked for."""
        return sum(self.nodes().values())

    @property
    def warming(self) -> bool:
        """Whether a node is not ready yet; asks for news of all nodes."""
        self._seen_at = float("-inf")
        self.nodes()
        return any(self._warming[node] for node in self._live)

    def nodes(self) -> Mapping[str, int]:
        """Node id -> CPUs in use on it, in the order of the ids; those that are warm.

        A worker process takes seconds to load the kernels. A node that joins does that beside the
        work, or the whole generation would wait for its first batch. It also evaluates the fixed
        set of ``ga.execution.numerics_check``, and gets no work unless it computes the right bits.
        """
        now = time.monotonic()
        if now - self._seen_at > _NODES_SECONDS:
            self._seen_at = now
            self._nodes = self._live_nodes()
        return self._nodes

    def _live_nodes(self) -> dict[str, int]:
        left = self._spec.workers or sys.maxsize
        found: dict[str, int] = {}
        for node in sorted(self._ray.nodes(), key=lambda n: str(n["NodeID"])):
            cpus = int(node["Resources"].get("CPU", 0)) if node["Alive"] else 0
            if cpus > 0:
                self._addresses[node["NodeID"]] = str(node["NodeManagerAddress"])
            if min(cpus, left) > 0 and node["NodeID"] not in self._refused:
                found[node["NodeID"]] = min(cpus, left)
                left -= found[node["NodeID"]]
        self._live = frozenset(found)
        for node, cpus in found.items():
            self._follow(node, cpus)
        return {node: cpus for node, cpus in found.items() if self._fit(node)}

    def _fit(self, node: str) -> bool:
        """Whether a node may be given work."""
        return node in self._proven and node not in self._refused and not self._warming[node]

    def _follow(self, node: str, cpus: int) -> None:
        """Start or follow the warm-up of a live node."""
        if node not in self._warming:
            self._warming[node] = []
            self._start_warming(node, cpus)
            return
        if refs := self._warming[node]:
            done, self._warming[node] = self._ray.wait(refs, num_returns=len(refs), timeout=0)
            for ref in done:
                self._checked(node, ref)
        overdue = time.monotonic() - self._met[node] > _WARM_SECONDS
        if node in self._refused:
            self._warming[node] = []
        elif node in self._proven:
            if overdue:
                self._warming[node] = []
        elif self._lost[node] >= _WARM_TRIES:
            self.refuse(node, f"its worker processes died {_WARM_TRIES} times while they loaded")
        elif overdue or not self._warming[node]:
            # Beside those that have not ended: whichever ends first counts.
            self._start_warming(node, 1)

    def _start_warming(self, node: str, count: int) -> None:
        """Have worker processes of a node load their kernels and check their numerics."""
        where = self._on(node)
        self._met[node] = time.monotonic()
        self._warming[node] += [
            self._warm.options(scheduling_strategy=where).remote(
                self._market, self._spec.settings, self._spec.families
            )
            for _ in range(count)
        ]

    def _checked(self, node: str, ref: Any) -> None:
        """Take what a warm-up task came to."""
        try:
            id, proof = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, self._ray.exceptions.RayError):
                # It could not fetch the market: what that lay on may be gone.
                self._lost[node] += 1
                return
            reason = f"it cannot evaluate ({type(error.cause).__name__}: {error.cause})"
            reason = " ".join(reason.split())
            self.refuse(node, f"{reason}; install evolution-gate there as it is here")
            return
        except self._ray.exceptions.RayError:
            # The node or its worker was lost. If the node lives, it is warmed up again.
            self._lost[node] += 1
            return
        if id != node:
            # Of a node that is gone, tasks are done elsewhere.
            return
        found = report(proof, id=node, node=self._addresses[node])
        # The processes of a node may differ: each must pass.
        known = self._refused if found.refused else self._proven
        if node not in known and node not in self._refused:
            known.add(node)
            self._tell(found)

    def refuse(self, node: str, reason: str) -> None:
        """Give a node no more work."""
        if node in self._refused:
            return
        self._refused.add(node)
        self._warming[node] = []
        self._seen_at = float("-inf")
        self._tell(
            NodeReport(
                id=node,
                node=self._addresses.get(node, node),
                processor="unknown",
                kernel_version=0,
                digest="",
                refused=reason,
            )
        )

    @property
    def refused(self) -> Sequence[str]:
        """Addresses of the nodes that get no work."""
        return sorted(self._addresses.get(node, node) for node in self._refused)

    def _on(self, node: str) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node, soft=True)

    def address(self, node: str) -> str:
        """See ``Fleet``."""
        return self._addresses[node]

    def launch(self, genomes: Sequence[Genome], node: str, *, apart: bool) -> Any:
        """See ``Fleet``. Left to itself Ray reuses the leases it has, and a whole generation may
        queue on one node."""
        if (node, apart) not in self._placed:
            where = self._on(node)
            self._placed[node, apart] = self._tasks[apart].options(scheduling_strategy=where)
        more = (self._spec.patience,) if apart else ()
        return self._placed[node, apart].remote(self._market, self._spec.settings, genomes, *more)

    def wait(self, handles: Sequence[Any], seconds: float) -> Sequence[Any]:
        """See ``Fleet``."""
        ready, _ = self._ray.wait(list(handles), num_returns=1, timeout=seconds)
        return list(ready)

    def result(self, handle: Any) -> Sequence[BatchResult] | Fault:
        """See ``Fleet``. Errors of our own code on a node are raised: they are no genome's fault,
        and another node has the same code."""
        errors = self._ray.exceptions
        try:
            answer: Answer | Unfit = self._ray.get(handle)
        except errors.OutOfMemoryError:
            return Fault.MEMORY
        except errors.WorkerCrashedError:
            return Fault.CRASHED
        except errors.RayTaskError as error:
            if isinstance(error.cause, ClusterError | errors.RayError):
                # The node cannot start a process to evaluate apart in, or cannot fetch the market;
                # another one may.
                return Fault.LOST
            raise
        except errors.RayError:
            return Fault.LOST
        if isinstance(answer, Unfit):
            self.refuse(answer.id, answer.reason)
            return Fault.LOST
        if answer.id not in self._proven or answer.id in self._refused:
            # Ray ran it elsewhere, since the node it was meant for is gone.
            return Fault.LOST
        return answer.results

    def cancel(self, handle: Any, *, force: bool) -> None:
        """See ``Fleet``."""
        self._ray.cancel(handle, force=force)


class _Driver:
    def __init__(self, connection: Connection, spec: DriverSpec) -> None:
        self._connection, self._spec = connection, spec
        self._costs = CostModel()
        self.fleet = _RayFleet(spec, connection.send)
        self._warm_up()

    def serve(self) -> None:
        """Answer requests until told to close."""
        while True:
            while not self._connection.poll(BEAT_SECONDS):
                self._beat()
            request = self._connection.recv()
            if request[0] == "close":
                self.fleet.close()
                return
            dispatcher = self._dispatcher(request[1])
            for result in dispatcher.run():
                self._connection.send(result)
            self._connection.send(Done(self.fleet.slots))

    def _handed_out(self, indices: tuple[int, ...], node: str) -> None:
        self._connection.send(HandedOut(indices, node))

    def _beat(self) -> None:
        self._connection.send(Beat(self.fleet.slots))

    def _dispatcher(self, genomes: Sequence[Genome]) -> Dispatcher[Any]:
        market, settings = self._spec.market, self._spec.settings
        return Dispatcher(
            fleet=self.fleet,
            costs=self._costs,
            genomes=genomes,
            key=lambda genome: evaluation_key(genome, market.hash, settings),
            patience=self._spec.patience,
            beat=self._beat,
            handed_out=self._handed_out,
        )

    def _warm_up(self) -> None:
        began = time.monotonic()
        while (warming := self.fleet.warming) or self.fleet.slots == 0:
            waited = time.monotonic() - began
            if waited > STARVED_SECONDS and self.fleet.slots > 0:
                # One node is sick; the others are not kept waiting for it.
                break
            if waited > (COLD_SECONDS if warming else STARVED_SECONDS):
                refused = ", ".join(self.fleet.refused)
                raise TimeoutError(
                    f"no worker node with a CPU was ready after {waited:.0f} s"
                    + (f"; refused: {refused}" if refused else "")
                )
            self._beat()
            time.sleep(BEAT_SECONDS)
        for genome in probes(self._spec.families):
            # One after the other, so that no two are a batch: the estimates are per family.
            for _ in range(2):
                for _result in self._dispatcher([genome]).run():
                    self._beat()


@dataclass(frozen=True)
class _Shared:
    """A market in Ray's store."""

    hash: str
    reference: Any
    """Inside an object, so that Ray does not fetch it for each task."""


_held: list[Market] = []
"""Of a worker process: the market of its driver."""


def _kept(market: _Shared) -> Market:
    """The market itself, fetched once. As an argument of its own it would be a new object for every
    task, and what is computed once a market (its indicator banks) belongs to one object."""
    if not _held or _held[0].hash != market.hash:
        import ray

        _held[:] = [ray.get(market.reference)]
        # As in a worker of this machine: what was loaded by now stays.
        gc.freeze()
    return _held[0]


@dataclass(frozen=True, kw_only=True)
class Unfit:
    """The answer of a node that cannot evaluate."""

    id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer of a node."""

    id: str
    results: tuple[BatchResult, ...]


def _warm(market: _Shared, settings: Settings, families: Sequence[str]) -> tuple[str, Proof]:
    """Load market and kernels in this worker process, and check its numerics; returns the node's
    id, too."""
    import ray

    proof = prove(families)
    if proof.refusal is None:
        work(_kept(market), settings, probes(families))
    return ray.get_runtime_context().get_node_id(), proof


def evaluation_task(ray: Any, *, apart: bool) -> Any:
    """The remote function that evaluates a batch, under the name that ``tasks`` tells of it."""
    name, function = (EVALUATE_APART, _evaluate_apart) if apart else (EVALUATE, _evaluate)
    return ray.remote(name=name, **_ONCE)(function)


def _evaluate(market: _Shared, settings: Settings, genomes: Sequence[Genome]) -> Answer | Unfit:
    import ray

    node, id = str(ray.util.get_node_ip_address()), ray.get_runtime_context().get_node_id()
    seen = _kept(market)
    try:
        batch = work(seen, settings, genomes)
    except Exception as error:
        # Outside the evaluation of a genome, whatever it is: no genome's fault.
        return Unfit(id=id, reason=fault_of(error))
    result = BatchResult(indices=tuple(range(len(genomes))), batch=batch, node=node)
    return Answer(id=id, results=(result,))


def _evaluate_apart(
    market: _Shared, settings: Settings, genomes: Sequence[Genome], patience: float
) -> Answer | Unfit:
    """Like ``_evaluate``, in a process of its own and genome by genome."""
    import ray

    node, id = str(ray.util.get_node_ip_address()), ray.get_runtime_context().get_node_id()
    pool = Pool(market=_kept(market), settings=settings, workers=1, patience=patience)
    with contextlib.closing(pool):
        one_by_one = [(index,) for index in range(len(genomes))]
        try:
            results = tuple(
                replace(result, node=node, tried=tuple(replace(t, node=node) for t in result.tried))
                for result in pool.run(genomes, one_by_one)
            )
        except MachineError as error:
            return Unfit(id=id, reason=str(error))
    return Answer(id=id, results=results)
