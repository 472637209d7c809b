"""The HTTP service stays quick and correct under load."""

from __future__ import annotations

import math
from typing import Final

from validation import statistics
from validation.contract import HARNESS_CPU, LOAD_GENERATOR, Criterion, CriterionPlugin, Mutant
from validation.evidence.records_load import Load, ServiceRestart
from validation.limits import SATURATED, USERS
from validation.mutation.patches import patch
from validation.thresholds import Threshold
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    downgrade,
    format_list,
    plural,
)

READ: Final = Threshold(
    criterion="service_load", name="p95", unit="ms", stricter="lower", sensible=500.0
)


SHARE: Final = 0.95


OTHERS: Final = 0.5
"""Cores of other work above which slow answers are not attributed to the service."""


def service_load(records: Records) -> Verdict:
    """With 50 users, 95 % of reads take 50 ms or less, no answer is unexpected, and no accepted run
    is lost through a SIGKILL of the service.

    Bounds are those of order statistics. Slow answers decide nothing when the generator was short
    of CPU, or the machine was busy with other work.
    """
    loads = [load for record in records for load in record.all(Load)]
    restarts = [restart for record in records for restart in record.all(ServiceRestart)]
    needs = f"{USERS} users for 15 s, and a kill with accepted runs, about 40 s"
    if not loads:
        raise InconclusiveError("no load test of the service", needs=needs)
    reads = [value for load in loads for value in load.reads]
    errors = [error for load in loads for error in load.errors]
    if len(reads) < statistics.samples_for_quantile(SHARE):
        raise InconclusiveError(f"only {plural(len(reads), 'read')}", needs=needs)
    p95 = statistics.quantile_bounds(reads, SHARE)
    p99 = statistics.quantile_bounds(reads, 0.99).point
    total = math.fsum(load.seconds for load in loads)
    measured = (
        f"p95 {1000 * p95.point:.1f} ms, p99 {1000 * p99:.1f} ms over {plural(len(reads), 'read')}"
    )
    interval = (1000 * p95.lower, 1000 * p95.upper)
    over = sum(value > READ.value for value in reads)
    budget = f"{1 - SHARE:.0%} of reads may take more than {1000 * READ.value:.0f} ms; "
    budget += f"{over} of {len(reads):,} did"
    users = min(load.users for load in loads)
    share = max(load.generator_share for load in loads)
    others = max(load.others_cores for load in loads)
    doubts = []
    if users < USERS:
        doubts.append(f"{users} users, not {USERS}")
    if share > SATURATED:
        doubts.append(f"the generator used {share:.0%} of a core: it may itself be the bottleneck")
    if others > OTHERS and p95.upper > READ.value:
        doubts.append(f"other work used {others:.1f} cores: it may have slowed the answers")
    if not sum(load.streams for load in loads):
        doubts.append("no event stream was read")
    if not any(restart.killed and restart.open_at_kill for restart in restarts):
        doubts.append("no service was killed with open runs")
    wrong = errors + [
        f"{count} of {restart.accepted} accepted runs {what}"
        for restart in restarts
        for count, what in (
            (restart.lost, "lost"),
            (restart.failed, "failed"),
            (restart.accepted - restart.finished - restart.lost - restart.failed, "did not end"),
            (restart.differing, "have another history than equal runs"),
        )
        if count
    ]
    # A slow answer of a starved generator or machine is no finding about the service.
    if p95.lower > READ.value and share <= SATURATED and others <= OTHERS:
        wrong.append(f"p95 of reads is at least {1000 * p95.lower:.0f} ms")
    if wrong:
        return Verdict(
            status=Status.FAIL,
            measured=measured,
            interval=interval,
            reason=format_list(wrong),
            budget=budget,
        )
    if not p95.upper <= READ.value:
        doubts.insert(0, f"p95 of reads may be {1000 * p95.upper:.0f} ms")
    accepted = sum(restart.accepted for restart in restarts)
    verdict = Verdict(
        status=Status.PASS,
        measured=measured,
        interval=interval,
        reason=f"{users} users for {total:.0f} s, no unexpected answer; 0 of {accepted} accepted "
        f"runs lost by SIGKILL; the generator used {share:.0%} of a core",
        budget=budget,
    )
    return downgrade(verdict, doubts, needs=needs)


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="service_load",
            statement="The HTTP service stays quick and correct under load",
            target="p95 of reads ≤ 50 ms at 50 users, 0 lost",
            unit="ms",
            clause='Day 7, step 11: "Load testing and scalability validation"',
            evidence_needed="latencies and errors of 50 users from a generator that is not itself "
            "saturated, "
            "and a SIGKILL with accepted runs",
            passes=(
                "50 users: the upper 95 % bound of the 95th percentile of reads is at most 50 ms,"
                " no unexpected answer, no accepted run lost by a SIGKILL of the service; the "
                "generator used less than 90 % of a core; slow answers while other work uses more"
                " than 0.5 cores are not judged"
            ),
            fails="the lower bound is above 50 ms, an answer was unexpected, or a run was lost",
            measures=(
                "seconds of every read that 50 users make at once for 15 s; and what became of "
                "the accepted runs after a SIGKILL of the service"
            ),
            clock=(
                "that of the load generator (Locust), a separate process whose own CPU time is "
                "measured"
            ),
            limits=(
                "more users, longer load, clients on another machine, and writes, which are "
                "only checked for their answers"
            ),
            verdict=service_load,
            trusts=(
                HARNESS_CPU,
                LOAD_GENERATOR,
            ),
            timed=True,
            position=220,
            thresholds=(READ,),
        ),
    ),
    mutants=(
        Mutant(
            name="runs forgotten when the service starts again",
            criterion="service_load",
            stages=("service",),
            patches=patch(
                "ga/service/supervisor.py",
                "        resumed = self._store.begun(job.run)\n",
                "        resumed = False\n",
            ),
        ),
    ),
)
