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
from evolution_gate.fixtures.backends.compose.stack import COMPOSE, ComposeStack
from evolution_gate.fixtures.capabilities import FAULTS, Capability
from evolution_gate.fixtures.protocols import Stack, StackError
from validation.contract import Stage
from validation.evidence.base import Record
from validation.evidence.queries import BY_DOCKER, BY_GATE
from validation.evidence.records_target import DeployedTarget
from validation.safety.consent import EVERY_KIND, Consent, consent_of
from validation.safety.guard import Guard, others_text
from validation.safety.guarded_stack import GuardedStack
from validation.safety.other_jobs import other_jobs

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


class ComposeTarget:
    """A Compose project that a team deployed: broken as far as its owner allowed.

    Args:
        option: The options that select it.
        other_jobs: Whether jobs of somebody else may run meanwhile.
    """

    replaced_by = BY_DOCKER

    def __init__(
        self, deployed: Deployment, consent: Consent, *, option: str, other_jobs: bool = False
    ) -> None:
        self._deployed, self._consent = deployed, consent
        self._option, self._other_jobs = option, other_jobs
        self._missing = deployed.missing()
        self._stack: ComposeStack | None = None

    @property
    def name(self) -> str:
        """See ``Target``."""
        return self._deployed.name

    @property
    def option(self) -> str:
        """See ``Target``."""
        return self._option

    @property
    def cpus_per_node(self) -> float:
        """See ``Target``."""
        limits = self._deployed.smallest
        return limits.cpus or float(limits.slots)

    @property
    def records(self) -> Sequence[Record]:
        """See ``Target``."""
        return (
            DeployedTarget(
                kind=COMPOSE,
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
        if self._consent.kinds and (jobs := self._others()):
            raise StackError(others_text(self.name, jobs))
        self._stack = ComposeStack(self._deployed, shared=Path.cwd(), on_progress=say)
        return self._stack.start()

    def guarded(
        self, stack: Stack, *, add: Callable[[Record], None], say: Callable[[str], None]
    ) -> AbstractContextManager[Stack]:
        """See ``Target``."""
        assert self._stack is not None
        guard = Guard(
            self._consent, name=self.name, trouble=self._stack.trouble, others=self._others,
            add=add, say=say,
        )  # fmt: skip
        return GuardedStack(stack, guard)

    def _others(self) -> Sequence[str]:
        if self._other_jobs:
            return ()
        own = "" if self._stack is None else self._stack.own_address
        return other_jobs(self._deployed.dashboard, self._deployed.headers, own=own)


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
    dry_run: bool = False
    """Nothing will be broken, so no consent is needed."""


def target_of(options: TargetOptions) -> Target:
    """The target that the command-line options select.

    Raises:
        StackError: the options contradict each other, the target is not reachable, or there is no
            consent to break it.
    """
    kind, _, file = options.target.partition(":")
    if kind == COMPOSE:
        if options.address is not None:
            raise StackError("--address and --target compose are two targets; choose one")
        return _compose(options, Path(file) if file else None)
    if options.target != STACK:
        raise StackError(
            f"--target {options.target}: no such target; choose {STACK}, {COMPOSE} or"
            f" {COMPOSE}:FILE (kubernetes: and ray: are not built yet)"
        )
    if options.allow_faults or options.confirm or options.other_jobs:
        raise StackError(
            "--allow-faults, --confirm and --allow-other-jobs need --target compose: a laboratory"
            " stack is the gate's own, and an attached cluster is never broken"
        )
    if options.address is not None:
        return AttachedCluster(
            options.address, dashboard=options.dashboard, prometheus=options.prometheus
        )
    if options.dashboard or options.prometheus:
        raise StackError("--dashboard and --prometheus need --address HOST:PORT")
    return OwnStack(backend=options.backend)


def _compose(options: TargetOptions, file: Path | None) -> ComposeTarget:
    name = project_name(file)
    if options.dry_run and options.allow_faults is None:
        consent = EVERY_KIND
    else:
        consent = consent_of(
            options.allow_faults, name if options.dry_run else options.confirm, target=name
        )
    words = [f"--target {options.target}"]
    if options.allow_faults is not None:
        words.append(f"--allow-faults {options.allow_faults}")
    if options.confirm is not None:
        words.append(f"--confirm {options.confirm}")
    if options.other_jobs:
        words.append("--allow-other-jobs")
    return ComposeTarget(
        Deployment(file), consent, option=" ".join(words), other_jobs=options.other_jobs
    )
