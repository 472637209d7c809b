"""The cluster is available for two days on end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from validation import statistics
from validation.contract import CLOCK, Criterion, CriterionPlugin, Mutant
from validation.criteria.plan import GO
from validation.evidence.identity import SIMULATED
from validation.evidence.log import Evidence
from validation.evidence.outages import LONGEST_GAP_S, Outage, UptimeTracker, merged
from validation.evidence.queries import HEAD, explained, longest_gap, overlap
from validation.evidence.records import Fault, Gap
from validation.evidence.records_monitoring import Job, StartUp
from validation.limits import ANSWER_S, CLUSTER
from validation.thresholds import Threshold
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    downgrade,
    format_list,
    inconclusive,
    plural,
    span,
)

AVAILABILITY: Final = Threshold(
    criterion="uptime", name="availability", unit="%", stricter="higher", sensible=95.0, most=99.99
)


WATCHED: Final = Threshold(
    criterion="uptime", name="watched", unit="h", stricter="higher", sensible=24.0
)


_SHORTEST_S: Final = 1.0
"""A failed probe with no good one next to it was an outage, however short."""


UNSEEN_OUTAGE_S: Final = 120.0
"""Without any outage, one is taken to last as long as ``worker_recovery`` allows a recovery."""


def uptime(records: Records) -> Verdict:
    """The cluster was available for at least 99 % of at least 48 watched hours of one run.

    Available: a tiny job ends right on every declared node within ``ANSWER_S``. An outage lasts
    from the last good job before it to the first good one after it. What several runs watched
    counts once. Unwatched time is neither up nor down: with a ``gap`` record it is only missing,
    without one it rules out a PASS, and under a confirmed receipt of ours it is not watched.

    - PASS: 48 h of one run were watched, and the lower bound of the long-run availability is at
      least 99 %. So 47.9 h are not enough, and a single time-out is part of the error budget.
    - FAIL: the upper bound is below 99 %, or in one record alone more was down than 1 % of the
      time watched, or of 48 h when that is longer: other records do not make up for it. So 40 min
      down of 48 h are a FAIL; 20 min are INCONCLUSIVE in one piece, and a PASS in very many.
    """
    longest_s = 0.0
    stretches: list[tuple[float, float]] = []
    outages: list[Outage] = []
    problems: list[str] = []
    spent: list[str] = []
    for record in records:
        seen = watch(record)
        if seen.down_s > allowed(seen.watched_s):
            spent.append(
                f"run {record.run} was down for {span(seen.down_s)}, "
                f"{span(allowed(seen.watched_s))} are allowed"
            )
        stretches += seen.watched
        longest_s = max(longest_s, seen.watched_s)
        outages += seen.outages
        problems += _doubts(record, seen)
    # Two runs at the same time watched the same hours.
    watched_s = math.fsum(end - begin for begin, end in merged(stretches))
    outages = _once(outages)
    if watched_s <= 0:
        raise InconclusiveError(
            format_list(["no job was submitted to the cluster", *problems]),
            needs=f"{span(WATCHED.value)} of jobs on every node (python -m validation soak)",
        )
    lengths = [max(outage.seconds, _SHORTEST_S) for outage in outages]
    down_s = math.fsum(lengths)
    hours = f"{watched_s / 3600:.2f} h watched"
    budget = (
        f"{100 * AVAILABILITY.value:g} % allows {span(allowed(watched_s))} down in "
        f"{max(watched_s, WATCHED.value) / 3600:.0f} h; {span(down_s)} used"
    )
    if down_s >= watched_s:
        # Down all the time: there is no ratio to bound.
        measured, interval, lower, upper = f"0 % of {hours}", (0.0, 100.0), 0.0, 1.0
        words = "it was never available"
    else:
        found = statistics.availability(lengths, watched_s, unseen_s=UNSEEN_OUTAGE_S)
        lower, upper = found.share.lower, found.share.upper
        measured = f"{100 * found.observed:.3f} % of {hours}"
        interval = (100 * lower, 100 * upper)
        words = _words(found, outages)
    words = _with_reservations(words, records)
    if upper < AVAILABILITY.value or spent:
        return Verdict(
            status=Status.FAIL,
            measured=measured,
            interval=interval,
            reason=format_list([words, *spent]),
            budget=budget,
        )
    missing_s = _missing_s(lengths, watched_s, longest_s)
    needs = f"{max(missing_s / 3600, 0.01):.2f} more hours watched without an outage"
    if missing_s > 0 or lower < AVAILABILITY.value:
        return inconclusive(
            format_list([_of_one_run(longest_s), words, *problems], most=4),
            needs=needs,
            measured=measured,
            interval=interval,
            budget=budget,
            more_s=missing_s,
        )
    verdict = Verdict(
        status=Status.PASS, measured=measured, interval=interval, reason=words, budget=budget
    )
    return downgrade(verdict, problems, needs="jobs on every node throughout each record")


def _once(outages: Sequence[Outage]) -> list[Outage]:
    """Outages in the order of time; those that overlap were one, seen by several runs."""
    unfinished = {outage.end for outage in outages if not outage.over}
    return [
        Outage(begin=begin, end=end, over=end not in unfinished)
        for begin, end in merged((outage.begin, outage.end) for outage in outages)
    ]


def _of_one_run(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h of one run watched, of {WATCHED.value / 3600:.0f} h"


def _missing_s(lengths: Sequence[float], watched_s: float, longest_s: float) -> float:
    """Seconds that must still be watched, without an outage, for a PASS.

    Args:
        longest_s: The longest time watched in one record.
    """
    missing_s = max(WATCHED.value - longest_s, 0.0)
    if math.fsum(lengths) >= watched_s:
        # There is no ratio yet that more watching could improve.
        return missing_s
    more_s = statistics.more_watching(
        lengths, watched_s, AVAILABILITY.value, unseen_s=UNSEEN_OUTAGE_S
    )
    return max(missing_s, more_s)


def _with_reservations(words: str, records: Records) -> str:
    """Add starts, the time without jobs, and that records are simulated."""
    starts = [start for record in records for start in record.all(StartUp)]
    if starts:
        failed = [why for start in starts for why in start.failed]
        slowest = max((start.steady_at or math.inf) - start.asked_at for start in starts)
        words += (
            f"; {plural(len(starts), 'start')}, steady after "
            + (f"{span(slowest)} at most" if math.isfinite(slowest) else "unknown time")
            + f", {plural(len(failed), 'failed attempt')}"
            + (f" ({failed[0]})" if failed else "")
        )
    gaps = [known.end - known.begin for record in records for known in record.all(Gap)]
    if gaps:
        words += f"; {plural(len(gaps), 'gap')} of {span(math.fsum(gaps))} without jobs"
    if any(record.opening.backend == SIMULATED for record in records):
        words = f"SIMULATED: {words}"
    return words


def allowed(watched_s: float) -> float:
    """Seconds of ``watched_s`` that a record may have been down."""
    return (1 - AVAILABILITY.value) * max(watched_s, WATCHED.value)


def watch(record: Evidence) -> UptimeTracker:
    """What the jobs of one record saw of the cluster."""
    seen = UptimeTracker()
    faults = record.all(Fault)
    for event in record.of(Job.KIND):
        if isinstance(event.record, Job):
            count(seen, event.at, event.record, faults, nodes=record.opening.nodes)
    seen.pause()
    return seen


def count(seen: UptimeTracker, at: float, job: Job, faults: Sequence[Fault], *, nodes: int) -> None:
    """Add one job that ended at a time, Unix seconds.

    Args:
        faults: Their receipts may explain what is missing.
        nodes: Number that was declared.
    """
    ok = len(set(job.right)) == nodes and not job.wrong and not job.missing
    if ok or not job.missing or job.wrong or len({*job.right, *job.missing}) != nodes:
        # A wrong or late answer has no excuse, nor has a node that is not named.
        seen.probe(at, ok=ok and job.seconds <= ANSWER_S)
    elif all(explained(faults, (node, HEAD, CLUSTER), at) for node in job.missing):
        seen.pause()
    else:
        seen.probe(at, ok=False)


def _doubts(record: Evidence, seen: UptimeTracker) -> list[str]:
    """What could hide an outage in one record."""
    doubts = []
    announced = [(known.begin, known.end) for known in record.all(Gap)]
    silent = [
        end - begin
        for begin, end in seen.unwatched
        if end - begin - overlap(begin, end, announced) > LONGEST_GAP_S
    ]
    if silent:
        doubts.append(
            f"run {record.run}: {span(math.fsum(silent))} passed without a job and without a gap "
            "record"
        )
    if seen.probes:
        unwatched = longest_gap(record, [e.at for e in record.of(Job.KIND)], "the jobs")
        doubts += [unwatched] if unwatched else []
        if not record.all(StartUp):
            doubts.append(f"run {record.run}: the start of the cluster was not recorded")
    unfinished = [outage for outage in seen.outages if not outage.over]
    if unfinished:
        doubts.append(
            f"run {record.run}: the end of {plural(len(unfinished), 'outage')} was not observed"
        )
    return doubts


def _words(found: statistics.Availability, outages: Sequence[Outage]) -> str:
    between = f"outages at least {span(found.between.lower)} apart on average"
    if found.repair is None:
        return (
            f"no outage: {between} (95 % confidence, rule of three); one is assumed to last "
            f"{span(UNSEEN_OUTAGE_S)}"
        )
    longest = max(outage.seconds for outage in outages)
    return (
        f"{plural(len(outages), 'outage')}, the longest {span(longest)}; {between}, each at most "
        f"{span(found.repair.upper)} on average"
    )


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="uptime",
            statement="The cluster is available for two days on end",
            target="≥ 99 % over ≥ 48 h",
            unit="%",
            clause=f'{GO}: "Ray cluster maintains 99%+ uptime for 48+ hours"',
            evidence_needed="48 watched hours of one run with few outages, from python -m "
            "validation soak",
            passes=(
                "48 h of one run were watched (47.9 h are not enough, and shorter runs are not "
                "added up), and the lower bound of the availability, from outages counted and "
                "timed, is at least 99 %; a single job without an answer is part of the error "
                "budget"
            ),
            fails=(
                "the upper bound is below 99 %, or more was down than 1 % of the time watched (of "
                "48 h if that is longer): 40 min down in 48 h are a FAIL, 20 min are not"
            ),
            measures="every 10 s, whether a tiny job ends right on every declared node within "
            f"{ANSWER_S:.0f} s of its submission; an outage lasts from the last good job before it "
            "to the first good one after it. The time from the start of the stack to the first "
            "good job, and failed starts, are reported and are no outage",
            clock="the gate's, which submits the jobs and computes the right answers itself; time "
            "in which a confirmed receipt shows the missing node down is not watched",
            limits="the time to start a new process on a node: the job uses a process that stays. "
            "Outages of less than 10 s between two jobs",
            verdict=uptime,
            trusts=(CLOCK,),
            timed=True,
            position=10,
            thresholds=(AVAILABILITY, WATCHED),
            soak_s=WATCHED.planned,
        ),
    ),
    mutants=(
        # Two days of outages cannot be planted in an afternoon: here the cluster and its
        # clock are simulated, and its verdict says so.
        Mutant(
            name="one node of four answers, for two days (simulated)",
            criterion="uptime",
            stages=("soak",),
            simulated="one_node",
        ),
        Mutant(
            name="every answer takes 49 s, for two days (simulated)",
            criterion="uptime",
            stages=("soak",),
            simulated="slow",
        ),
        Mutant(
            name="a node that answers wrong, for two days (simulated)",
            criterion="uptime",
            stages=("soak",),
            simulated="wrong",
        ),
        Mutant(
            name="four minutes without a cluster, every two hours (simulated)",
            criterion="uptime",
            stages=("soak",),
            simulated="outages",
        ),
        Mutant(
            name="unwatched hours without a gap record (simulated)",
            criterion="uptime",
            stages=("soak",),
            simulated="unwatched",
            expects="INCONCLUSIVE",
        ),
    ),
)
