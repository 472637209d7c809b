"""Query helpers over one record that several criteria share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from evolution_gate.fixtures.protocols import SERVICES
from validation.evidence.log import Evidence
from validation.evidence.outages import LONGEST_GAP_S
from validation.evidence.records import Fault, Gap, Workload
from validation.verdict import InconclusiveError

ATTACHED: Final = "attached"
"""Backend of a run on an attached cluster."""
COMPOSE: Final = "compose"
"""Backend of a run on a Compose project that a team deployed."""
KUBERNETES: Final = "kubernetes"
"""Backend of a run on a RayCluster that a team deployed."""
BY_GATE: Final = "the gate itself"
BY_DOCKER: Final = "Docker's restart policy"
BY_OPERATOR: Final = "the KubeRay operator"
DEPLOYED: Final[Mapping[str, str]] = MappingProxyType({COMPOSE: BY_DOCKER, KUBERNETES: BY_OPERATOR})
"""Backends of systems that a team deployed, and what replaces their killed nodes."""
OWN_STACKS: Final = frozenset({"processes", "containers"})
"""Backends of stacks that the gate started, and whose parts it therefore knows."""
HEAD: Final = "head"
"""Name of the head node in usage and scrape events."""
_RETURN_S: Final = 60.0
"""Seconds that a service may need to answer again after a fault was undone."""
_DOWN: Final = frozenset({"kill", "stop", "drain", "pause", "partition", "one_way"})
_UNDO: Final = {
    "kill": "start",
    "stop": "start",
    "drain": "start",
    "pause": "resume",
    "partition": "heal",
    "one_way": "mend",
}


def replaced_by(records: Iterable[Evidence]) -> str:
    """What started killed nodes again in some runs."""
    found = {DEPLOYED.get(record.opening.backend, BY_GATE) for record in records}
    return found.pop() if len(found) == 1 else BY_GATE


def workloads(record: Evidence) -> dict[str, Workload]:
    """Workloads of a run by id.

    Raises:
        InconclusiveError: two have the same id, so other events are ambiguous.
    """
    found: dict[str, Workload] = {}
    for workload in record.all(Workload):
        if workload.id in found:
            raise InconclusiveError(f"run {record.run}: two workloads are called {workload.id}")
        found[workload.id] = workload
    return found


def workload_of(known: dict[str, Workload], name: str, *, said_by: str) -> Workload:
    """The workload that an event refers to.

    Raises:
        InconclusiveError: it is not in the record.
    """
    if name not in known:
        raise InconclusiveError(f"{said_by} of workload {name}, which is not in the record")
    return known[name]


def killed_during(record: Evidence, workload: Workload) -> bool:
    """Whether a confirmed receipt shows a kill while the workload ran."""
    return any(
        fault.fault == "kill"
        and fault.target not in SERVICES
        and fault.confirmed
        and fault.workload == workload.id
        and workload.started_at <= fault.requested_at <= workload.finished_at
        for fault in record.all(Fault)
    )


def was_repeated(record: Evidence, fault: Fault) -> bool:
    """Whether a fault that was not confirmed was tried again, and then confirmed: in a later
    workload of the same purpose.
    """
    if fault.confirmed:
        return False
    purposes = {workload.id: workload.purpose for workload in record.all(Workload)}
    own = purposes.get(fault.workload or "")
    return own is not None and any(
        later.confirmed
        and later.fault == fault.fault
        and later.workload != fault.workload
        and later.requested_at > fault.confirmed_at
        and purposes.get(later.workload or "") == own
        for later in record.all(Fault)
    )


def is_excused(record: Evidence, targets: Iterable[str], at: float) -> bool:
    """Whether a confirmed receipt shows one of the targets down (or coming back) at a moment."""
    return explained(record.all(Fault), targets, at)


def explained(faults: Iterable[Fault], targets: Iterable[str], at: float) -> bool:
    """As ``is_excused``, by some faults."""
    names = set(targets)
    receipts = [f for f in faults if f.confirmed and f.target in names]
    for down in receipts:
        if down.fault not in _DOWN or down.requested_at > at:
            continue
        undone = [
            undo.confirmed_at
            for undo in receipts
            if undo.fault == _UNDO[down.fault] and undo.confirmed_at >= down.requested_at
        ]
        # A kill also ends a pause or a partition, so a start counts as its undo, too.
        undone += [
            undo.confirmed_at
            for undo in receipts
            if undo.fault == "start" and undo.confirmed_at >= down.requested_at
        ]
        if not undone or at <= min(undone) + _RETURN_S:
            return True
    return False


def used_cluster(workload: Workload) -> bool:
    """Whether a workload used the stack's cluster until its end."""
    return workload.arm == "distributed" and workload.purpose not in ("rollback", "autoscaling")


def active_window(record: Evidence) -> tuple[float, float] | None:
    """From the start of the first to the end of the last distributed workload, without those whose
    cluster is killed on purpose.
    """
    work = [w for w in record.all(Workload) if used_cluster(w)]
    if not work:
        return None
    return min(w.started_at for w in work), max(w.finished_at for w in work)


def longest_gap(
    record: Evidence,
    times: Sequence[float],
    watcher: str,
    *,
    hours: tuple[float, float] | None = None,
) -> str | None:
    """Describe the longest monitoring gap; None if it is within the tolerance.

    Args:
        hours: Begin and end of the monitoring; None: the whole of the distributed work.
    """
    hours = hours or active_window(record)
    if hours is None or not times:
        return None
    begin, end = hours
    marks = sorted([begin, *(t for t in times if begin <= t <= end), end])
    known = [(absent.begin, absent.end) for absent in record.all(Gap)]
    longest = max(b - a - overlap(a, b, known) for a, b in pairwise(marks))
    if longest <= LONGEST_GAP_S:
        return None
    return f"{watcher} left {longest:.0f} s of the work unwatched (run {record.run})"


def overlap(begin: float, end: float, stretches: Iterable[tuple[float, float]]) -> float:
    """Length of the part of a time window that lies within some disjoint stretches."""
    return math.fsum(max(0.0, min(end, b) - max(begin, a)) for a, b in stretches)
