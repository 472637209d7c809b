"""The records of evidence: a typed, frozen dataclass per kind of event.

The payload of an event is a flat JSON object whose keys are exactly the fields of its record.
``parse`` refuses a missing, unknown, ill-typed or invalid field with an ``EvidenceError`` that
names it, so that a verdict never has to guess. Times are Unix seconds, durations seconds, memory
bytes. ``| None`` means "not known", and is written as ``null``. A field that was added later has
the default ``None``, and is not known in evidence that lacks it; no other field may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import NonNegativeFloat, NonNegativeInt

from validation.evidence.base import Record
from validation.evidence.errors import EvidenceError
from validation.evidence.records_faults import Phases
from validation.evidence.records_ledger import (
    Audit,
    Coordinator,
    Fallback,
    Generation,
    Individuals,
    LedgerCopy,
    NodeCheck,
    Refusal,
    Restore,
)
from validation.evidence.records_load import Load, Scaling, ServiceRestart
from validation.evidence.records_monitoring import (
    AlertWatch,
    Job,
    Notification,
    Panel,
    Probe,
    Scrape,
    StartUp,
)
from validation.evidence.records_network import (
    Drain,
    Leak,
    Listener,
    RoundTrips,
    Search,
    Survey,
)
from validation.evidence.records_price import NodePrice
from validation.evidence.records_self_check import ContainerExit, HarnessReading, MachineReading
from validation.evidence.records_target import DeployedTarget, GuardEvent, NotRun, StageRun
from validation.evidence.schema import Facts, Schema

SCHEMA_VERSION: Final = 1


Purpose = Literal[
    "speedup",
    "recovery",
    "population",
    "reproducibility",
    "rollback",
    "preemption",
    "autoscaling",
    "machine",
]
Arm = Literal["local", "distributed"]


@dataclass(frozen=True, kw_only=True)
class Open(Record):
    """First line of every file: which run this is and how to repeat it."""

    KIND = "open"
    run: str
    """Name of the run, unique among pooled files."""
    seed: int
    schema: NonNegativeInt
    backend: str
    """``processes`` or ``containers``."""
    nodes: NonNegativeInt
    """Worker nodes of the stack, the head not counted."""
    cpus_per_node: NonNegativeFloat
    """CPU quota of one node, cores."""
    replay: str
    """Shell command that repeats the run."""
    started_at: NonNegativeFloat


@dataclass(frozen=True, kw_only=True)
class Environment(Record):
    """The machine and versions of the run: a flat map of names to text or numbers."""

    KIND = "environment"
    values: Mapping[str, str | int | float]

    def data(self) -> dict[str, object]:
        """The map itself is the payload."""
        return dict(self.values)


@dataclass(frozen=True, kw_only=True)
class Invocation(Record):
    """An evolve process is started.

    Its completion is the ``workload`` of that id. Without a completion its outcome is unknown.
    """

    KIND = "invocation"
    workload: str
    population_size: NonNegativeInt
    generations: NonNegativeInt


@dataclass(frozen=True, kw_only=True)
class Gap(Record):
    """A period in which the harness was not running, recorded when it resumed."""

    KIND = "gap"
    begin: NonNegativeFloat
    """Time of the last event before it."""
    end: NonNegativeFloat
    reason: str


@dataclass(frozen=True, kw_only=True)
class Workload(Record):
    """One finished evolve process, however it ended."""

    KIND = "workload"
    id: str
    """Unique in the run; other events refer to it."""
    purpose: Purpose
    arm: Arm
    pair: int | None
    """Number of its speed-up pair: two workloads of one run share it."""
    seed: int
    market: str
    nodes: NonNegativeInt
    """Nodes that it ran on (1 for the local arm)."""
    workers: NonNegativeInt
    population_size: NonNegativeInt
    generations: NonNegativeInt
    """Generations planned, not those reached."""
    exit_code: int
    """Negative: ended by that signal."""
    seconds: NonNegativeFloat
    """Wall time of the evolution itself, without the start-up of the process."""
    evaluations: NonNegativeInt
    digest: str | None
    """Digest of the history as the process reported it."""
    started_at: NonNegativeFloat
    finished_at: NonNegativeFloat
    error: str | None


@dataclass(frozen=True, kw_only=True)
class Fault(Record):
    """The receipt of a fault, or of its undo, observed from outside the faulted part."""

    KIND = "fault"
    fault: str
    """``kill``, ``start``, ``pause``, ``resume``, ``partition``, ``heal`` ..."""
    target: str
    requested_at: NonNegativeFloat
    confirmed_at: NonNegativeFloat
    confirmed: bool
    before: Facts
    after: Facts
    detail: str
    workload: str | None
    """Workload that ran at the time."""


@dataclass(frozen=True, kw_only=True)
class Recovery(Record):
    """The phases of one recovery, each in seconds since the fault.

    ``None``: not observed within ``window_s`` seconds. The recovery as a whole takes as long as its
    slowest phase.
    """

    KIND = "recovery"
    workload: str
    target: str
    fault_at: NonNegativeFloat
    detected_s: NonNegativeFloat | None
    """Until the control plane reported the node dead."""
    rescheduled_s: NonNegativeFloat | None
    """Until its work was running elsewhere."""
    first_result_s: NonNegativeFloat | None
    """Until the first useful result after the fault."""
    node_back_s: NonNegativeFloat | None
    """Until the node was alive in the cluster again."""
    window_s: NonNegativeFloat

    @property
    def phases(self) -> dict[str, float | None]:
        """Phase name -> seconds since the fault."""
        return {
            "detected": self.detected_s,
            "rescheduled": self.rescheduled_s,
            "first result": self.first_result_s,
            "node back": self.node_back_s,
        }

    @property
    def total_s(self) -> float | None:
        """Seconds until every phase was over; ``None`` when one was not observed."""
        seen = [s for s in self.phases.values() if s is not None]
        return max(seen) if len(seen) == len(self.phases) else None


@dataclass(frozen=True, kw_only=True)
class Usage(Record):
    """One reading of a node's resources, from its cgroup or the sum of its processes."""

    KIND = "usage"
    node: str
    at: NonNegativeFloat
    cpu_seconds: NonNegativeFloat
    memory_bytes: NonNegativeInt
    oom_kills: NonNegativeInt
    """Counted since the node's control group was created."""
    limit_bytes: NonNegativeInt | None
    """As the kernel states it at the time of the reading; so is the quota, in cores."""
    cpus: NonNegativeFloat | None = None
    throttled_s: NonNegativeFloat | None = None
    """Seconds in which the quota kept processes from running, since the group was created."""


@dataclass(frozen=True, kw_only=True)
class Services(Record):
    """The incarnation of every service at one moment."""

    KIND = "services"
    at: NonNegativeFloat
    """Time just after the reading."""
    incarnations: Facts
    """Service (a node's name, ``head``, ``postgres`` ...) to an identity that changes with every
    start; ``null``: it is down.
    """
    excused: tuple[str, ...]
    """Services under a fault or an undo of the gate at the time, as the gate reports it."""


@dataclass(frozen=True, kw_only=True)
class CpuWindow(Record):
    """CPU time of one node while one workload was evaluating."""

    KIND = "cpu_window"
    workload: str
    node: str
    used_s: NonNegativeFloat
    """CPU seconds the node's group used."""
    allotted_s: NonNegativeFloat
    """Quota times wall time."""
    useful_s: NonNegativeFloat
    """Part of the used seconds that was spent in evaluations, as the workers report."""


@dataclass(frozen=True, kw_only=True)
class MemoryFailure(Record):
    """An out-of-memory error, from any source."""

    KIND = "memory_error"
    workload: str | None
    detail: str


@dataclass(frozen=True, kw_only=True)
class Note(Record):
    """Free text for the reader; no verdict depends on it."""

    KIND = "note"
    text: str


@dataclass(frozen=True, kw_only=True)
class Close(Record):
    """Last line: how many lines precede it."""

    KIND = "close"
    events: NonNegativeInt


RECORDS: Final[dict[str, type[Record]]] = {
    cls.KIND: cls
    for cls in (
        Open,
        Environment,
        Invocation,
        Gap,
        Workload,
        Generation,
        Fault,
        Phases,
        Recovery,
        Probe,
        Job,
        StartUp,
        Scrape,
        Usage,
        Services,
        CpuWindow,
        Audit,
        Fallback,
        Coordinator,
        Restore,
        LedgerCopy,
        Refusal,
        Individuals,
        NodeCheck,
        MemoryFailure,
        Notification,
        AlertWatch,
        Panel,
        NodePrice,
        RoundTrips,
        Survey,
        Listener,
        Search,
        Leak,
        Drain,
        Scaling,
        Load,
        ServiceRestart,
        ContainerExit,
        HarnessReading,
        MachineReading,
        DeployedTarget,
        NotRun,
        StageRun,
        GuardEvent,
        Note,
        Close,
    )
}
"""Every kind of event and the record that its payload must fit."""
_SCHEMAS: Final = {kind: Schema(cls) for kind, cls in RECORDS.items()}


def register(cls: type[Record]) -> None:
    """Register a custom kind of event, so that it can be written and read.

    Raises:
        EvidenceError: the kind is registered already, or a field has a type that evidence cannot
            hold.
    """
    there = RECORDS.get(cls.KIND)
    # A file may be loaded twice; then the newer class replaces the older one.
    if there is not None and there.__module__ != cls.__module__:
        raise EvidenceError(f"kind of event {cls.KIND!r} is registered already")
    RECORDS[cls.KIND], _SCHEMAS[cls.KIND] = cls, Schema(cls)


def unregister(cls: type[Record]) -> None:
    """Undo ``register``: evidence with this kind of event cannot be read any more."""
    del RECORDS[cls.KIND], _SCHEMAS[cls.KIND]


def parse(kind: str, data: Mapping[str, object]) -> Record:
    """Turn the payload of an event into its record.

    Raises:
        EvidenceError: unknown kind; a field is missing, unknown, or not what its type says.
    """
    cls = RECORDS.get(kind)
    if cls is None:
        raise EvidenceError(f"unknown kind of event {kind!r}; known are {', '.join(RECORDS)}")
    # The payload of the environment is the map itself.
    return _SCHEMAS[kind].read({"values": data} if cls is Environment else data)
