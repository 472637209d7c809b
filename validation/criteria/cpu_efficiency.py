"""Nodes use the CPU they are allotted while evaluating."""

from __future__ import annotations

import math
from typing import Final

from validation import statistics
from validation.contract import CLOCK, HARNESS_CPU, Criterion, CriterionPlugin, Mutant
from validation.criteria.helpers import FEWEST, wall
from validation.criteria.plan import METRICS
from validation.evidence.queries import HEAD, workload_of, workloads
from validation.evidence.records import CpuWindow
from validation.mutation.patches import EVALUATES, ON_CLUSTER, WORKER, patch
from validation.thresholds import Threshold
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    downgrade,
    format_list,
    format_shortfall,
    inconclusive,
    plural,
)

CPU_SHARE: Final = Threshold(
    criterion="cpu_efficiency", name="used", unit="%", stricter="higher", sensible=30.0, most=99.99
)


_ROUNDING: Final = 1.1
"""CPU time is accounted in ticks; more than 10 % beyond the possible is a bad reading."""


def cpu_efficiency(records: Records) -> Verdict:
    """Share of the allotted CPU time that nodes used while evaluating: above 70 %.

    One value a distributed speed-up workload, summed over all its nodes; a node
    without a reading cannot be left out, for it may be the idle one.
    """
    shares: list[float] = []
    useful: list[float] = []
    wall_s = 0.0
    problems: list[str] = []
    for record in records:
        known = workloads(record)
        windows: dict[str, list[CpuWindow]] = {}
        for window in record.all(CpuWindow):
            workload_of(known, window.workload, said_by="CPU readings")
            if window.node != HEAD:
                windows.setdefault(window.workload, []).append(window)
        for workload in known.values():
            if workload.arm != "distributed" or workload.purpose != "speedup":
                continue
            if workload.exit_code != 0:
                problems.append(f"{workload.id} did not finish")
                continue
            read = windows.get(workload.id, [])
            nodes = len({window.node for window in read})
            used, allotted = (
                math.fsum(w.used_s for w in read),
                math.fsum(w.allotted_s for w in read),
            )
            if nodes != workload.nodes:
                problems.append(f"{workload.id}: readings of {nodes} of {workload.nodes} nodes")
            elif bad := impossible(read):
                problems.append(f"{workload.id}: {bad}")
            else:
                shares.append(used / allotted)
                wall_s += wall(workload)
                useful.append(math.fsum(w.useful_s for w in read) / allotted)
    if len(shares) < FEWEST:
        raise InconclusiveError(
            format_list([f"CPU readings of {plural(len(shares), 'workload')}", *problems]),
            needs=plural(FEWEST - len(shares), "more distributed workload"),
        )
    share = statistics.mean(shares)
    measured = f"{100 * share.point:.1f} % over {len(shares)} workloads"
    interval = (100 * share.lower, 100 * share.upper)
    budget = (
        f"{100 * CPU_SHARE.value:g} % allows nodes to idle {100 * (1 - CPU_SHARE.value):g} % "
        f"of the time; they idled {100 * (1 - share.point):.1f} %"
    )
    reason = f"{100 * math.fsum(useful) / len(useful):.1f} % inside evaluations"
    if share.upper <= CPU_SHARE.value:
        return Verdict(
            status=Status.FAIL,
            measured=measured,
            interval=interval,
            reason=f"not above {100 * CPU_SHARE.value:g} %; {reason}",
            budget=budget,
        )
    if share.lower <= CPU_SHARE.value:
        return inconclusive(
            f"only {100 * share.lower:.1f} % is shown; {reason}",
            needs=format_shortfall(
                statistics.values_needed(shares, CPU_SHARE.value, above=True),
                "distributed workload",
                each_s=wall_s / len(shares),
            ),
            measured=measured,
            interval=interval,
            budget=budget,
        )
    verdict = Verdict(
        status=Status.PASS, measured=measured, interval=interval, reason=reason, budget=budget
    )
    return downgrade(verdict, problems, needs="valid readings of every node of every workload")


def impossible(windows: list[CpuWindow]) -> str:
    """Why readings of CPU time cannot be true; empty when they can."""
    for window in windows:
        if window.allotted_s <= 0:
            return f"{window.node} was allotted nothing"
        if window.used_s > _ROUNDING * window.allotted_s:
            return (
                f"bad reading: {window.node} used {window.used_s:.1f} s "
                f"of {window.allotted_s:.1f} s allotted"
            )
        if window.useful_s > _ROUNDING * window.used_s:
            return f"bad reading: {window.node} evaluated for longer than it used CPU"
    return ""


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="cpu_efficiency",
            statement="Nodes use the CPU they are allotted while evaluating",
            target="> 70 %",
            unit="%",
            clause=f'{METRICS}: "cpu_utilization_efficiency ... Target: > 70% utilization"',
            evidence_needed="CPU time of every node in 3 or more distributed workloads",
            passes=(
                "the lower 95 % t bound of used over allotted node CPU is above 70 %, three or "
                "more workloads"
            ),
            fails="the upper 95 % t bound is 70 % or less",
            measures=(
                "CPU seconds that each node's control group used from the moment when a "
                "distributed speed-up workload can evaluate until the commit of its last "
                "generation, over its quota times that time"
            ),
            clock="the kernel's account of CPU time; the gate's clock",
            limits=(
                "how much of that CPU time is useful, which the reason quotes from the workers' "
                "own reports; other families and smaller populations, whose start-up and time "
                "waiting for work weigh more"
            ),
            verdict=cpu_efficiency,
            trusts=(
                HARNESS_CPU,
                CLOCK,
            ),
            timed=True,
            position=100,
            thresholds=(CPU_SHARE,),
        ),
    ),
    mutants=(
        Mutant(
            name="idle workers",
            criterion="cpu_efficiency",
            stages=("speedup",),
            patches=patch(
                WORKER,
                EVALUATES,
                f'        __import__("time").sleep(0.4 {ON_CLUSTER} else 0)\n{EVALUATES}',
            ),
        ),
    ),
)
