"""Ray's dashboard answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from validation import statistics
from validation.contract import CLOCK, Criterion, CriterionPlugin, Mutant
from validation.criteria.helpers import FEWEST_PROBES
from validation.criteria.plan import METRICS
from validation.criteria.uptime import UNSEEN_OUTAGE_S
from validation.evidence.outages import UptimeTracker
from validation.evidence.queries import HEAD, is_excused, longest_gap
from validation.evidence.records_monitoring import Probe
from validation.mutation import injectors
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    downgrade,
    format_list,
    plural,
    span,
)

PROBE_SPAN_S: Final = 30.0


def dashboard(records: Records) -> Verdict:
    """Every request to the dashboard is answered: no failure outside an announced outage.

    Needs 10 requests over 30 s, and no part of the work longer than a minute without a request. An
    announced outage is one with a confirmed receipt.
    """
    count = 0
    seconds = 0.0
    lengths: list[float] = []
    latencies: list[float] = []
    failures: list[str] = []
    problems: list[str] = []
    for record in records:
        times: list[float] = []
        seen = UptimeTracker()
        for event in record.of(Probe.KIND):
            probe = event.record
            if not isinstance(probe, Probe) or probe.probe != "dashboard":
                continue
            times.append(event.at)
            if probe.excused:
                if not probe.ok and not is_excused(record, ("dashboard", HEAD), event.at):
                    problems.append("a failed request was excused by an outage without a receipt")
                seen.pause()
                continue
            seen.probe(event.at, ok=probe.ok)
            count += 1
            latencies.append(probe.latency_s)
            if not probe.ok:
                failures.append(probe.detail or "no answer")
        seen.pause()
        seconds += seen.watched_s
        lengths += [max(outage.seconds, 1.0) for outage in seen.outages]
        if times:
            unwatched = longest_gap(record, times, "the dashboard's probe")
            problems += [unwatched] if unwatched else []
    budget = (
        f"every request must be answered; {plural(len(lengths), 'outage')}, "
        f"{span(math.fsum(lengths))} in {span(seconds)}"
    )
    if failures:
        return Verdict(
            status=Status.FAIL,
            measured=f"{len(failures)} of {count} requests failed",
            interval=_percent(lengths, seconds),
            reason=format_list(failures),
            budget=budget,
        )
    if count < FEWEST_PROBES or seconds < PROBE_SPAN_S:
        more = max(PROBE_SPAN_S - seconds, FEWEST_PROBES - count)
        raise InconclusiveError(
            format_list([f"{plural(count, 'request')} over {seconds:.0f} s", *problems]),
            needs=f"at least {FEWEST_PROBES} requests over {PROBE_SPAN_S:.0f} s, "
            f"about {span(more)} more",
        )
    verdict = Verdict(
        status=Status.PASS,
        measured=f"{count} of {count} requests answered",
        # No bound: a few minutes say nothing of days, and uptime watches those.
        reason=f"in the {span(seconds)} that were watched; slowest {max(latencies):.2f} s",
        budget=budget,
    )
    return downgrade(verdict, problems, needs="requests throughout the work")


def _percent(lengths: Sequence[float], seconds: float) -> tuple[float, float]:
    """Bounds of the availability, in %, from outages: requests are correlated."""
    if math.fsum(lengths) >= seconds:
        return 0.0, 100.0
    share = statistics.availability(lengths, seconds, unseen_s=UNSEEN_OUTAGE_S).share
    return 100 * share.lower, 100 * share.upper


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="dashboard",
            statement="Ray's dashboard answers",
            target="every request answered",
            unit="%",
            clause=f'{METRICS}: "ray_dashboard_accessible"',
            evidence_needed="10 or more requests over 30 s, throughout the work",
            passes="every request answered",
            fails="a request was not answered",
            verdict=dashboard,
            trusts=(CLOCK,),
            timed=True,
            position=30,
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
