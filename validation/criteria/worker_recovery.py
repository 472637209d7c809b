"""A killed worker node is replaced and its work redone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from evolution_gate.fixtures.protocols import SERVICES
from validation import statistics
from validation.contract import CLOCK, HARNESS_CPU, RECEIPTS, Criterion, CriterionPlugin, Mutant
from validation.criteria.plan import METRICS
from validation.evidence.log import Evidence
from validation.evidence.queries import replaced_by, was_repeated
from validation.evidence.records import Fault, Gap, Recovery, Workload
from validation.mutation import injectors
from validation.mutation.patches import LOST, patch
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
    span,
)

RECOVERY: Final = Threshold(
    criterion="worker_recovery", name="recovery", unit="s", stricter="lower", sensible=600.0
)


FEWEST_RECOVERIES: Final = 4


_MATCH_S: Final = 5.0
"""How far the start of a recovery may lie from the receipt of its fault."""


AVAILABILITY: Final = 0.99


def worker_recovery(records: Records) -> Verdict:
    """Time from a node's kill until every phase of its recovery was over, below 120 s.

    PASS: the tolerance bound (95 % of recoveries, 95 % confidence, log-normal) is below 120 s.
    FAIL: one recovery took 120 s or longer, or was not seen in that time. A recovery counts only
    with a confirmed receipt of the kill, and only if its run did not fail. A kill of a recovery
    workload must have a recovery.
    """
    found = _Recoveries()
    for record in records:
        _collect(record, found)
    totals, slow, late = found.totals, found.slow, found.late
    if slow:
        return Verdict(
            status=Status.FAIL,
            measured=f"{len(slow)} of {len(slow) + len(totals)} too slow",
            interval=(min(totals + late), max(late)),
            reason=format_list(slow),
            budget=f"every recovery must end within {RECOVERY.value:.0f} s; {len(slow)} did not",
        )
    if len(totals) < FEWEST_RECOVERIES:
        raise InconclusiveError(
            format_list(
                [plural(len(totals), "proven recovery", "proven recoveries"), *found.problems]
            ),
            needs=format_shortfall(
                FEWEST_RECOVERIES - len(totals),
                "recovery with a receipt",
                "recoveries with receipts",
                each_s=_each_s(records, totals),
            ),
        )
    bound = statistics.tolerance_upper(totals)
    count = len(totals)
    measured = f"{max(totals):.1f} s slowest of {count}"
    interval = (min(totals), bound)
    each_s = _each_s(records, totals)
    free = _without_distribution(count, each_s)
    usual = math.fsum(totals) / count
    budget = (
        f"at {span(usual)} a recovery, 99 % allows a lost node every "
        f"{span(usual / (1 - AVAILABILITY))}"
    )
    if bound >= RECOVERY.value:
        return inconclusive(
            f"95 % of recoveries may take up to {bound:.0f} s; {free}",
            needs=format_shortfall(
                statistics.more_for_tolerance(totals, RECOVERY.value),
                "recovery",
                "recoveries",
                each_s=each_s,
            ),
            measured=measured,
            interval=interval,
            budget=budget,
        )
    verdict = Verdict(
        status=Status.PASS,
        measured=measured,
        interval=interval,
        reason=f"95 % of recoveries within {bound:.1f} s if log-normal, each replacement started"
        f" by {replaced_by(records)}; {free}",
        budget=budget,
    )
    return downgrade(verdict, found.problems, needs="a confirmed receipt for every recovery")


@dataclass
class _Recoveries:
    """Recoveries of all records, and how long each took in seconds."""

    totals: list[float] = field(default_factory=list)
    """Those that ended in time."""
    late: list[float] = field(default_factory=list)
    """Those that did not; infinite if nobody saw the end."""
    slow: list[str] = field(default_factory=list)
    """What to say of those."""
    problems: list[str] = field(default_factory=list)
    """What keeps the verdict from being a PASS."""


def _collect(record: Evidence, found: _Recoveries) -> None:
    """Add the recoveries of one record, and the kills that have none."""
    unused = [f for f in record.all(Fault) if f.fault == "kill" and f.target not in SERVICES]
    broken = {w.id: w.exit_code for w in record.all(Workload) if w.exit_code != 0}
    for recovery in record.all(Recovery):
        receipt = _receipt(recovery, unused)
        if receipt is None:
            found.problems.append(f"{_name(recovery)} has no receipt of a kill")
            continue
        unused.remove(receipt)
        if was_repeated(record, receipt):
            continue
        _judge(recovery, receipt, broken.get(recovery.workload), found)
    purposes = {w.id: w.purpose for w in record.all(Workload)}
    away = [gap.begin for gap in record.all(Gap)]
    found.problems += [
        f"the kill of {f.target} in {f.workload} has no recovery"
        for f in unused
        if f.workload is not None
        and purposes.get(f.workload, "recovery") == "recovery"
        # The harness itself was gone before it could see one.
        and not (f.workload not in purposes and any(at >= f.confirmed_at for at in away))
    ]


def _judge(
    recovery: Recovery, receipt: Fault, failed_status: int | None, found: _Recoveries
) -> None:
    """Sort one recovery into those in time, those too late, and those that prove nothing.

    Args:
        receipt: Of its kill.
        failed_status: Exit status of its run if that failed.
    """
    name, total = _name(recovery), recovery.total_s
    open_phases = [phase for phase, s in recovery.phases.items() if s is None]
    if not all(math.isfinite(s) for s in recovery.phases.values() if s is not None):
        # max() passes over NaN in silence, and every comparison with it is false.
        found.problems.append(f"{name} has a phase that is NaN")
    elif not receipt.confirmed:
        found.problems.append(f"the kill of {name.removeprefix('recovery of ')} is unconfirmed")
    elif failed_status is not None:
        found.slow.append(f"{name}: the run ended with exit status {failed_status}")
        found.late.append(math.inf)
    elif any(s is not None and s >= RECOVERY.value for s in recovery.phases.values()):
        slowest = max(s for s in recovery.phases.values() if s is not None)
        found.slow.append(f"{name} took {slowest:.1f} s")
        found.late.append(slowest)
    elif total is None and recovery.window_s >= RECOVERY.value:
        found.slow.append(f"{name}: {', '.join(open_phases)} not seen in {recovery.window_s:.0f} s")
        found.late.append(math.inf)
    elif total is None:
        found.problems.append(
            f"{name}: {', '.join(open_phases)} not seen, "
            f"but watched for {recovery.window_s:.0f} s only"
        )
    elif total <= 0:
        found.problems.append(f"{name} took no time")
    else:
        found.totals.append(total)


def _name(recovery: Recovery) -> str:
    return f"recovery of {recovery.target} in {recovery.workload}"


def _without_distribution(count: int, each_s: float) -> str:
    """What ``count`` recoveries in time show by themselves, and how many would show enough."""
    text = (
        f"without assuming a distribution, {count} of {count} show only "
        f"P(recovery < 120 s) > {100 * statistics.proven_content(count):.0f} %"
    )
    if more := statistics.successes_needed(count, count, 0.95):
        text += (
            f"; {format_shortfall(more, 'recovery', 'recoveries', each_s=each_s)}, would show 95 %"
        )
    return text


def _each_s(records: Sequence[Evidence], totals: Sequence[float]) -> float:
    """Seconds that one more recovery takes to gather: its workload, or the recovery alone."""
    walls = [
        w.finished_at - w.started_at
        for record in records
        for w in record.all(Workload)
        if w.purpose == "recovery"
    ]
    known = walls or totals
    return math.fsum(known) / len(known) if known else RECOVERY.value


def _receipt(recovery: Recovery, kills: Sequence[Fault]) -> Fault | None:
    """The kill that a recovery belongs to: same target, same workload, nearest in time."""

    def distance(fault: Fault) -> float:
        return max(
            fault.requested_at - recovery.fault_at, recovery.fault_at - fault.confirmed_at, 0.0
        )

    fitting = [
        fault
        for fault in kills
        if fault.target == recovery.target
        and fault.workload == recovery.workload
        and distance(fault) <= _MATCH_S
    ]
    return min(fitting, key=distance, default=None)


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="worker_recovery",
            statement="A killed worker node is replaced and its work redone",
            target="< 120 s",
            unit="s",
            clause=f'{METRICS}: "ray_worker_failure_recovery_time ... Target: < 2 minutes"',
            evidence_needed="4 or more kills of a node, each with a confirmed receipt and all "
            "phases timed",
            passes=(
                "the log-normal tolerance bound (95 % of recoveries, 95 % confidence) is below "
                "120 s, from four or more kills with receipts"
            ),
            fails=(
                "a recovery took 120 s, a phase of one was not observed in that time, or its run "
                "failed"
            ),
            measures=(
                "seconds from the request of a node's kill to the last of four moments: Ray's "
                "control service reports the node dead, its batches run elsewhere, the first "
                "result arrives, and the node is alive again. On a laboratory stack the gate "
                "itself starts the replacement: the last moment includes the start but nobody's "
                "decision to start it; in a deployed Compose project Docker's restart policy "
                "starts it, in a RayCluster of KubeRay its operator, and the gate only waits"
            ),
            clock=(
                "the gate's, for the kill, the node's death and its return; that of the "
                "engine's log of events for the two moments of its work, which lies on the same "
                "machine"
            ),
            limits=(
                "how long a cloud or an orchestrator takes to replace a machine; two nodes lost "
                "at once; whether recoveries on another day are alike: the bound assumes that "
                "their logarithms are normally distributed"
            ),
            verdict=worker_recovery,
            trusts=(
                HARNESS_CPU,
                CLOCK,
                RECEIPTS,
            ),
            timed=True,
            position=20,
            thresholds=(RECOVERY,),
        ),
    ),
    mutants=(
        Mutant(
            name="no second try",
            criterion="worker_recovery",
            stages=("recovery",),
            patches=patch(
                "ga/execution/ray/dispatcher.py",
                LOST,
                "            if reply is BatchFailure.LOST:\n"
                "                self._close(job)\n"
                "                return\n" + LOST,
            ),
        ),
        Mutant(
            name="nodes that never come back",
            criterion="worker_recovery",
            stages=("recovery",),
            injector=injectors.nodes_stay_away,
            on_containers=True,
        ),
    ),
)
