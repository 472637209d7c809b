"""A stack whose every fault passes the guard, whether a stage or a plug-in requests it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from evolution_gate.fixtures.capabilities import Capability
from evolution_gate.fixtures.faults.impairment import Impairment
from evolution_gate.fixtures.protocols import (
    Endpoints,
    Node,
    NodeLimits,
    NodeUsage,
    Receipt,
    Stack,
)
from validation.safety.guard import Guard


class GuardedNode:
    """A node (``protocols.Node``) behind the guard."""

    def __init__(self, node: Node, guard: Guard) -> None:
        self._node, self._guard = node, guard

    @property
    def name(self) -> str:
        """Its name."""
        return self._node.name

    @property
    def address(self) -> str:
        """The address that it advertises."""
        return self._node.address

    @property
    def limits(self) -> NodeLimits:
        """Its quota and memory limit."""
        return self._node.limits

    @property
    def pid(self) -> int | None:
        """Its first process."""
        return self._node.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._node.alive

    def usage(self) -> NodeUsage | None:
        """What it uses."""
        return self._node.usage()

    def kill(self) -> Receipt:
        """SIGKILL the node."""
        node = self._node
        return self._guard.inject(Capability.KILL_NODE, "kill", self.name, node.kill, node.start)

    def start(self) -> Receipt:
        """Start it, or wait for its replacement."""
        return self._guard.restore(self.name, self._node.start)

    def pause(self) -> Receipt:
        """Freeze it."""
        node = self._node
        return self._guard.inject(Capability.PAUSE, "pause", self.name, node.pause, node.resume)

    def resume(self) -> Receipt:
        """Let it run again."""
        return self._guard.restore(self.name, self._node.resume)

    def partition(self) -> Receipt:
        """Cut it off."""
        node = self._node
        return self._guard.inject(
            Capability.PARTITION, "partition", self.name, node.partition, node.heal
        )

    def heal(self) -> Receipt:
        """Connect it again."""
        return self._guard.restore(self.name, self._node.heal)

    def impair(self, what: Impairment) -> Receipt:
        """Impair its link."""
        node = self._node
        return self._guard.inject(
            Capability.IMPAIR, what.fault, self.name, lambda: node.impair(what), node.restore
        )

    def restore(self) -> Receipt:
        """Undo that."""
        return self._guard.restore(self.name, self._node.restore)

    def kill_worker(self) -> Receipt:
        """SIGKILL one of its worker processes."""
        return self._guard.inject(
            Capability.KILL_WORKER, "kill_worker", self.name, self._node.kill_worker, None
        )

    def hog_memory(self, share: float, seconds: float) -> Receipt:
        """Let a process take memory."""
        return self._guard.inject(
            Capability.MEMORY,
            "memory",
            self.name,
            lambda: self._node.hog_memory(share, seconds),
            None,
        )


class GuardedStack:
    """A stack (``protocols.Stack``) behind the guard. Everything else is passed on.

    Leaving it undoes what is broken; the stack itself stays.
    """

    def __init__(self, stack: Stack, guard: Guard) -> None:
        self._stack, self._guard = stack, guard
        self._nodes = tuple(GuardedNode(node, guard) for node in stack.nodes)

    def __getattr__(self, name: str) -> Any:
        # Processes, logs and exits, which only some stacks show.
        return getattr(self._stack, name)

    @property
    def backend(self) -> str:
        """How it is made."""
        return self._stack.backend

    @property
    def endpoints(self) -> Endpoints:
        """Where the services listen."""
        return self._stack.endpoints

    @property
    def nodes(self) -> Sequence[GuardedNode]:
        """The nodes, behind the guard."""
        return self._nodes

    @property
    def unexpected_exits(self) -> Sequence[str]:
        """What ended by itself."""
        return self._stack.unexpected_exits

    @property
    def marks(self) -> Sequence[str]:
        """What identifies its processes."""
        return self._stack.marks

    def services(self) -> Mapping[str, str | None]:
        """Every service to its incarnation."""
        return self._stack.services()

    @property
    def scrape_targets(self) -> Mapping[str, str]:
        """What Prometheus must scrape."""
        return self._stack.scrape_targets

    def head_usage(self) -> NodeUsage | None:
        """What the head uses."""
        return self._stack.head_usage()

    def drain(self, node: GuardedNode, do: Callable[[], Receipt]) -> Receipt:
        """Drain a node by a program of the caller's; its undo is the node's start."""
        return self._guard.inject(Capability.DRAIN, "drain", node.name, do, node.start)

    def kill_head(self) -> Receipt:
        """SIGKILL the head."""
        stack = self._stack
        return self._guard.inject(
            Capability.HEAD, "kill", "head", stack.kill_head, stack.start_head
        )

    def start_head(self) -> Receipt:
        """Start it again, or wait for its replacement."""
        return self._guard.restore("head", self._stack.start_head)

    def kill_cluster(self) -> Sequence[Receipt]:
        """SIGKILL head and nodes at once."""
        stack = self._stack
        undo = {"head": stack.start_head, **{node.name: node.start for node in stack.nodes}}
        return self._guard.inject_all(Capability.CLUSTER, "kill", stack.kill_cluster, undo)

    def await_cluster(self) -> Sequence[Receipt]:
        """Wait until all of it was started again."""
        return (self.start_head(), *(node.start() for node in self._nodes))

    def kill_service(self, name: str) -> Receipt:
        """SIGKILL a service."""
        stack = self._stack
        return self._guard.inject(
            Capability.SERVICE,
            "kill",
            name,
            lambda: stack.kill_service(name),
            lambda: stack.start_service(name),
        )

    def stop_service(self, name: str) -> Receipt:
        """Stop a service."""
        stack = self._stack
        return self._guard.inject(
            Capability.SERVICE,
            "stop",
            name,
            lambda: stack.stop_service(name),
            lambda: stack.start_service(name),
        )

    def start_service(self, name: str) -> Receipt:
        """Start it again, or wait for its replacement."""
        return self._guard.restore(name, lambda: self._stack.start_service(name))

    def alive_nodes(self) -> frozenset[str]:
        """Nodes that the control service reports ALIVE."""
        return self._stack.alive_nodes()

    def alive_ids(self) -> Mapping[str, frozenset[str]]:
        """Those, each with its ids."""
        return self._stack.alive_ids()

    def driver(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        stdin: int | None = None,
    ) -> subprocess.Popen[str]:
        """Start an engine process."""
        return self._stack.driver(argv, env, stdin=stdin)

    def on_one_node(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a process with the limits of one node."""
        return self._stack.on_one_node(argv, env=env)

    def close(self) -> None:
        """Undo what is broken."""
        self._guard.close()

    def __enter__(self) -> Self:
        self._guard.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
