"""Targets that a team deployed: broken as far as their owner allowed, behind the guard."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from evolution_gate.fixtures.backends.compose.deployment import Deployment
from evolution_gate.fixtures.backends.compose.stack import COMPOSE, ComposeStack
from evolution_gate.fixtures.backends.kubernetes.api import KUBERNETES
from evolution_gate.fixtures.backends.kubernetes.deployment import Deployment as RayCluster
from evolution_gate.fixtures.backends.kubernetes.stack import KubernetesStack
from evolution_gate.fixtures.capabilities import FAULTS, Capability
from evolution_gate.fixtures.protocols import NodeLimits, Stack, StackError
from validation.contract import Stage
from validation.evidence.base import Record
from validation.evidence.queries import BY_DOCKER, BY_OPERATOR
from validation.evidence.records_target import DeployedTarget as TargetRecord
from validation.monitors.alert_webhook import LOOPBACK
from validation.safety.consent import Consent
from validation.safety.guard import Guard, others_text
from validation.safety.guarded_stack import GuardedStack
from validation.safety.other_jobs import other_jobs


class DeployedTarget(ABC):
    """What deployed targets share (``validation.targets.Target``).

    Args:
        name: What its owner confirms.
        missing: What it cannot do, with the reason.
        option: The options that select it.
        other_jobs: Whether jobs of somebody else may run meanwhile.
    """

    kind: ClassVar[str]
    replaced_by: ClassVar[str]
    listens: tuple[str, int] = LOOPBACK

    def __init__(
        self,
        name: str,
        missing: Mapping[Capability, str],
        consent: Consent,
        *,
        option: str,
        other_jobs: bool,
    ) -> None:
        self._name, self._missing, self._consent = name, missing, consent
        self._option, self._other_jobs = option, other_jobs

    @property
    def name(self) -> str:
        """See ``Target``."""
        return self._name

    @property
    def option(self) -> str:
        """See ``Target``."""
        return self._option

    @property
    def cpus_per_node(self) -> float:
        """See ``Target``."""
        limits = self._smallest()
        return limits.cpus or float(limits.slots)

    @property
    def records(self) -> Sequence[Record]:
        """See ``Target``."""
        return (
            TargetRecord(
                kind=self.kind,
                name=self.name,
                replaced_by=self.replaced_by,
                capabilities=tuple(sorted(set(Capability) - self._missing.keys())),
                missing={str(kind): why for kind, why in sorted(self._missing.items())},
                consent=tuple(sorted(self._consent.kinds)),
            ),
        )

    def lacks(self, stage: Stage) -> Mapping[Capability, str]:
        """See ``Target``. A fault without consent is missing, too."""
        found = {}
        for kind in stage.needs:
            if kind in self._missing:
                found[kind] = self._missing[kind]
            elif kind in FAULTS and not self._consent.allows(kind):
                found[kind] = "--allow-faults does not name it"
        return found

    def start(
        self,
        *,
        alert_webhook: str | None,  # noqa: ARG002 (its alerts go where its team receives them)
        say: Callable[[str], None],
    ) -> AbstractContextManager[Stack]:
        """See ``Target``.

        Raises:
            StackError: as there; or somebody else uses it, and faults are to be injected.
        """
        return self._start(say)

    def guarded(
        self, stack: Stack, *, add: Callable[[Record], None], say: Callable[[str], None]
    ) -> AbstractContextManager[Stack]:
        """See ``Target``."""
        guard = Guard(
            self._consent, name=self.name, trouble=self._trouble, others=self._others,
            add=add, say=say,
        )  # fmt: skip
        return GuardedStack(stack, guard)

    def _require_alone(self) -> None:
        if self._consent.kinds and (jobs := self._others()):
            raise StackError(others_text(self.name, jobs))

    def _others(self) -> Sequence[str]:
        return () if self._other_jobs else self._foreign_jobs()

    @abstractmethod
    def _smallest(self) -> NodeLimits:
        """Limits of the smallest node."""

    @abstractmethod
    def _start(self, say: Callable[[str], None]) -> AbstractContextManager[Stack]:
        """The running stack."""

    @abstractmethod
    def _trouble(self) -> Sequence[str]:
        """What keeps it from its steady state now."""

    @abstractmethod
    def _foreign_jobs(self) -> Sequence[str]:
        """Ray jobs of somebody else."""


class ComposeTarget(DeployedTarget):
    """A Compose project."""

    kind = COMPOSE
    replaced_by = BY_DOCKER

    def __init__(
        self,
        deployed: Deployment,
        consent: Consent,
        *,
        option: str,
        other_jobs: bool = False,
        alerts_to: tuple[str, int] | None = None,
    ) -> None:
        """See ``DeployedTarget``.

        Args:
            alerts_to: Host and port to which its Alertmanager sends; None: somewhere else.
        """
        missing = deployed.missing(alerts_to=alerts_to)
        super().__init__(deployed.name, missing, consent, option=option, other_jobs=other_jobs)
        self.listens = alerts_to or LOOPBACK
        self._deployed = deployed
        self._stack: ComposeStack | None = None

    def _smallest(self) -> NodeLimits:
        return self._deployed.smallest

    def _start(self, say: Callable[[str], None]) -> AbstractContextManager[Stack]:
        self._require_alone()
        self._stack = ComposeStack(self._deployed, shared=Path.cwd(), on_progress=say)
        return self._stack.start()

    def _trouble(self) -> Sequence[str]:
        assert self._stack is not None
        return self._stack.trouble()

    def _foreign_jobs(self) -> Sequence[str]:
        own = "" if self._stack is None else self._stack.own_address
        return other_jobs(self._deployed.dashboard, self._deployed.headers, own=own)


@dataclass(frozen=True, kw_only=True)
class Services:
    """Where services of a RayCluster are reached. None: at the service of its head, or nowhere."""

    address: str | None = None
    dashboard: str | None = None
    prometheus: str | None = None


class KubernetesTarget(DeployedTarget):
    """A RayCluster of KubeRay."""

    kind = KUBERNETES
    replaced_by = BY_OPERATOR

    def __init__(
        self,
        deployed: RayCluster,
        consent: Consent,
        *,
        option: str,
        services: Services,
        other_jobs: bool = False,
    ) -> None:
        super().__init__(
            deployed.name, deployed.missing(), consent, option=option, other_jobs=other_jobs
        )
        self._deployed, self._services = deployed, services
        self._stack: KubernetesStack | None = None

    def _smallest(self) -> NodeLimits:
        return self._deployed.smallest

    def _start(self, say: Callable[[str], None]) -> AbstractContextManager[Stack]:
        del say
        # Nothing is added, and only from here on the dashboard is reached.
        where = self._services
        self._stack = KubernetesStack(
            self._deployed, address=where.address, dashboard=where.dashboard,
            prometheus=where.prometheus,
        )  # fmt: skip
        try:
            self._require_alone()
        except BaseException:
            self._stack.close()
            raise
        return self._stack

    def _trouble(self) -> Sequence[str]:
        assert self._stack is not None
        return self._stack.trouble()

    def _foreign_jobs(self) -> Sequence[str]:
        assert self._stack is not None
        ends = self._stack.endpoints
        return other_jobs(ends.dashboard, ends.headers, own=self._stack.own_address)
