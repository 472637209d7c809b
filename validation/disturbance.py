"""Was the machine busy with something else while a time was measured?

A FAIL needs evidence that the system under test is the cause. While other programs took the cores,
or the hypervisor or a quota on the gate took them away, a time that was too long shows nothing. So
the criterion is judged once more, as if the disturbed time had not passed: a disturbed duration
lasts shorter by the disturbed seconds. A FAIL that remains stands. Otherwise it is INCONCLUSIVE.
Nothing becomes a PASS, so evidence with invented load cannot give GO.

Load of the stack's own processes, of the gate, and of the kernel does not count. Counts and
contents (lost individuals, digests, open sockets) are never changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from validation.contract import Criterion
from validation.evidence.base import Record
from validation.evidence.log import Event, Evidence
from validation.evidence.queries import overlap
from validation.evidence.records import CpuWindow, Gap, Recovery, Workload
from validation.evidence.records_ledger import Generation
from validation.evidence.records_load import Load, Scaling
from validation.evidence.records_monitoring import AlertWatch, Notification, Probe, Scrape
from validation.evidence.records_network import Drain, RoundTrips
from validation.evidence.records_self_check import MachineReading
from validation.verdict import Records, Status, Verdict, inconclusive, judge

OTHER_CORES: Final = 0.25
"""Cores of other programs from which on they disturb, while no core is free."""
FREE_CORES: Final = 1.0
"""With this many idle cores other programs take nothing from the system."""
STOLEN: Final = 0.05
"""Share of the cores that the hypervisor took, or of the time that a quota stopped the gate."""
_SHARE: Final = 0.05
"""Share of a measurement without single times from which on it is disturbed."""
_LONGEST_S: Final = 120.0
"""Between two readings further apart nothing is known."""
_MARGIN_S: Final = 2.5
"""A disturbance may have begun just after a reading that is still part of a quiet mean."""
_BEFORE_S: Final = 60.0
"""A load that was there from the first reading on may have been there for so long before."""
_ROUND_TRIPS_S: Final = 10.0
"""About as long as the round trips of one pair of nodes take, before they are written."""
_QUICK_S: Final = 1e-4
_WAIT_S: Final = 5.0
"""A request or a scrape that failed may have waited for so long before."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """Time between two readings, with means over it."""

    begin: float
    end: float
    other: float
    """Cores of other programs."""
    steal: float
    """Cores that the hypervisor took."""
    throttled: float
    """Share of the time in which a quota stopped the gate."""
    disturbed: bool


def windows(record: Evidence) -> Iterator[Window]:
    """The measured load of the machine, without impossible readings and known gaps."""
    away = [(gap.begin, gap.end) for gap in record.all(Gap)]
    for a, b in pairwise(record.all(MachineReading)):
        seconds = b.at - a.at
        if not 0 < seconds <= _LONGEST_S or overlap(a.at, b.at, away):
            continue
        busy, idle, steal = b.busy_s - a.busy_s, b.idle_s - a.idle_s, b.steal_s - a.steal_s
        own, throttled = b.own_s - a.own_s, b.throttled_s - a.throttled_s
        room = b.cores * (1.25 * seconds + 0.2)
        if min(busy, idle, steal, own, throttled) < 0 or busy + idle + steal > room:
            continue
        other = max(0.0, busy - own) / seconds
        crowded = other >= OTHER_CORES and idle / seconds < FREE_CORES
        stolen = steal / seconds >= STOLEN * b.cores or throttled / seconds >= STOLEN
        yield Window(
            begin=a.at,
            end=b.at,
            other=other,
            steal=steal / seconds,
            throttled=throttled / seconds,
            disturbed=crowded or stolen,
        )


def describe(records: Records) -> str:
    """The other load of all runs, for the self-check; empty without readings."""
    found = [window for record in records for window in windows(record)]
    if not found:
        return ""
    total = sum(one.end - one.begin for one in found)
    bad = sum(one.end - one.begin for one in found if one.disturbed)
    return (
        f"other programs used {max(one.other for one in found):.2f} cores at most, steal"
        f" {max(one.steal for one in found):.2f}; disturbed {bad:.0f} of {total:.0f} s"
    )


def open_if_disturbed(criterion: Criterion, verdict: Verdict, records: Records) -> Verdict:
    """The verdict; a FAIL that rests on disturbed times is INCONCLUSIVE."""
    if verdict.status is not Status.FAIL or not criterion.timed:
        return verdict
    load = [[one for one in windows(record) if one.disturbed] for record in records]
    if not any(load):
        return verdict
    quiet = [_without(record, bad) for record, bad in zip(records, load, strict=True)]
    if judge(criterion.verdict, quiet).status is Status.FAIL:
        return verdict
    bad = [one for found in load for one in found]
    seconds = sum(one.end - one.begin for one in bad)
    numbers = f"other programs used up to {max(one.other for one in bad):.2f} cores"
    if (steal := max(one.steal for one in bad)) > 0:
        numbers += f", the hypervisor {steal:.2f}"
    if (throttled := max(one.throttled for one in bad)) > 0:
        numbers += f", and a quota stopped the gate {throttled:.0%} of the time"
    return inconclusive(
        f"{verdict.reason}; but the machine was busy for {seconds:.0f} s: {numbers}",
        needs="a run on a machine without other load",
        measured=verdict.measured,
        interval=verdict.interval,
        budget=verdict.budget,
    )


def _without(record: Evidence, bad: Sequence[Window]) -> Evidence:
    """The evidence as if the disturbed time had not passed."""
    if not bad:
        return record
    quiet = _Quiet(record, bad)
    events = []
    for event in record.events:
        edited = quiet.edited(event)
        if edited is event.record:
            events.append(event)
        elif edited is not None:
            events.append(dataclasses.replace(event, record=edited, data=edited.data()))
    return dataclasses.replace(record, events=tuple(events))


class _Quiet:
    """Edits the records of one run."""

    def __init__(self, record: Evidence, bad: Sequence[Window]) -> None:
        self._bad: list[tuple[float, float]] = []
        first = record.all(MachineReading)[0].at
        for one in bad:
            # Nothing is known of the time before the first reading.
            begin = one.begin - (_BEFORE_S if one.begin == first else _MARGIN_S)
            if self._bad and begin <= self._bad[-1][1]:
                self._bad[-1] = (self._bad[-1][0], one.end + _MARGIN_S)
            else:
                self._bad.append((begin, one.end + _MARGIN_S))
        works = record.all(Workload)
        self._began = {work.id: work.started_at for work in works}
        pairs = {work.pair for work in works if work.pair is not None and self._is_bad(work)}
        self._dropped = {work.id for work in works if work.pair is not None and work.pair in pairs}
        self._alerts = [
            watch for watch in record.all(AlertWatch) if self._lost(watch.fault_at, watch.until) > 0
        ]

    def edited(self, event: Event) -> Record | None:
        """The record without disturbed time; None: a measurement that cannot be corrected."""
        record = event.record
        if isinstance(record, Workload | CpuWindow | Generation):
            name = record.id if isinstance(record, Workload) else record.workload
            if name in self._dropped:
                return None
        if isinstance(record, Generation):
            begin = record.finished_at - record.seconds
            return self._shortened(record, begin, record.finished_at, "seconds")
        if isinstance(record, Probe):
            return self._probe(record, event.at)
        if isinstance(record, Scrape):
            return self._scrape(record, event.at)
        if isinstance(record, Recovery):
            return self._recovery(record)
        if isinstance(record, Scaling):
            begin = self._began.get(record.workload, event.at)
            return self._shortened(record, begin, event.at, "up_s", "down_s")
        if isinstance(record, Load) and self._share(event.at - record.seconds, event.at) > _SHARE:
            return dataclasses.replace(record, reads=tuple(_QUICK_S for _ in record.reads))
        if isinstance(record, RoundTrips) and self._lost(event.at - _ROUND_TRIPS_S, event.at) > 0:
            quick = tuple(min(value, _QUICK_S) for value in record.seconds)
            return dataclasses.replace(record, seconds=quick, lost=0)
        if isinstance(record, Drain) and (lost := self._lost(record.requested_at, event.at)) > 0:
            return dataclasses.replace(record, deadline_s=record.deadline_s + lost)
        if isinstance(record, AlertWatch | Notification) and self._is_alert(record):
            return None
        return record

    def _lost(self, begin: float, end: float) -> float:
        """Disturbed seconds of a stretch."""
        return overlap(begin, end, self._bad)

    def _share(self, begin: float, end: float) -> float:
        return self._lost(begin, end) / (end - begin) if end > begin else 0.0

    def _is_bad(self, work: Workload) -> bool:
        return self._share(work.started_at, work.finished_at) > _SHARE

    def _is_alert(self, record: AlertWatch | Notification) -> bool:
        if isinstance(record, AlertWatch):
            return any(record is watch for watch in self._alerts)
        return any(
            watch.alert == record.alert and watch.target == record.target for watch in self._alerts
        )

    def _shortened(self, record: Record, begin: float, end: float, *names: str) -> Record:
        lost = self._lost(begin, end)
        if not lost:
            return record
        values = {name: getattr(record, name) for name in names}
        # What was not seen within the window might have been seen in a quiet one.
        shorter = {
            name: _QUICK_S if value is None else max(value - lost, 0.0)
            for name, value in values.items()
        }
        return dataclasses.replace(record, **shorter)

    def _probe(self, probe: Probe, at: float) -> Probe:
        lost = self._lost(at - probe.latency_s - _WAIT_S, at)
        if not lost:
            return probe
        return dataclasses.replace(probe, ok=True, latency_s=max(probe.latency_s - lost, 0.0))

    def _scrape(self, scrape: Scrape, at: float) -> Scrape:
        age = 0.0 if scrape.age_s is None else scrape.age_s
        lost = self._lost(at - age - _WAIT_S, at)
        if not lost:
            return scrape
        return dataclasses.replace(scrape, up=True, age_s=max(age - lost, 0.0))

    def _recovery(self, recovery: Recovery) -> Recovery:
        begin = recovery.fault_at
        if not self._lost(begin, begin + recovery.window_s):
            return recovery

        def shorter(value: float | None) -> float | None:
            seconds = recovery.window_s if value is None else value
            lost = self._lost(begin, begin + seconds)
            return max(seconds - lost, _QUICK_S) if lost else value

        return dataclasses.replace(
            recovery,
            detected_s=shorter(recovery.detected_s),
            rescheduled_s=shorter(recovery.rescheduled_s),
            first_result_s=shorter(recovery.first_result_s),
            node_back_s=shorter(recovery.node_back_s),
        )
