"""Ray's dashboard answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from validation import statistics
from validation.contract import CLOCK, Criterion, CriterionPlugin, Mutant
from validation.criteria.plan import METRICS
from validation.evidence.log import Evidence
from validation.evidence.outages import UptimeTracker
from validation.evidence.queries import HEAD, is_excused, longest_gap
from validation.evidence.records_monitoring import Probe
from validation.mutation import injectors
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

PROBE_SPAN_S: Final = 30.0


ANSWERED: Final = Threshold(
    criterion="dashboard", name="answered", unit="%", stricter="higher", sensible=95.0, most=99.99
)
"""Share of requests, as the plan demands it of the cluster's uptime."""


ANSWER_S: Final = 5.0
"""Seconds after which an answer is none. A page in a browser has given up by then."""


def dashboard(records: Records) -> Verdict:
    """At least 99 % of the requests to the dashboard are answered, each within 5 s.

    Requests during an announced outage, which has a confirmed receipt, do not count. The exact
    bounds of the share decide. PASS: the lower one is at least 99 %, from requests over 30 s or
    more, and no part of the work longer than a minute is without a request. FAIL: the upper one is
    below 99 %, of all requests or of those of one run: other runs do not make up for it.
    """
    every = _Requests()
    wrong: list[str] = []
    for record in records:
        own = _requests(record)
        every.add(own)
        if own.count and own.share.upper < ANSWERED.value:
            wrong.append(f"run {record.run}: {own.words}")
    needs = f"requests over {PROBE_SPAN_S:.0f} s, throughout the work"
    if not every.count:
        raise InconclusiveError(format_list(["no request was made", *every.problems]), needs=needs)
    share = every.share
    interval = (100 * share.lower, 100 * share.upper)
    allowed = (1 - ANSWERED.value) * every.count
    budget = (
        f"{100 * ANSWERED.value:g} % allows {allowed:.1f} of {every.count} requests to fail; "
        f"{len(every.failures)} did"
    )
    if wrong or share.upper < ANSWERED.value:
        return Verdict(
            status=Status.FAIL,
            measured=every.words,
            interval=interval,
            reason=format_list([*wrong, *every.failures], most=4),
            budget=budget,
        )
    if share.lower < ANSWERED.value or every.seconds < PROBE_SPAN_S:
        more = statistics.successes_needed(
            every.count - len(every.failures), every.count, ANSWERED.value
        )
        return inconclusive(
            format_list([f"{every.words} in {span(every.seconds)}", *every.problems]),
            needs=f"{plural(more, 'more request')} that is answered, {needs}",
            measured=every.words,
            interval=interval,
            budget=budget,
        )
    verdict = Verdict(
        status=Status.PASS,
        measured=every.words,
        interval=interval,
        reason=f"in the {span(every.seconds)} that were watched; slowest {every.slowest_s:.2f} s",
        budget=budget,
    )
    return downgrade(verdict, every.problems, needs=needs)


@dataclass
class _Requests:
    """Requests that no announced outage excuses."""

    count: int = 0
    failures: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What keeps the verdict from being a PASS."""
    seconds: float = 0.0
    """Time that was watched."""
    slowest_s: float = 0.0
    """Of the answers in time."""

    @property
    def share(self) -> statistics.Estimate:
        """Share of requests that were answered in time, with exact bounds."""
        return statistics.proportion(self.count - len(self.failures), self.count)

    @property
    def words(self) -> str:
        good = self.count - len(self.failures)
        return f"{good} of {self.count} requests answered within {ANSWER_S:.0f} s"

    def add(self, other: _Requests) -> None:
        self.count += other.count
        self.failures += other.failures
        self.problems += other.problems
        self.seconds += other.seconds
        self.slowest_s = max(self.slowest_s, other.slowest_s)


def _requests(record: Evidence) -> _Requests:
    """The requests of one run."""
    found = _Requests()
    times: list[float] = []
    seen = UptimeTracker()
    for event in record.of(Probe.KIND):
        probe = event.record
        if not isinstance(probe, Probe) or probe.probe != "dashboard":
            continue
        times.append(event.at)
        good = probe.ok and probe.latency_s <= ANSWER_S
        if probe.excused:
            if not good and not is_excused(record, ("dashboard", HEAD), event.at):
                found.problems.append("a failed request was excused by an outage without a receipt")
            seen.pause()
            continue
        seen.probe(event.at, ok=good)
        found.count += 1
        if good:
            found.slowest_s = max(found.slowest_s, probe.latency_s)
        elif probe.ok:
            found.failures.append(f"an answer took {probe.latency_s:.0f} s")
        else:
            found.failures.append(probe.detail or "no answer")
    seen.pause()
    found.seconds = seen.watched_s
    if times:
        unwatched = longest_gap(record, times, "the dashboard's probe")
        found.problems += [unwatched] if unwatched else []
    return found


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="dashboard",
            statement="Ray's dashboard answers",
            target="≥ 99 % of requests answered within 5 s",
            unit="%",
            clause=f'{METRICS}: "ray_dashboard_accessible"',
            evidence_needed="299 requests without a failure, 473 with one, throughout the work",
            passes=(
                "the exact (Clopper-Pearson) lower 95 % bound of the share of requests that are "
                "answered within 5 s is at least 99 %: 299 without a failure"
            ),
            fails="the upper bound is below 99 %, of all requests or of those of one run",
            measures=(
                "from each request for the dashboard's version until its answer is read, twice a "
                "second while work runs; in a soak, every 45 s"
            ),
            clock="the gate's monotonic clock",
            limits=(
                "requests half a second apart fail together, so the bound says what share was "
                "answered in the time that was watched; two days of it take a soak"
            ),
            verdict=dashboard,
            trusts=(CLOCK,),
            timed=True,
            position=30,
            thresholds=(ANSWERED,),
        ),
    ),
    mutants=(
        Mutant(
            name="dead dashboard",
            criterion="dashboard",
            stages=("watch",),
            injector=injectors.dashboard_killed,
            irreversible=True,
        ),
    ),
)
