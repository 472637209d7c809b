"""Questions that several checkers ask of one record."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from evolution_gate.fixtures.protocols import SERVICES
from validation.evidence.log import Evidence
from validation.evidence.outages import LONGEST_GAP_S
from validation.evidence.records import Fault, Gap, Workload
from validation.verdict import InconclusiveError

ATTACHED: Final = "attached"
"""Backend of a run on a cluster that others started."""
HEAD: Final = "head"
"""Name of the head node in usage and scrape events."""
_RETURN_S: Final = 60.0
"""After a fault was undone, a service may need this long until it answers again."""
_DOWN: Final = frozenset({"kill", "stop", "drain", "pause", "partition", "one_way"})
_UNDO: Final = {
    "kill": "start",
    "stop": "start",
    "drain": "start",
    "pause": "resume",
    "partition": "heal",
    "one_way": "mend",
}


def workloads(record: Evidence) -> dict[str, Workload]:
    """Workloads of a run by id.

    Raises:
        InconclusiveError: two have the same id, so that other events cannot be told apart.
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
        raise InconclusiveError(f"{said_by} of workload {name}, which the record does not hold")
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


def is_excused(record: Evidence, targets: Iterable[str], at: float) -> bool:
    """Whether a confirmed receipt shows one of the targets down (or coming back) at a moment."""
    names = set(targets)
    receipts = [f for f in record.all(Fault) if f.confirmed and f.target in names]
    for down in receipts:
        if down.fault not in _DOWN or down.requested_at > at:
            continue
        undone = [
            undo.confirmed_at
            for undo in receipts
            if undo.fault == _UNDO[down.fault] and undo.confirmed_at >= down.requested_at
        ]
        # A kill ends a pause or a partition too: only its own undo is waited for, or a start.
        undone += [
            undo.confirmed_at
            for undo in receipts
            if undo.fault == "start" and undo.confirmed_at >= down.requested_at
        ]
        if not undone or at <= min(undone) + _RETURN_S:
            return True
    return False


def used_cluster(workload: Workload) -> bool:
    """Whether a workload used the stack's cluster, and had it to the end."""
    return workload.arm == "distributed" and workload.purpose not in ("rollback", "autoscaling")


def active_window(record: Evidence) -> tuple[float, float] | None:
    """From the start of the first to the end of the last distributed workload, those left out
    whose cluster is to be lost."""
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
    """A stretch that a watcher passed over in silence, in words.

    Args:
        hours: From when to when it was to watch; None: all through the distributed work.
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
    """How much of a time lies in any of some stretches that do not overlap each other."""
    return math.fsum(max(0.0, min(end, b) - max(begin, a)) for a, b in stretches)
