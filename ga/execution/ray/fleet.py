"""The nodes of a Ray cluster for the dispatcher: warm-up, checks, batches in flight."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from ga.errors import ClusterError
from ga.execution.protocol import (
    BatchResult,
    NodeReport,
    report,
)
from ga.execution.ray.connection import ask_for_a_token as ask_for_a_token
from ga.execution.ray.connection import local_address
from ga.execution.ray.dispatcher import (
    BatchFailure,
)
from ga.execution.ray.messages import DriverSpec
from ga.execution.ray.remote import ONCE, Answer, MarketRef, Unfit, evaluation_task, warm
from ga.genome import Genome

_NODES_SECONDS: Final = 1.0
"""Maximum age of the list of nodes, in seconds."""


_WARM_TRIES: Final = 3


COLD_SECONDS: Final = 180.0
"""Seconds to wait for nodes that compile their kernels while no other is ready."""


_WARM_SECONDS: Final = 30.0
"""Seconds after which a node that is not warm is used if one of its processes has passed the
numerics check, and otherwise warmed up again, so that a stuck lease does not block it.
"""


def connect(spec: DriverSpec) -> Any:
    """The module ``ray``, connected to the cluster of ``spec``, which is started if it is local."""
    if spec.address is None:
        ask_for_a_token()
    import ray

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
    return ray


class RayFleet:
    """The worker nodes of a Ray cluster (``ga.execution.ray.dispatcher.ClusterBackend``).

    Args:
        tell: receives a report of each node that was checked.
        ray: the module ``ray``, connected to a cluster; None: connect to the one of ``spec``.
    """

    def __init__(
        self, spec: DriverSpec, tell: Callable[[NodeReport], None], *, ray: Any = None
    ) -> None:
        self._tell = tell
        self._ray = ray = connect(spec) if ray is None else ray
        self._spec = spec
        self._nodes: dict[str, int] = {}
        self._addresses: dict[str, str] = {}
        """Address of each node ever seen."""
        self._seen_at = float("-inf")
        self._warming_since: dict[str, float] = {}
        """Start time of the last warm-up of each node."""
        self._warming: dict[str, list[Any]] = {}
        """Unfinished warm-up tasks of each node ever seen."""
        self._proven: set[str] = set()
        """Nodes with a worker process that has passed the numerics check."""
        self._live: frozenset[str] = frozenset()
        """Live nodes that are not refused."""
        self._lost: Counter[str] = Counter()
        """Number of lost warm-up tasks by node."""
        self._refused: set[str] = set()
        """Nodes that get no work: they failed it, or cannot evaluate at all."""
        if spec.address is not None:
            self._request(spec.workers)
        # Computed once here and sent along; otherwise each batch would hash the whole market.
        _ = spec.market.hash
        # The primary copy is on the driver's machine and lost only with it. Nodes fetch it once
        # each and map it without copying. If a task loaded it, the primary copy would be on a
        # worker node and lost with that node.
        self._market = MarketRef(spec.market.hash, ray.put(spec.market))
        self._tasks = {apart: evaluation_task(ray, apart=apart) for apart in (False, True)}
        self._warm = ray.remote(**ONCE)(warm)
        self._placed: dict[tuple[str, bool], Any] = {}

    def _request(self, cpus: int | None) -> None:
        """Request CPUs from an autoscaling cluster; 0: it may shrink again.

        Pending tasks do not request nodes, because each is bound to an existing node.
        """
        if cpus is None:
            return
        from ray.autoscaler.sdk import request_resources

        request_resources(num_cpus=cpus)

    def close(self) -> None:
        """Leave the cluster; first withdraw the request to its autoscaler, which would persist."""
        if self._spec.address is not None and self._spec.workers is not None:
            self._request(0)
        self._ray.shutdown()

    @property
    def slots(self) -> int:
        """CPUs of the nodes in use: all live ones, up to the requested number of workers."""
        return sum(self.nodes().values())

    @property
    def warming(self) -> bool:
        """Whether a node is not ready yet; updates the state of all nodes."""
        self._seen_at = float("-inf")
        self.nodes()
        return any(self._warming[node] for node in self._live)

    def nodes(self) -> Mapping[str, int]:
        """Warm node's id -> CPUs in use on it, in the order of the ids.

        A worker process takes seconds to load the kernels. A joining node does that before it gets
        work; otherwise the whole generation would wait for its first batch. It also evaluates the
        fixed set of ``ga.execution.numerics_check``, and gets no work unless its bits are correct.
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
        """Whether a node may get work."""
        return node in self._proven and node not in self._refused and not self._warming[node]

    def _follow(self, node: str, cpus: int) -> None:
        """Start or continue the warm-up of a live node."""
        if node not in self._warming:
            self._warming[node] = []
            self._start_warming(node, cpus)
            return
        if refs := self._warming[node]:
            done, self._warming[node] = self._ray.wait(refs, num_returns=len(refs), timeout=0)
            for ref in done:
                self._checked(node, ref)
        overdue = time.monotonic() - self._warming_since[node] > _WARM_SECONDS
        if node in self._refused:
            self._warming[node] = []
        elif node in self._proven:
            if overdue:
                self._warming[node] = []
        elif self._lost[node] >= _WARM_TRIES:
            self.refuse(node, f"its worker processes died {_WARM_TRIES} times while they loaded")
        elif overdue or not self._warming[node]:
            # In addition to the unfinished tasks: the first that ends counts.
            self._start_warming(node, 1)

    def _start_warming(self, node: str, count: int) -> None:
        """Start tasks in which worker processes of a node load kernels and check their numerics."""
        where = self._on(node)
        self._warming_since[node] = time.monotonic()
        self._warming[node] += [
            self._warm.options(scheduling_strategy=where).remote(
                self._market, self._spec.settings, self._spec.families
            )
            for _ in range(count)
        ]

    def _checked(self, node: str, ref: Any) -> None:
        """Process the result of a warm-up task."""
        try:
            id, proof = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, self._ray.exceptions.RayError):
                # It could not fetch the market, whose copy may be on a lost node.
                self._lost[node] += 1
                return
            reason = f"it cannot evaluate ({type(error.cause).__name__}: {error.cause})"
            reason = " ".join(reason.split())
            self.refuse(node, f"{reason}; install the same evolution-gate there")
            return
        except self._ray.exceptions.RayError:
            # The node or its worker was lost. If the node is alive, it is warmed up again.
            self._lost[node] += 1
            return
        if id != node:
            # Ray ran the task of a lost node elsewhere.
            return
        found = report(proof, id=node, node=self._addresses[node])
        # The processes of a node may differ, so each must pass.
        known = self._refused if found.refused else self._proven
        if node not in known and node not in self._refused:
            known.add(node)
            self._tell(found)

    def refuse(self, node: str, reason: str) -> None:
        """Stop giving work to a node."""
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
        """See ``Fleet``. By default Ray reuses its leases, so a whole generation may queue on one
        node.
        """
        if (node, apart) not in self._placed:
            where = self._on(node)
            self._placed[node, apart] = self._tasks[apart].options(scheduling_strategy=where)
        more = (self._spec.patience,) if apart else ()
        return self._placed[node, apart].remote(self._market, self._spec.settings, genomes, *more)

    def wait(self, handles: Collection[Any], seconds: float) -> Sequence[Any]:
        """See ``Fleet``. Ray reads every handle in each call, so one more call takes all that are
        ready, and not one after the other.
        """
        refs = list(handles)
        ready, rest = self._ray.wait(refs, num_returns=1, timeout=seconds)
        if ready and rest:
            more, _ = self._ray.wait(rest, num_returns=len(rest), timeout=0)
            ready = [*ready, *more]
        return list(ready)

    def result(self, handle: Any) -> Sequence[BatchResult] | BatchFailure:
        """See ``Fleet``. Errors of our own code on a node are raised, because no genome causes them
        and other nodes have the same code.
        """
        errors = self._ray.exceptions
        try:
            answer: Answer | Unfit = self._ray.get(handle)
        except errors.OutOfMemoryError:
            return BatchFailure.MEMORY
        except errors.WorkerCrashedError:
            return BatchFailure.CRASHED
        except errors.RayTaskError as error:
            if isinstance(error.cause, ClusterError | errors.RayError):
                # The node cannot start a process for evaluation apart, or cannot fetch the market;
                # another one may.
                return BatchFailure.LOST
            raise
        except errors.RayError:
            return BatchFailure.LOST
        if isinstance(answer, Unfit):
            self.refuse(answer.id, answer.reason)
            return BatchFailure.LOST
        if answer.id not in self._proven or answer.id in self._refused:
            # Ray ran it elsewhere, because its node is gone.
            return BatchFailure.LOST
        return answer.results

    def cancel(self, handle: Any, *, force: bool) -> None:
        """See ``Fleet``."""
        self._ray.cancel(handle, force=force)
