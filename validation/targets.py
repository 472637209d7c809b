"""Target of a campaign: a stack that it starts itself, or an attached cluster."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from evolution_gate import fixtures
from evolution_gate.fixtures.backends.attached import AttachedStack
from evolution_gate.fixtures.protocols import Stack, StackError

NODES: Final = 4
CPUS_PER_NODE: Final = 0.4


class Target(Protocol):
    """The target of a campaign."""

    @property
    def option(self) -> str:
        """The command-line option that selects it."""
        ...

    @property
    def cpus_per_node(self) -> float:
        """CPU quota of a node, cores."""
        ...

    def start(
        self, *, alert_webhook: str, say: Callable[[str], None]
    ) -> AbstractContextManager[Stack]:
        """The running stack.

        Raises:
            StackError: it cannot be started, or is not reachable.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class OwnStack:
    """A stack of four small nodes that the campaign starts, breaks, and removes."""

    backend: str
    """``auto``, ``processes`` or ``containers``."""

    @property
    def option(self) -> str:
        """See ``Target``."""
        return f"--stack={self.backend}"

    @property
    def cpus_per_node(self) -> float:
        """See ``Target``."""
        return CPUS_PER_NODE

    def start(
        self, *, alert_webhook: str, say: Callable[[str], None]
    ) -> AbstractContextManager[Stack]:
        """See ``Target``."""
        return fixtures.start_stack(
            nodes=NODES,
            cpus_per_node=CPUS_PER_NODE,
            backend=self.backend,
            alert_webhook=alert_webhook,
            on_progress=say,
        )


class AttachedCluster:
    """A cluster that the user started: it gets work and is monitored, without faults.

    Raises:
        StackError: it is not reachable.
    """

    def __init__(self, address: str, *, dashboard: str | None, prometheus: str | None) -> None:
        self._stack = AttachedStack(address, dashboard=dashboard, prometheus=prometheus)

    @property
    def option(self) -> str:
        """See ``Target``."""
        return f"--address {self._stack.endpoints.ray}"

    @property
    def cpus_per_node(self) -> float:
        """See ``Target``."""
        return self._stack.cpus_per_node

    def start(
        self,
        *,
        alert_webhook: str,  # noqa: ARG002 (its alerts are not received)
        say: Callable[[str], None],  # noqa: ARG002
    ) -> AbstractContextManager[Stack]:
        """See ``Target``."""
        return self._stack


def target_of(
    *, backend: str, address: str | None, dashboard: str | None, prometheus: str | None
) -> Target:
    """The target that the command-line options select.

    Raises:
        StackError: the options contradict each other, or the cluster is not reachable.
    """
    if address is not None:
        return AttachedCluster(address, dashboard=dashboard, prometheus=prometheus)
    if dashboard or prometheus:
        raise StackError("--dashboard and --prometheus need --address HOST:PORT")
    return OwnStack(backend=backend)
