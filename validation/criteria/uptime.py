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
from validation.evidence.queries import HEAD, is_excused, longest_gap, overlap
from validation.evidence.records import Gap
from validation.evidence.records_monitoring import Probe
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

CLUSTER: Final = "cluster"
"""Name of the probe, and of the target of faults that take the whole cluster."""


AVAILABILITY: Final = 0.99


WATCHED_S: Final = 48 * 3600.0


_SHORTEST_S: Final = 1.0
"""A failed probe with no good one beside it was an outage, however short."""


UNSEEN_OUTAGE_S: Final = 120.0
"""Without any outage, one is taken to last as long as ``worker_recovery`` allows a recovery."""


def uptime(records: Records) -> Verdict:
    """The cluster was available for at least 99 % of at least 48 watched hours.

    Available: the GCS answers and has a worker node alive. Outages are counted, each from the last
    good probe before it to the first good one after it. Time that several runs watched counts once,
    and so does an outage that they saw. Time that nobody watched is neither up nor
    down; what a record says it did not watch (``gap``) is only missing, while a stretch that it
    passes over in silence rules out a PASS. Outages by a confirmed receipt of ours on the head or
    the whole cluster are not watched time.

    - PASS: 48 h were watched, and the lower bound of the long-run availability is at least 99 %.
    - FAIL: the upper bound is below 99 %, or in one record alone more was down than 1 % of the
      time watched, or of 48 h when that is longer: other records do not make up for it.
    """
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
        outages += seen.outages
        problems += _doubts(record, seen)
    # Two runs at the same time watched the same hours.
    watched_s = math.fsum(end - begin for begin, end in merged(stretches))
    outages = _once(outages)
    if watched_s <= 0:
        raise InconclusiveError(
            format_list(["the cluster was not probed", *problems]),
            needs=f"{span(WATCHED_S)} of probes of the cluster",
        )
    lengths = [max(outage.seconds, _SHORTEST_S) for outage in outages]
    down_s = math.fsum(lengths)
    hours = f"{watched_s / 3600:.2f} h watched"
    budget = (
        f"{100 * AVAILABILITY:g} % allows {span(allowed(watched_s))} down in "
        f"{max(watched_s, WATCHED_S) / 3600:.0f} h; {span(down_s)} used"
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
    if upper < AVAILABILITY or spent:
        return Verdict(
            status=Status.FAIL,
            measured=measured,
            interval=interval,
            reason=format_list([words, *spent]),
            budget=budget,
        )
    missing_s = _missing_s(lengths, watched_s)
    needs = f"{max(missing_s / 3600, 0.01):.2f} more hours watched without an outage"
    if missing_s > 0 or lower < AVAILABILITY:
        return inconclusive(
            format_list([f"{hours} of {WATCHED_S / 3600:.0f} h", words, *problems], most=4),
            needs=needs,
            measured=measured,
            interval=interval,
            budget=budget,
        )
    verdict = Verdict(
        status=Status.PASS, measured=measured, interval=interval, reason=words, budget=budget
    )
    return downgrade(verdict, problems, needs="probes of the cluster throughout each record")


def _once(outages: Sequence[Outage]) -> list[Outage]:
    """Outages in the order of time; those that overlap were one, seen by several runs."""
    unfinished = {outage.end for outage in outages if not outage.over}
    return [
        Outage(begin=begin, end=end, over=end not in unfinished)
        for begin, end in merged((outage.begin, outage.end) for outage in outages)
    ]


def _missing_s(lengths: Sequence[float], watched_s: float) -> float:
    """Seconds that must still be watched, without an outage, for a PASS."""
    missing_s = max(WATCHED_S - watched_s, 0.0)
    if math.fsum(lengths) >= watched_s:
        # There is no ratio yet that more watching could improve.
        return missing_s
    more_s = statistics.more_watching(lengths, watched_s, AVAILABILITY, unseen_s=UNSEEN_OUTAGE_S)
    return max(missing_s, more_s)


def _with_reservations(words: str, records: Records) -> str:
    """Add the time without probes, and that records are simulated."""
    gaps = [known.end - known.begin for record in records for known in record.all(Gap)]
    if gaps:
        words += f"; {plural(len(gaps), 'gap')} of {span(math.fsum(gaps))} without probes"
    if any(record.opening.backend == SIMULATED for record in records):
        words = f"SIMULATED: {words}"
    return words


def allowed(watched_s: float) -> float:
    """Seconds that a record of so many watched seconds may have been down."""
    return (1 - AVAILABILITY) * max(watched_s, WATCHED_S)


def watch(record: Evidence) -> UptimeTracker:
    """What the probes of one record saw of the cluster."""
    seen = UptimeTracker()
    for event in record.of(Probe.KIND):
        probe = event.record
        if not isinstance(probe, Probe) or probe.probe != CLUSTER:
            continue
        if not probe.ok and is_excused(record, (HEAD, CLUSTER), event.at):
            seen.pause()
        else:
            seen.probe(event.at, ok=probe.ok)
    seen.pause()
    return seen


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
            f"run {record.run}: {span(math.fsum(silent))} passed without a probe and without a gap "
            "record"
        )
    if seen.probes:
        times = [e.at for e in record.of(Probe.KIND) if getattr(e.record, "probe", "") == CLUSTER]
        unwatched = longest_gap(record, times, "the cluster's probe")
        doubts += [unwatched] if unwatched else []
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
            evidence_needed="48 watched hours with few outages, from python -m validation soak",
            passes=(
                "48 h were watched, and the lower bound of the availability, from outages counted"
                " and timed, is at least 99 %"
            ),
            fails=(
                "the upper bound is below 99 %, or more was down than 1 % of the time watched (of "
                "48 h if that is longer)"
            ),
            verdict=uptime,
            trusts=(CLOCK,),
            timed=True,
            position=10,
        ),
    ),
    mutants=(
        # Two days of outages cannot be planted in an afternoon: here the cluster and its
        # clock are simulated, and its verdict says so.
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
