"""What one line of evidence may say: a typed, frozen record per kind of event.

The payload of an event is a flat JSON object whose keys are exactly the fields of its record.
``parse`` refuses a missing, unknown, ill-typed or impossible field with an ``EvidenceError`` that
names it, so that a verdict never has to guess. Times are Unix seconds, durations seconds, memory
bytes. ``| None`` means "not known", and is written as ``null``: a field is never left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from validation.errors import EvidenceError
from validation.fields import Facts, checks_of, fact
from validation.record import Record
from validation.records_faults import Phases
from validation.records_load import Load, Scaling, ServiceRestart
from validation.records_network import Drain, Leak, Listener, RoundTrips, Search, Survey
from validation.records_observer import Died, Observer

SCHEMA_VERSION: Final = 1


Purpose = Literal[
    "speedup",
    "recovery",
    "population",
    "reproducibility",
    "rollback",
    "preemption",
    "autoscaling",
]
Arm = Literal["local", "distributed"]
Via = Literal["prometheus", "grafana"]


@dataclass(frozen=True, kw_only=True)
class Open(Record):
    """First line of every file: which run this is and how to repeat it."""

    KIND = "open"
    run: str
    """Name of the run, unique among the files that are pooled."""
    seed: int
    schema: int
    backend: str
    """``processes`` or ``containers``."""
    nodes: int
    """Worker nodes of the stack, the head not counted."""
    cpus_per_node: float
    """CPU quota of one node, cores."""
    replay: str
    """Shell command that repeats the run."""
    started_at: float


@dataclass(frozen=True, kw_only=True)
class Environment(Record):
    """Where the run took place: a flat map of names to text or numbers."""

    KIND = "environment"
    values: Mapping[str, str | int | float]

    def data(self) -> dict[str, object]:
        """The map itself is the payload."""
        return dict(self.values)


@dataclass(frozen=True, kw_only=True)
class Invocation(Record):
    """An evolve process is started.

    Its completion is the ``workload`` of that id. Without one its outcome is unknown.
    """

    KIND = "invocation"
    workload: str
    population_size: int
    generations: int


@dataclass(frozen=True, kw_only=True)
class Gap(Record):
    """A stretch of time in which the harness was not there, found when it came back."""

    KIND = "gap"
    begin: float
    """The last that it wrote before."""
    end: float
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
    """Speed-up pair that it belongs to: two workloads of one run share a number."""
    seed: int
    market: str
    nodes: int
    """Nodes that it was spread over (1 for the local arm)."""
    workers: int
    population_size: int
    generations: int
    """Generations planned, not those reached."""
    exit_code: int
    """Negative: ended by that signal."""
    seconds: float
    """Wall time of the evolution itself, start-up of the process not counted."""
    evaluations: int
    digest: str | None
    """Digest of the history as the process reported it."""
    started_at: float
    finished_at: float
    error: str | None


@dataclass(frozen=True, kw_only=True)
class Generation(Record):
    """One generation that the ledger shows committed."""

    KIND = "generation"
    workload: str
    generation: int
    """Counted from 0 or 1; only distinct numbers are counted."""
    seconds: float
    individuals: int
    failed: int
    """Individuals whose evaluation ended in an error."""
    finished_at: float


@dataclass(frozen=True, kw_only=True)
class Fault(Record):
    """The receipt of a fault, or of its undo, observed from outside the faulted part."""

    KIND = "fault"
    fault: str
    """``kill``, ``start``, ``pause``, ``resume``, ``partition``, ``heal`` ..."""
    target: str
    requested_at: float
    confirmed_at: float
    confirmed: bool
    before: Facts
    after: Facts
    detail: str
    workload: str | None
    """Workload that ran at the time."""


@dataclass(frozen=True, kw_only=True)
class Recovery(Record):
    """The phases of one recovery, each in seconds since the fault.

    ``None``: not seen within ``window_s`` seconds of watching. The recovery as a whole takes as
    long as its slowest phase.
    """

    KIND = "recovery"
    workload: str
    target: str
    fault_at: float
    detected_s: float | None
    """Until the control plane reported the node dead."""
    rescheduled_s: float | None
    """Until its work was running elsewhere."""
    first_result_s: float | None
    """Until the first useful result after the fault."""
    node_back_s: float | None
    """Until the node was alive in the cluster again."""
    window_s: float

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
        """Seconds until every phase was over; ``None`` when one was never seen."""
        seen = [s for s in self.phases.values() if s is not None]
        return max(seen) if len(seen) == len(self.phases) else None


@dataclass(frozen=True, kw_only=True)
class Probe(Record):
    """One request to a service, made from outside."""

    KIND = "probe"
    probe: str
    """``dashboard``, ``alertmanager``, ``prometheus``, ``grafana``: it answers. ``cluster``: the
    GCS answers and has a worker node alive."""
    ok: bool
    latency_s: float
    detail: str
    excused: bool
    """Inside an announced outage of that very service."""


@dataclass(frozen=True, kw_only=True)
class Scrape(Record):
    """What Prometheus knew about one target at one moment."""

    KIND = "scrape"
    target: str
    """Name of a node as in ``usage``, or ``head``."""
    up: bool
    age_s: float | None
    """Age of its newest sample; ``None``: it has none."""
    excused: bool
    """The node was down by a receipt of ours."""


@dataclass(frozen=True, kw_only=True)
class Usage(Record):
    """One reading of a node's resources, from its cgroup or the sum of its processes."""

    KIND = "usage"
    node: str
    at: float
    cpu_seconds: float
    memory_bytes: int
    oom_kills: int
    """Counted since the node's group was made."""
    limit_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Services(Record):
    """Which incarnation of every service ran at one moment."""

    KIND = "services"
    at: float
    """Just after the reading."""
    incarnations: Facts
    """Service (a node's name, ``head``, ``postgres`` ...) to what changes whenever it is started
    anew; ``null``: it is down."""
    excused: tuple[str, ...]
    """Services that the gate was breaking or mending at the time, as it says itself."""


@dataclass(frozen=True, kw_only=True)
class CpuWindow(Record):
    """CPU time of one node while one workload was evaluating."""

    KIND = "cpu_window"
    workload: str
    node: str
    used_s: float
    """CPU seconds the node's group used."""
    allotted_s: float
    """Quota times wall time."""
    useful_s: float
    """Of those used, spent inside evaluations, as workers report."""


@dataclass(frozen=True, kw_only=True)
class Audit(Record):
    """The ledger of one workload, counted against what was asked for."""

    KIND = "audit"
    workload: str
    expected: int
    """Individuals that the workload should have committed."""
    committed: int
    lost: int
    doubled: int
    failed: int
    witnesses: tuple[str, ...]
    """Names of individuals that are wrong, with the reason."""
    digest: str | None
    """Digest as stored."""
    recomputed_digest: str | None
    """The same digest computed anew from the ledger's rows."""
    sampled: int
    """Evaluations repeated independently."""
    mismatched: int
    """Of those, how many gave another result."""


@dataclass(frozen=True, kw_only=True)
class Fallback(Record):
    """How often a workload went on on this machine because the cluster was lost."""

    KIND = "fallback"
    workload: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Restore(Record):
    """A backup of the ledger, read back into an empty one of another kind or place."""

    KIND = "restore"
    workload: str
    """The run that is compared."""
    while_running: bool
    """The backup was taken, from its first to its last row, while the run was going on."""
    generation: int
    """The last one in the backup."""
    digest_before: str | None
    """Of that generation, in the ledger that was backed up."""
    digest_after: str | None
    """The same, recomputed from the restored rows."""
    individuals_before: int
    """Up to that generation, in the ledger that was backed up."""
    individuals_after: int
    damaged_refused: bool
    """The same file with one byte changed was refused, and nothing of it was kept."""


@dataclass(frozen=True, kw_only=True)
class Refusal(Record):
    """What the engine's command line did with one bad input."""

    KIND = "refusal"
    input: str
    """Which kind of bad input."""
    exit_code: int
    message: str
    """All that it wrote on stderr."""
    must_name: str
    """What the message must speak of: the file, row, column or option at fault."""
    ledger_changed: bool


@dataclass(frozen=True, kw_only=True)
class Individuals(Record):
    """Every individual of one generation as the ledger held it after its workload had ended.

    Places are indices in the generation, written as ranges: ``0-4,7``.
    """

    KIND = "individuals"
    workload: str
    generation: int
    acknowledged: bool
    """The process had said that this generation was committed."""
    found: str
    """Places with an individual and its evaluation."""
    again: str
    """Places held more than once; a place held three times is written twice."""


@dataclass(frozen=True, kw_only=True)
class MemoryFailure(Record):
    """An out-of-memory error that was seen anywhere."""

    KIND = "memory_error"
    workload: str | None
    detail: str


@dataclass(frozen=True, kw_only=True)
class Notification(Record):
    """One alert in a message that Alertmanager posted to the gate's webhook."""

    KIND = "notification"
    alert: str
    target: str
    """Its label ``node``; empty when it has none."""
    firing: bool
    """False: it is resolved."""
    received_at: float


@dataclass(frozen=True, kw_only=True)
class AlertWatch(Record):
    """A node was killed to see its alert fire, and started again to see it clear."""

    KIND = "alert_watch"
    alert: str
    target: str
    fault_at: float
    until: float
    """When the gate stopped waiting."""


@dataclass(frozen=True, kw_only=True)
class Panel(Record):
    """One query of a dashboard's panel, asked over the time of the gate's work."""

    KIND = "panel"
    dashboard: str
    panel: str
    query: str
    via: Via
    """Who was asked."""
    points: int
    """Finite values in the answer; 0 when there was none."""
    detail: str
    """Why there is no answer; empty when there is."""
    of: int
    """Queries of all panels of all dashboards together."""


@dataclass(frozen=True, kw_only=True)
class NodePrice(Record):
    """What a machine in the cloud costs, and what of its speed is assumed. Dollars (US) an hour."""

    KIND = "node_price"
    instance: str
    region: str
    vcpus: int
    on_demand: float
    spot: float
    """The highest of the region's zones."""
    heads: int
    """Machines beside the worker nodes."""
    factor_low: float
    """Assumed: what takes a second of a core here takes at least so many of a vCPU."""
    factor: float
    """Taken."""
    factor_high: float
    """At most."""
    as_of: str
    """ISO date at which the source was read."""
    source: str


@dataclass(frozen=True, kw_only=True)
class Note(Record):
    """Free text for the reader; no verdict depends on it."""

    KIND = "note"
    text: str


@dataclass(frozen=True, kw_only=True)
class Close(Record):
    """Last line: how many lines precede it."""

    KIND = "close"
    events: int


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
        Scrape,
        Usage,
        Services,
        CpuWindow,
        Audit,
        Fallback,
        Restore,
        Refusal,
        Individuals,
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
        Died,
        Observer,
        Note,
        Close,
    )
}
"""Every kind of event and the record that its payload must fit."""
_CHECKS: Final = {kind: checks_of(cls) for kind, cls in RECORDS.items()}


def register(cls: type[Record]) -> None:
    """Let a kind of event of somebody's own be written and read.

    Raises:
        EvidenceError: there is another record of that kind.
    """
    there = RECORDS.get(cls.KIND)
    # A file may be read twice; then the newer class stands for it.
    if there is not None and there.__module__ != cls.__module__:
        raise EvidenceError(f"there is a kind of event {cls.KIND!r} already")
    RECORDS[cls.KIND], _CHECKS[cls.KIND] = cls, checks_of(cls)


def parse(kind: str, data: Mapping[str, object]) -> Record:
    """Turn the payload of an event into its record.

    Raises:
        EvidenceError: unknown kind; a field is missing, unknown, of the wrong type, not finite, or
            negative where that is impossible.
    """
    cls = RECORDS.get(kind)
    if cls is None:
        raise EvidenceError(f"unknown kind of event {kind!r}; known are {', '.join(RECORDS)}")
    if cls is Environment:
        return Environment(values={k: fact(k, v) for k, v in data.items()})
    checks = _CHECKS[kind]
    if data.keys() != checks.keys():
        if missing := sorted(checks.keys() - data.keys()):
            raise EvidenceError(f"{kind}: missing {', '.join(missing)}")
        unknown = ", ".join(sorted(data.keys() - checks.keys()))
        raise EvidenceError(f"{kind}: unknown field {unknown}")
    try:
        return cls(**{name: check(name, data[name]) for name, check in checks.items()})
    except EvidenceError as error:
        raise EvidenceError(f"{kind}: {error}") from None
