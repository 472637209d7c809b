"""Rules on time: the order of the file, and times inside records."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from validation.consistency.rule import TOLERANCE_S, Rule, events, kinds, quote
from validation.evidence.log import Event, Evidence
from validation.evidence.records import (
    Fault,
    Invocation,
    Recovery,
    Services,
    Usage,
    Workload,
)
from validation.evidence.records_ledger import Generation
from validation.evidence.records_monitoring import AlertWatch, Notification, Probe
from validation.evidence.records_network import Drain
from validation.evidence.records_self_check import HarnessReading, MachineReading

_WRITTEN_S: Final = 30.0
"""A reading is written at once; on a machine under load, or with a disk that hangs, later."""
_BEFORE_S: Final = 600.0
"""Alerts may come while the stack starts, before the record is opened."""
_FUTURE_S: Final = 24 * 3600.0
"""Clocks of two machines may differ by an hour or a time zone set wrongly, not by more."""


def _in_order(record: Evidence) -> Iterator[str]:
    for a, b in pairwise(record.events):
        if b.at < a.at - TOLERANCE_S:
            yield (
                f"line {b.seq + 1} ({b.kind}) is dated {a.at - b.at:.1f} s before line"
                f" {a.seq + 1} ({a.kind})"
            )


def _after_opening(record: Evidence) -> Iterator[str]:
    opened = record.opening.started_at
    if abs(record.events[0].at - opened) > TOLERANCE_S:
        yield f"line 1 is dated {record.events[0].at - opened:+.1f} s from its started_at"
    for event, work in events(record, Workload):
        if work.started_at < opened - TOLERANCE_S:
            yield f"{quote(event, 'id', 'started_at')} began before the run"
    for event, fault in events(record, Fault):
        if fault.requested_at < opened - TOLERANCE_S:
            yield f"{quote(event, 'fault', 'target', 'requested_at')} came before the run"


def _dated(record: Evidence) -> Iterator[str]:
    """A reading carries the time at which it was taken, just before its line was written."""
    readings: list[tuple[Event, float]] = [
        *((event, reading.at) for event, reading in events(record, Usage)),
        *((event, reading.at) for event, reading in events(record, Services)),
        *((event, reading.at) for event, reading in events(record, HarnessReading)),
        *((event, reading.at) for event, reading in events(record, MachineReading)),
    ]
    for event, at in readings:
        if not -TOLERANCE_S <= event.at - at <= _WRITTEN_S:
            yield f"{quote(event, 'at')} was written {event.at - at:+.1f} s later"


def _workloads(record: Evidence) -> Iterator[str]:
    for event, work in events(record, Workload):
        wall = work.finished_at - work.started_at
        if not 0 <= wall <= event.at - work.started_at + TOLERANCE_S:
            yield f"{quote(event, 'id', 'started_at', 'finished_at')} ended after it was written"
        elif work.seconds > wall + TOLERANCE_S:
            yield f"{quote(event, 'id', 'seconds')} took longer than its process, {wall:.1f} s"


def _generations(record: Evidence) -> Iterator[str]:
    """Generations follow each other within their workload; so do the seconds that they took."""
    works = {work.id: work for _, work in events(record, Workload)}
    last: dict[str, Generation] = {}
    total: dict[str, float] = {}
    for event, one in events(record, Generation):
        work = works.get(one.workload)
        if work is None:
            yield f"{quote(event, 'workload', 'generation')}: there is no such workload"
            continue
        begun = one.finished_at - one.seconds
        if begun < work.started_at - TOLERANCE_S or one.finished_at > work.finished_at + 1:
            yield f"{quote(event, 'workload', 'generation')} lies outside its workload"
        before = last.get(one.workload)
        late = before is not None and begun < before.finished_at - TOLERANCE_S
        if late and before is not None and before.generation < one.generation:
            yield f"{quote(event, 'workload', 'generation')} began before the last one ended"
        last[one.workload] = one
        total[one.workload] = total.get(one.workload, 0.0) + one.seconds
    for event, work in events(record, Workload):
        if work.id not in total or work.exit_code != 0:
            continue
        # What the engine reports as its time is its generations, the last commit, and little else.
        spare = 2 * TOLERANCE_S + 0.25 * work.seconds
        if abs(total[work.id] - work.seconds) > spare:
            yield (f"{quote(event, 'id', 'seconds')}: its generations took {total[work.id]:.2f} s")


def _faults(record: Evidence) -> Iterator[str]:
    for event, fault in events(record, Fault):
        shown = quote(event, "fault", "target", "requested_at", "confirmed_at")
        if not fault.requested_at <= fault.confirmed_at + TOLERANCE_S:
            yield f"{shown} was confirmed before it was requested"
        if not event.at - fault.confirmed_at >= -TOLERANCE_S:
            yield f"{shown} was confirmed after it was written"
    for event, recovery in events(record, Recovery):
        for name, seconds in recovery.phases.items():
            if seconds is not None and recovery.fault_at + seconds > event.at + TOLERANCE_S:
                yield f"{quote(event, 'workload', 'target')}: {name} after it was written"
    for event, drain in events(record, Drain):
        if drain.requested_at > event.at + TOLERANCE_S:
            yield f"{quote(event, 'target', 'requested_at')} was requested after it was written"


def _alerts(record: Evidence) -> Iterator[str]:
    opened = record.opening.started_at
    for event, note in events(record, Notification):
        if not opened - _BEFORE_S <= note.received_at <= event.at + TOLERANCE_S:
            yield f"{quote(event, 'alert', 'received_at')} was received outside the run"
    for event, watch in events(record, AlertWatch):
        if not watch.fault_at <= watch.until <= event.at + TOLERANCE_S:
            yield f"{quote(event, 'alert', 'fault_at', 'until')} ended outside the run"


def _latencies(record: Evidence) -> Iterator[str]:
    """A probe's answer cannot have taken longer than the time since the probe before it."""
    last: dict[str, float] = {}
    for event, probe in events(record, Probe):
        since = event.at - last.get(probe.probe, record.opening.started_at)
        if probe.latency_s > since + TOLERANCE_S:
            yield (
                f"{quote(event, 'probe', 'latency_s')}: the probe before it ended only"
                f" {since:.1f} s earlier"
            )
        last[probe.probe] = event.at


def _invocations(record: Evidence) -> Iterator[str]:
    """Each workload was announced when it began, as it was in the end."""
    begun: dict[str, tuple[float, Invocation]] = {}
    for event, invocation in events(record, Invocation):
        if invocation.workload in begun:
            yield f"{quote(event, 'workload')} was started twice"
        begun[invocation.workload] = event.at, invocation
    for event, work in events(record, Workload):
        if work.id not in begun:
            yield f"{quote(event, 'id')}: nothing says that it was started"
            continue
        at, invocation = begun[work.id]
        if abs(at - work.started_at) > _WRITTEN_S:
            off = at - work.started_at
            yield f"{quote(event, 'id', 'started_at')} was announced {off:+.1f} s later"
        for name in ("population_size", "generations"):
            if getattr(invocation, name) != getattr(work, name):
                yield f"{quote(event, 'id', name)} was started with another {name}"


RULES: Final = (
    Rule(name="lines are in the order of time", kinds=frozenset(), check=_in_order),
    Rule(
        name="nothing was done before the run was opened", kinds=frozenset(), check=_after_opening
    ),
    Rule(
        name="readings are written when they are taken",
        kinds=kinds(Usage, Services, HarnessReading, MachineReading),
        check=_dated,
    ),
    Rule(name="the times of a workload nest", kinds=kinds(Workload), check=_workloads),
    Rule(
        name="generations follow each other within their workload",
        kinds=kinds(Generation),
        check=_generations,
    ),
    Rule(name="workloads are announced", kinds=kinds(Workload, Invocation), check=_invocations),
    Rule(
        name="faults are confirmed after they are requested",
        kinds=kinds(Fault, Recovery, Drain),
        check=_faults,
    ),
    Rule(
        name="alerts are received during the run",
        kinds=kinds(Notification, AlertWatch),
        check=_alerts,
    ),
    Rule(name="probes end before the next one", kinds=kinds(Probe), check=_latencies),
)


def in_future(record: Evidence, now: float) -> Iterator[str]:
    """Whether a run lies in the future, in words.

    Args:
        now: Unix seconds.
    """
    last = record.events[-1].at
    if last > now + _FUTURE_S:
        yield f"run {record.run} is dated {(last - now) / 86400:.1f} days in the future"
