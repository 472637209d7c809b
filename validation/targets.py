"""Target of a campaign: a stack of its own, a deployed system, or an attached cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from evolution_gate import fixtures
from evolution_gate.fixtures.backends.attached import AttachedStack
from evolution_gate.fixtures.backends.compose.deployment import Deployment
from evolution_gate.fixtures.backends.compose.project import project_name
from evolution_gate.fixtures.backends.compose.stack import COMPOSE
from evolution_gate.fixtures.backends.kubernetes.api import KUBERNETES
from evolution_gate.fixtures.backends.kubernetes.deployment import Deployment as RayCluster
from evolution_gate.fixtures.backends.kubernetes.deployment import where_of
from evolution_gate.fixtures.capabilities import Capability
from evolution_gate.fixtures.protocols import Stack, StackError
from validation.contract import Stage
from validation.deployed_targets import ComposeTarget, KubernetesTarget, Services
from validation.evidence.base import Record
from validation.evidence.queries import BY_GATE
from validation.monitors.alert_webhook import LOOPBACK
from validation.safety.consent import EVERY_KIND, Consent, consent_of

STACK: Final = "stack"
NODES: Final = 4
CPUS_PER_NODE: Final = 0.4


class Target(Protocol):
    """The target of a campaign."""

    @property
    def option(self) -> str:
        """The command-line option that selects it."""
        ...

    @property
    def name(self) -> str:
        """What its user calls it."""
        ...

    @property
    def cpus_per_node(self) -> float:
        """CPU quota of a node, cores."""
        ...

    @property
    def replaced_by(self) -> str:
        """What starts a killed node again."""
        ...

    @property
    def listens(self) -> tuple[str, int]:
        """Where its alerts are received: host and port, 0 for a free one."""
        ...

    @property
    def records(self) -> Sequence[Record]:
        """What the evidence says of it, at the beginning."""
        ...

    def lacks(self, stage: Stage) -> Mapping[Capability, str]:
        """What a stage needs and the target is not capable of, with the reason."""
        ...

    def guarded(
        self, stack: Stack, *, add: Callable[[Record], None], say: Callable[[str], None]
    ) -> AbstractContextManager[Stack]:
        """The running stack with the guard of its faults."""
        ...

    def start(
        self, *, alert_webhook: str | None, say: Callable[[str], None]
    ) -> AbstractContextManager[Stack]:
        """The running stack.

        Raises:
            StackError: it cannot be started, or is not reachable.
        """
        ...


class _Unguarded:
    """A target that needs no consent: everything is allowed, or nothing is ever broken."""

    replaced_by = BY_GATE
    listens = LOOPBACK
    records: Sequence[Record] = ()

    def lacks(self, stage: Stage) -> Mapping[Capability, str]:
        """See ``Target``: nothing."""
        del stage
        return {}

    def guarded(
        self,
        stack: Stack,
        *,
        add: Callable[[Record], None],  # noqa: ARG002
        say: Callable[[str], None],  # noqa: ARG002
    ) -> AbstractContextManager[Stack]:
        """See ``Target``: the stack as it is."""
        return nullcontext(stack)


@dataclass(frozen=True, kw_only=True)
class OwnStack(_Unguarded):
    """A stack of four small nodes that the campaign starts, breaks, and removes."""

    backend: str
    """``auto``, ``processes`` or ``containers``."""

    @property
    def name(self) -> str:
        """See ``Target``."""
        return "the laboratory stack"

    @property
    def option(self) -> str:
        """See ``Target``."""
        return f"--stack={self.backend}"

    @property
    def cpus_per_node(self) -> float:
        """See ``Target``."""
        return CPUS_PER_NODE

    def start(
        self, *, alert_webhook: str | None, say: Callable[[str], None]
    ) -> AbstractContextManager[Stack]:
        """See ``Target``."""
        return fixtures.start_stack(
            nodes=NODES,
            cpus_per_node=CPUS_PER_NODE,
            backend=self.backend,
            alert_webhook=alert_webhook,
            on_progress=say,
        )


class AttachedCluster(_Unguarded):
    """A cluster that the user started: it gets work and is monitored, without faults.

    Raises:
        StackError: it is not reachable.
    """

    def __init__(self, address: str, *, dashboard: str | None, prometheus: str | None) -> None:
        self._stack = AttachedStack(address, dashboard=dashboard, prometheus=prometheus)

    @property
    def name(self) -> str:
        """See ``Target``."""
        return self._stack.endpoints.ray

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
        alert_webhook: str | None,  # noqa: ARG002 (its alerts are not received)
        say: Callable[[str], None],  # noqa: ARG002
    ) -> AbstractContextManager[Stack]:
        """See ``Target``."""
        return self._stack


@dataclass(frozen=True, kw_only=True)
class TargetOptions:
    """The options that select a target."""

    target: str = STACK
    backend: str = "auto"
    address: str | None = None
    dashboard: str | None = None
    prometheus: str | None = None
    allow_faults: str | None = None
    confirm: str | None = None
    other_jobs: bool = False
    alert_webhook: str | None = None
    """``HOST:PORT`` to which the Alertmanager of a deployed project sends."""
    dry_run: bool = False
    """Nothing will be broken, so no consent is needed."""


def target_of(options: TargetOptions) -> Target:
    """The target that the command-line options select.

    Raises:
        StackError: the options contradict each other, the target is not reachable, or there is no
            consent to break it.
    """
    kind, _, which = options.target.partition(":")
    if kind == COMPOSE:
        if options.address is not None:
            raise StackError("--address and --target compose are two targets; choose one")
        return _compose(options, Path(which) if which else None)
    if kind == KUBERNETES:
        return _kubernetes(options, which)
    if options.target != STACK:
        raise StackError(
            f"--target {options.target}: no such target; choose {STACK}, {COMPOSE}, {COMPOSE}:FILE,"
            f" {KUBERNETES} or {KUBERNETES}:CONTEXT/NAMESPACE/CLUSTER (ray: is not built yet)"
        )
    if options.allow_faults or options.confirm or options.other_jobs or options.alert_webhook:
        raise StackError(
            "--allow-faults, --confirm, --allow-other-jobs and --alert-webhook need --target"
            " compose or kubernetes: a laboratory stack is the gate's own, and an attached cluster"
            " is never broken"
        )
    if options.address is not None:
        return AttachedCluster(
            options.address, dashboard=options.dashboard, prometheus=options.prometheus
        )
    if options.dashboard or options.prometheus:
        raise StackError("--dashboard and --prometheus need --address HOST:PORT")
    return OwnStack(backend=options.backend)


def _compose(options: TargetOptions, file: Path | None) -> ComposeTarget:
    place = options.alert_webhook
    alerts_to = None if place is None else _place(place)
    consent = _consent(options, project_name(file))
    return ComposeTarget(
        Deployment(file),
        consent,
        option=_words(options),
        other_jobs=options.other_jobs,
        alerts_to=alerts_to,
    )


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise StackError(f"--alert-webhook {text}: it must be HOST:PORT of this machine")
    return host, int(port)


def _kubernetes(options: TargetOptions, which: str) -> KubernetesTarget:
    if options.alert_webhook is not None:
        raise StackError("--alert-webhook needs --target compose: no alerts come from Kubernetes")
    # Which cluster it is, only the API knows; it is read before the consent, and not changed.
    deployed = RayCluster(where_of(which))
    try:
        return KubernetesTarget(
            deployed,
            _consent(options, deployed.name),
            option=_words(options),
            other_jobs=options.other_jobs,
            services=Services(
                address=options.address,
                dashboard=options.dashboard,
                prometheus=options.prometheus,
            ),
        )
    except BaseException:
        deployed.api.close()
        raise


def _consent(options: TargetOptions, name: str) -> Consent:
    if options.dry_run and options.allow_faults is None:
        return EVERY_KIND
    return consent_of(
        options.allow_faults, name if options.dry_run else options.confirm, target=name
    )


def _words(options: TargetOptions) -> str:
    """The options that select a deployed target again."""
    given = {
        "--target": options.target,
        "--allow-faults": options.allow_faults,
        "--confirm": options.confirm,
        "--address": options.address,
        "--dashboard": options.dashboard,
        "--prometheus": options.prometheus,
        "--alert-webhook": options.alert_webhook,
    }
    words = [f"{name} {value}" for name, value in given.items() if value is not None]
    return " ".join([*words, *(["--allow-other-jobs"] if options.other_jobs else [])])
