"""Can the measurements be trusted? CPU of the gate, clocks, Prometheus, load generator, receipts.

Not a criterion: a PASS that depends on an untrusted source becomes INCONCLUSIVE. It never causes a
FAIL. Only the other load of the machine withdraws one, see ``validation.disturbance``.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from validation.contract import (
    CLOCK,
    HARNESS_CPU,
    LOAD_GENERATOR,
    MACHINE,
    PROMETHEUS,
    RECEIPTS,
    SCRAPE_GAPS,
    Criterion,
)
from validation.disturbance import describe
from validation.evidence.log import Evidence
from validation.evidence.queries import (
    DEPLOYED,
    HEAD,
    is_excused,
    longest_gap,
    used_cluster,
    was_repeated,
)
from validation.evidence.records import Fault, Services, Workload
from validation.evidence.records_load import Load
from validation.evidence.records_monitoring import Probe, Scrape
from validation.evidence.records_self_check import HarnessReading
from validation.harness_readings import impossible_cpu, impossible_silence, pairs
from validation.limits import FRESH_S, SATURATED
from validation.verdict import Records, Verdict, downgrade, format_list, plural

OVERHEAD: Final = 0.02
"""Intended maximum share of a core for the harness while it measures."""
HEAVY: Final = 0.10
"""Share of a core from which the harness disturbs what it measures."""
STEP_S: Final = 1.0
"""Largest difference between the clocks' advance; above it one was set or stopped."""
MEASURED_S: Final = 10.0
"""Share of the work for which the harness' CPU time must be known."""
_SAMPLE_S: Final = 5.0
"""Seconds after a node's end from which a sample cannot show it as up."""
_KNOWS_S: Final = 20.0
"""Seconds after a node's end until Prometheus must show it as down: interval, time-out and
reserve.
"""
_SETTLED_S: Final = 30.0
"""Seconds from a node's start until its exporter must be scraped."""
_NEAR_S: Final = 60.0
"""Seconds for which the last independent observation of a node is valid."""
_UNKNOWN: Final = "being started"


@dataclass(frozen=True, kw_only=True)
class EvidenceSource:
    """A source of evidence that verdicts depend on."""

    source: str
    measured: str
    doubts: tuple[str, ...]
    """Why it is untrusted; empty if it is trusted."""
    criteria: tuple[str, ...]
    """Ids of the criteria that depend on it."""


_Found: TypeAlias = tuple[str, list[str]]
"""A check of one source: returns the measurement and the doubts."""
_Check: TypeAlias = Callable[[Records], _Found]


def assess_sources(records: Records, criteria: Sequence[Criterion]) -> tuple[EvidenceSource, ...]:
    """Every source, trusted or not. A check that raises makes its source untrusted."""
    return tuple(
        _aspect(source, check, tuple(c.id for c in criteria if _rests(c, source, records)), records)
        for source, check in _SOURCES.items()
    )


def _rests(criterion: Criterion, source: str, records: Records) -> bool:
    if source == MACHINE:
        return criterion.timed
    if source not in criterion.trusts:
        return False
    unconfirmed = any(not f.confirmed for record in records for f in record.all(Fault))
    if source != RECEIPTS or not unconfirmed or criterion.id not in _USES:
        return True
    return any(
        _USES[criterion.id](fault, _purpose(record, fault))
        for record in records
        for fault in record.all(Fault)
        if not fault.confirmed and not (criterion.id in _REPEATABLE and was_repeated(record, fault))
    )


def _purpose(record: Evidence, fault: Fault) -> str | None:
    """Purpose of the workload during which a fault was injected; empty if that is not known."""
    if fault.workload is None:
        return None
    return next((w.purpose for w in record.all(Workload) if w.id == fault.workload), "")


def downgrade_untrusted(
    criterion: Criterion, verdict: Verdict, aspects: Sequence[EvidenceSource]
) -> Verdict:
    """The verdict; a PASS that depends on an untrusted source becomes INCONCLUSIVE.

    A FAIL is not changed: otherwise disturbing the monitoring would hide a NO-GO.
    """
    doubts = [
        f"{aspect.source}: {format_list(aspect.doubts)}"
        for aspect in aspects
        if aspect.doubts and aspect.source in criterion.trusts and criterion.id in aspect.criteria
    ]
    return downgrade(verdict, doubts, needs="a run whose measurements can be trusted")


def distrust_reasons(aspects: Sequence[EvidenceSource]) -> list[str]:
    """A line for every untrusted source: the reason, and the criteria that are left
    INCONCLUSIVE.
    """
    return [
        f"{aspect.source}: {format_list(aspect.doubts)}. Not trusted for"
        f" {', '.join(aspect.criteria)}"
        for aspect in aspects
        if aspect.doubts
    ]


def _aspect(
    source: str, check: _Check, criteria: tuple[str, ...], records: Records
) -> EvidenceSource:
    try:
        measured, doubts = check(records)
    except Exception as error:
        measured, doubts = "", [f"the self-check failed: {type(error).__name__}: {error}"]
    # Equal doubts about several readings are reported once.
    unique = tuple(dict.fromkeys(doubts))
    return EvidenceSource(source=source, measured=measured, doubts=unique, criteria=criteria)


def _cpu(records: Records) -> _Found:
    """The harness' CPU time while workloads on the stack and their local arms ran."""
    doubts: list[str] = []
    said: list[str] = []
    for record in records:
        doubts += [*_silent(record), *impossible_cpu(record)]
        work = sorted(
            (w.started_at, w.finished_at)
            for w in record.all(Workload)
            if used_cluster(w) or w.purpose == "speedup"
        )
        used = looked = seconds = 0.0
        for a, b in pairs(record):
            place = bisect_right(work, (a.at, math.inf)) - 1
            if place >= 0 and b.at <= work[place][1]:
                used += b.harness_cpu_s - a.harness_cpu_s
                looked += max(b.watch_cpu_s - a.watch_cpu_s, 0.0)
                seconds += b.monotonic_s - a.monotonic_s
        if seconds < MEASURED_S:
            if work and record.all(HarnessReading):
                doubts.append(f"known only for {seconds:.0f} s of the work (run {record.run})")
            continue
        share = used / seconds
        said.append(
            f"{share:.1%} of a core while work ran, {looked / seconds:.1%} for monitoring "
            f"(intended maximum: {OVERHEAD:.0%})"
        )
        if not 0 <= share <= HEAVY:
            doubts.append(f"the harness itself used {share:.0%} of a core (run {record.run})")
    return format_list(said), doubts


def _clock(records: Records) -> _Found:
    """Compare the wall clock, which dates all events, with the monotonic clock."""
    doubts: list[str] = []
    worst, count = 0.0, 0
    for record in records:
        doubts += _silent(record)
        for a, b in pairs(record):
            step = (b.at - a.at) - (b.monotonic_s - a.monotonic_s)
            worst, count = max(worst, abs(step)), count + 1
            if not abs(step) <= STEP_S:
                doubts.append(f"the clock jumped by {step:+.1f} s (run {record.run})")
    return (f"within {1000 * worst:.0f} ms at {plural(count, 'step')}" if count else ""), doubts


def _scrapes(records: Records) -> _Found:
    """The time between Prometheus' own samples, for every target."""
    doubts: list[str] = []
    worst = 0.0
    targets: set[str] = set()
    for record in records:
        doubts += [*_silent(record), *impossible_silence(record)]
        asked = {scrape.target for scrape in record.all(Scrape)}
        if not asked:
            doubts.append(f"Prometheus was not queried (run {record.run})")
        known: set[str] = set()
        for reading in record.all(HarnessReading):
            for target, silence in reading.silence_s.items():
                known.add(target)
                if not isinstance(silence, int | float) or not math.isfinite(silence):
                    doubts.append(f"{target}: {silence!r} s without a sample (run {record.run})")
                elif silence <= FRESH_S:
                    worst = max(worst, silence)
                elif not is_excused(record, _silenced_by(record, target), reading.at):
                    worst = max(worst, silence)
                    doubts.append(f"no sample of {target} for {silence:.0f} s (run {record.run})")
        if record.all(HarnessReading):
            doubts += [f"no sample of {name} (run {record.run})" for name in sorted(asked - known)]
        targets |= known
    return (f"longest {worst:.1f} s of {plural(len(targets), 'target')}" if targets else ""), doubts


def _silenced_by(record: Evidence, target: str) -> tuple[str, ...]:
    """What may be down when a target has no sample: in a deployed project also the node itself and
    the head, because the head lists its living nodes to Prometheus.
    """
    deployed = record.opening.backend in DEPLOYED
    return ("prometheus", target, HEAD) if deployed else ("prometheus",)


def _prometheus(records: Records) -> _Found:
    """Compare Prometheus' view of each node with the node's process and with receipts."""
    doubts: list[str] = []
    compared = 0
    for record in records:
        ours = {name for reading in record.all(Services) for name in reading.incarnations}
        said: dict[str, list[tuple[float, Scrape]]] = {}
        for event in record.of(Scrape.KIND):
            if isinstance(event.record, Scrape):
                said.setdefault(event.record.target, []).append((event.at, event.record))
        if not ours & said.keys():
            doubts.append(f"no node to compare (run {record.run})")
        for target in sorted(ours & said.keys()):
            count, found = _compared(record, target, said[target])
            compared += count
            doubts += [f"{words} (run {record.run})" for words in found]
            if not count:
                doubts.append(f"no other source shows whether {target} was up (run {record.run})")
    return f"{plural(compared, 'reading')} of nodes compared" if compared else "", doubts


def _compared(
    record: Evidence, target: str, said: Sequence[tuple[float, Scrape]]
) -> tuple[int, list[str]]:
    """Number of compared readings of a target, and the contradictions."""
    stretches = _stretches(record, target)
    begins = [begin for begin, _, _ in stretches]
    count = 0
    found: list[str] = []
    wrong_since: float | None = None
    for at, scrape in said:
        place = bisect_right(begins, at) - 1
        begin, last, incarnation = stretches[place] if place >= 0 else (at, at, _UNKNOWN)
        if incarnation == _UNKNOWN or at - last > _NEAR_S or scrape.age_s is None:
            wrong_since = None
            continue
        count += 1
        sampled = at - scrape.age_s
        if incarnation is None:
            wrong_since = None
            if scrape.up and (sampled >= begin + _SAMPLE_S or at >= begin + _KNOWS_S):
                found.append(f"{target} was up in Prometheus, but its process had ended")
            continue
        wrong = not scrape.up and sampled >= begin + _SETTLED_S
        if not wrong or is_excused(record, (target,), at):
            wrong_since = None
            continue
        wrong_since = at if wrong_since is None else wrong_since
        if at - wrong_since >= FRESH_S:
            found.append(f"{target} was down in Prometheus while its process ran")
    return count, found


def _stretches(record: Evidence, target: str) -> list[tuple[float, float, object]]:
    """Begin, last reading and incarnation (None: gone) of every segment of a node's life."""
    faults = [f for f in record.all(Fault) if f.target == target]
    # Until a start is confirmed, the exporter may be up before the node, or the reverse.
    kills = [(f.requested_at, f.confirmed_at) for f in faults if f.fault == "kill" and f.confirmed]
    # A replacement by something else than the gate is due from the kill on: the kill comes first.
    starts = [
        (max([f.requested_at, *(end for at, end in kills if at <= f.requested_at)]), f.confirmed_at)
        for f in faults
        if f.fault == "start"
    ]
    words: list[tuple[float, object]] = [
        *(
            (reading.at, reading.incarnations[target])
            for reading in record.all(Services)
            if target in reading.incarnations
            and not any(begin <= reading.at <= end for begin, end in starts)
        ),
        *((end, None) for _, end in kills),
        *((begin, _UNKNOWN) for begin, _ in starts),
    ]
    found: list[tuple[float, float, object]] = []
    for at, incarnation in sorted(words, key=lambda word: word[0]):
        if found and found[-1][2] == incarnation:
            found[-1] = (found[-1][0], at, incarnation)
        else:
            found.append((at, at, incarnation))
    return found


def _generator(records: Records) -> _Found:
    """The load generator, which must not be the bottleneck."""
    loads = [(record.run, load) for record in records for load in record.all(Load)]
    doubts = [
        f"used {load.generator_share:.0%} of a core (run {run})"
        for run, load in loads
        if not load.generator_share <= SATURATED
    ]
    most = max((load.generator_share for _, load in loads), default=0.0)
    return (f"{most:.0%} of a core (at most {SATURATED:.0%})" if loads else ""), doubts


def _receipts(records: Records) -> _Found:
    """Every fault and every undo must be confirmed from outside."""
    faults = [(record.run, fault) for record in records for fault in record.all(Fault)]
    doubts = [
        f"{fault.fault} of {fault.target} has no receipt (run {run})"
        for run, fault in faults
        if not fault.confirmed
    ]
    return (f"{plural(len(faults), 'fault')} or undo" if faults else ""), doubts


def _machine(records: Records) -> _Found:
    """The load of other programs. It raises no doubt about a PASS."""
    return describe(records) or "not measured: a FAIL stands", []


def _silent(record: Evidence) -> list[str]:
    """Describe gaps in the harness monitor's readings; empty if there are none."""
    times = [reading.at for reading in record.all(HarnessReading)]
    if len(times) < 2:
        # A single reading cannot show that a clock advances or CPU time is used.
        said = "one reading only" if times else "no reading"
        return [f"the harness monitor wrote {said} (run {record.run})"]
    seen = [event.at for event in record.of(Probe.KIND)]
    work = record.all(Workload)
    begin = min([*(w.started_at for w in work), *seen], default=times[0])
    end = max([*(w.finished_at for w in work), *seen], default=times[-1])
    unwatched = longest_gap(record, times, "the harness monitor", hours=(begin, end))
    return [unwatched] if unwatched else []


_USES: Final[dict[str, Callable[[Fault, str | None], bool]]] = {
    "alerting": lambda _, purpose: purpose in (None, ""),
    # A notice ends no process.
    "container_stability": lambda fault, _: fault.fault != "drain",
    "no_data_loss": lambda _, purpose: purpose in ("recovery", "reproducibility", ""),
    "preemption": lambda _, purpose: purpose in ("preemption", ""),
    "reproducibility": lambda _, purpose: purpose in ("recovery", "reproducibility", ""),
    "rollback": lambda _, purpose: purpose in ("rollback", ""),
    "worker_recovery": lambda _, purpose: purpose in ("recovery", ""),
}
"""Criterion to whether it rests on a fault, by the purpose of the fault's workload (None: without
one, empty: unknown). Any other criterion that trusts receipts rests on all of them.
"""
_REPEATABLE: Final = frozenset({"no_data_loss", "preemption", "reproducibility", "worker_recovery"})
"""Criteria that need a confirmed fault, and none for which each fault must be confirmed: those that
judge outages would take the effects of such a fault for a failure, or the reverse.
"""
_SOURCES: Final[dict[str, _Check]] = {
    HARNESS_CPU: _cpu,
    CLOCK: _clock,
    SCRAPE_GAPS: _scrapes,
    PROMETHEUS: _prometheus,
    LOAD_GENERATOR: _generator,
    RECEIPTS: _receipts,
    MACHINE: _machine,
}
