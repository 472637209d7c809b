"""Does the cluster recover, lose nothing, and give the same history whatever happens?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from fixtures.protocols import SERVICES
from validation import statistics
from validation.evidence.log import Evidence
from validation.evidence.operations import Fate, Fates, fates, operations
from validation.evidence.queries import killed_during, workloads
from validation.evidence.records import Fault, Gap, Recovery, Workload
from validation.evidence.records_ledger import Audit, Generation, NodeCheck
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    inconclusive,
    listed,
    plural,
    settle,
    span,
    still,
)

RECOVERY_S: Final = 120.0
FEWEST_RECOVERIES: Final = 4
_MATCH_S: Final = 5.0
"""How far the start of a recovery may lie from the receipt of its fault."""
DIGEST_LETTERS: Final = 12
AVAILABILITY: Final = 0.99
_NO_DIFFERENCE: Final = "no difference is allowed between equal workloads"


def worker_recovery(records: Records) -> Verdict:
    """Time from a node's kill until every phase of its recovery was over, below 120 s.

    PASS: the tolerance bound (95 % of recoveries, 95 % confidence, log-normal) is below 120 s.
    FAIL: one recovery took 120 s or longer, or was not seen in that time. A recovery counts only
    with a confirmed receipt of the kill, a kill of a recovery workload must have a recovery, and
    one whose run came to nothing was none.
    """
    totals: list[float] = []
    slow: list[str] = []
    late: list[float] = []
    problems: list[str] = []
    for record in records:
        unused = [f for f in record.all(Fault) if f.fault == "kill" and f.target not in SERVICES]
        broken = {w.id: w.exit_code for w in record.all(Workload) if w.exit_code != 0}
        for recovery in record.all(Recovery):
            name = f"recovery of {recovery.target} in {recovery.workload}"
            receipt = _receipt(recovery, unused)
            if receipt is None:
                problems.append(f"{name} has no receipt of a kill")
                continue
            unused.remove(receipt)
            total = recovery.total_s
            open_phases = [phase for phase, s in recovery.phases.items() if s is None]
            if not all(math.isfinite(s) for s in recovery.phases.values() if s is not None):
                # max() passes over NaN in silence, and every comparison with it is false.
                problems.append(f"{name} has a phase that is no number")
            elif not receipt.confirmed:
                problems.append(f"the kill of {name.removeprefix('recovery of ')} is unconfirmed")
            elif recovery.workload in broken:
                status = broken[recovery.workload]
                slow.append(f"{name}: the run ended with exit status {status}")
                late.append(math.inf)
            elif any(s is not None and s >= RECOVERY_S for s in recovery.phases.values()):
                slowest = max(s for s in recovery.phases.values() if s is not None)
                slow.append(f"{name} took {slowest:.1f} s")
                late.append(slowest)
            elif total is None and recovery.window_s >= RECOVERY_S:
                slow.append(
                    f"{name}: {', '.join(open_phases)} not seen in {recovery.window_s:.0f} s"
                )
                late.append(math.inf)
            elif total is None:
                problems.append(
                    f"{name}: {', '.join(open_phases)} not seen, "
                    f"but watched for {recovery.window_s:.0f} s only"
                )
            elif total <= 0:
                problems.append(f"{name} took no time")
            else:
                totals.append(total)
        purposes = {w.id: w.purpose for w in record.all(Workload)}
        away = [gap.begin for gap in record.all(Gap)]
        problems += [
            f"the kill of {f.target} in {f.workload} has no recovery"
            for f in unused
            if f.workload is not None
            and purposes.get(f.workload, "recovery") == "recovery"
            # The harness itself was gone before it could see one.
            and not (f.workload not in purposes and any(at >= f.confirmed_at for at in away))
        ]
    if slow:
        return Verdict(
            status=Status.FAIL,
            measured=f"{len(slow)} of {len(slow) + len(totals)} too slow",
            interval=(min(totals + late), max(late)),
            reason=listed(slow),
            budget=f"every recovery must end within {RECOVERY_S:.0f} s; {len(slow)} did not",
        )
    if len(totals) < FEWEST_RECOVERIES:
        raise InconclusiveError(
            listed([plural(len(totals), "proven recovery", "proven recoveries"), *problems]),
            needs=still(
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
    free = (
        f"without assuming a distribution, {count} of {count} show only "
        f"P(recovery < 120 s) > {100 * statistics.proven_content(count):.0f} %"
    )
    if more := statistics.more_successes(count, count, 0.95):
        free += f"; {still(more, 'recovery', 'recoveries', each_s=each_s)}, would show 95 %"
    usual = math.fsum(totals) / count
    budget = (
        f"at {span(usual)} a recovery, 99 % allows a lost node every "
        f"{span(usual / (1 - AVAILABILITY))}"
    )
    if bound >= RECOVERY_S:
        return inconclusive(
            f"95 % of recoveries may take up to {bound:.0f} s; {free}",
            needs=still(
                statistics.more_for_tolerance(totals, RECOVERY_S),
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
        reason=f"95 % of recoveries within {bound:.1f} s if log-normal; {free}",
        budget=budget,
    )
    return settle(verdict, problems, needs="a confirmed receipt for every recovery")


def no_data_loss(records: Records) -> Verdict:
    """No individual lost, doubled, failed or altered, with a node killed on the way.

    Every individual of every workload is classed as committed, lost, doubled or unknown. The
    history's digest must be the one that its rows give when recomputed, and the one that the
    process reported. An individual of unknown fate rules out a PASS, unless the harness itself was
    away, by a gap in the record, when its workload ended: then nobody was promised anything.
    """
    wrong: list[str] = []
    problems: list[str] = []
    totals = Counter[Fate]()
    sampled = 0
    killed = False
    for record in records:
        for operation in operations(record):
            found = fates(operation)
            totals.update(found.counts)
            audit, workload = operation.audit, operation.completion
            if workload is None:
                if not operation.explained:
                    problems.append(f"nobody saw the end of {operation.id}")
                continue
            if audit is None:
                if found.witnesses:
                    wrong.append(f"{operation.id}: {listed(found.witnesses)}")
                if not operation.explained or workload.exit_code != 0:
                    _unaudited(record, workload, wrong, problems)
                continue
            wrong += _losses(workload, audit, found)
            problems += _doubts(workload, audit, found)
            sampled += audit.sampled
            killed = killed or killed_during(record, workload)
    audited = totals[Fate.COMMITTED]
    measured = ", ".join(f"{totals[fate]} {fate.value}" for fate in Fate)
    budget = f"none may be lost or doubled; {totals[Fate.LOST] + totals[Fate.DOUBLED]} were"
    if wrong:
        bad = totals[Fate.LOST] + totals[Fate.DOUBLED]
        share = statistics.proportion(bad, max(audited + bad, 1))
        return Verdict(
            status=Status.FAIL,
            measured=f"{plural(len(wrong), 'finding')}: {measured}",
            interval=(share.lower, share.upper),
            reason=listed(wrong, most=5),
            budget=budget,
        )
    if not audited:
        raise InconclusiveError(
            listed(["no ledger was audited", *problems]),
            needs="audits of finished workloads, one with a node killed in it",
        )
    if not killed:
        problems.append("no audited workload had a node killed while it ran, by receipt")
    if not sampled:
        problems.append("no evaluation was repeated independently")
    rate = statistics.zero_count_upper(audited)
    verdict = Verdict(
        status=Status.PASS,
        measured=measured,
        interval=(0.0, rate),
        reason=f"fewer than {rate:.2g} of all individuals (95 % confidence, rule of three); "
        f"{plural(sampled, 'evaluation')} repeated, all equal",
        budget=budget,
    )
    return settle(verdict, problems, needs="audits of all workloads, a kill during one of them")


def reproducibility(records: Records) -> Verdict:
    """The same seed and settings give one history: locally, on any cluster, whatever is killed.

    Workloads are grouped by seed, market, population and generations, across all runs. One group
    must span both arms, two different sizes, and a confirmed kill.
    """
    groups: dict[tuple[object, ...], list[tuple[Evidence, Workload]]] = {}
    wrong: list[str] = []
    for record in records:
        wrong += [
            f"node {check.node} ({check.processor}) gets no work: {check.refused}"
            for check in record.all(NodeCheck)
            if check.refused is not None
        ]
        for workload in workloads(record).values():
            if workload.exit_code != 0:
                continue
            if workload.digest is None:
                wrong.append(f"{workload.id} finished without a digest")
                continue
            key = (
                workload.seed,
                workload.market,
                workload.population_size,
                workload.generations,
            )
            groups.setdefault(key, []).append((record, workload))
    for members in groups.values():
        first = members[0][1]
        wrong += [
            f"{first.id} gives {_short(first.digest)}, {other.id} gives {_short(other.digest)}"
            for _, other in members[1:]
            if other.digest != first.digest
        ]
    # The first of each group is what the others are compared to.
    trials = sum(len(members) - 1 for members in groups.values())
    if wrong:
        bounds = statistics.proportion(len(wrong), max(trials, len(wrong)))
        return Verdict(
            status=Status.FAIL,
            measured=plural(len(wrong), "difference"),
            interval=(bounds.lower, bounds.upper),
            reason=listed(wrong),
            budget=_NO_DIFFERENCE,
        )
    compared = sum(len(members) for members in groups.values() if len(members) > 1)
    measured = f"{compared} histories equal" if compared else ""
    interval = (0.0, statistics.zero_count_upper(trials)) if trials else None
    missing = [_uncovered(members) for members in groups.values()]
    if not all(missing):
        return Verdict(
            status=Status.PASS,
            measured=measured,
            interval=interval,
            reason="one digest locally, on the cluster, at different sizes, and with a node killed;"
            f" on {_processors(records)}",
            budget=_NO_DIFFERENCE,
        )
    nearest = min(missing, key=len) if missing else ["finished workloads"]
    return inconclusive(
        "no group of equal workloads covers everything"
        if groups
        else "no workload finished with a digest",
        needs="equal workloads with " + ", ".join(nearest) if missing else nearest[0],
        measured=measured,
        interval=interval,
        budget=_NO_DIFFERENCE,
    )


def _each_s(records: Sequence[Evidence], totals: Sequence[float]) -> float:
    """Seconds that one more recovery takes to gather: its workload, or the recovery alone."""
    walls = [
        w.finished_at - w.started_at
        for record in records
        for w in record.all(Workload)
        if w.purpose == "recovery"
    ]
    known = walls or totals
    return math.fsum(known) / len(known) if known else RECOVERY_S


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


def _unaudited(record: Evidence, workload: Workload, wrong: list[str], problems: list[str]) -> None:
    if workload.exit_code == 0:
        problems.append(f"{workload.id} finished, but its ledger was not audited")
        return
    done = {g.generation for g in record.all(Generation) if g.workload == workload.id}
    if len(done) < workload.generations:
        wrong.append(
            f"{workload.id} ended with status {workload.exit_code} after {len(done)} of "
            f"{workload.generations} generations"
        )
    else:
        problems.append(f"{workload.id} crashed, and its ledger was not audited")


def _losses(workload: Workload, audit: Audit, found: Fates) -> list[str]:
    """Proven misses of one workload, with witnesses."""
    counts = {
        "lost": found.counts.get(Fate.LOST, 0) or max(audit.lost, audit.expected - audit.committed),
        "doubled": found.counts.get(Fate.DOUBLED, 0) or audit.doubled,
        "failed": audit.failed,
        "different when repeated": audit.mismatched,
    }
    said = [f"{count} {what}" for what, count in counts.items() if count > 0]
    digests = {audit.digest, audit.recomputed_digest, workload.digest} - {None}
    if len(digests) > 1:
        said.append(
            f"digests differ (stored {_short(audit.digest)}, recomputed "
            f"{_short(audit.recomputed_digest)}, reported {_short(workload.digest)})"
        )
    if not said:
        return []
    names = found.witnesses or audit.witnesses
    return [f"{workload.id}: {', '.join(said)}{f' ({listed(names)})' if names else ''}"]


def _doubts(workload: Workload, audit: Audit, found: Fates) -> list[str]:
    """What keeps an audit without a finding from proving anything."""
    planned = workload.population_size * workload.generations
    doubts = []
    if audit.expected != planned:
        doubts.append(f"the audit of {workload.id} expected {audit.expected}, not {planned}")
    if audit.digest is None or audit.recomputed_digest is None:
        doubts.append(f"the audit of {workload.id} lacks a digest")
    if unknown := found.counts.get(Fate.UNKNOWN, 0):
        doubts.append(f"{workload.id}: the fate of {plural(unknown, 'individual')} is unknown")
    if audit.committed != found.counts.get(Fate.COMMITTED, 0):
        doubts.append(
            f"the audit of {workload.id} counted {audit.committed} committed, its places are "
            f"{found.counts.get(Fate.COMMITTED, 0)}"
        )
    return doubts


def _uncovered(members: Sequence[tuple[Evidence, Workload]]) -> list[str]:
    """What a group of equal workloads still lacks to prove reproducibility."""
    arms = {workload.arm for _, workload in members}
    sizes = {(workload.nodes, workload.workers) for _, workload in members}
    lacks = [f"a {arm} one" for arm in ("local", "distributed") if arm not in arms]
    if len(sizes) < 2:
        lacks.append("two different sizes")
    if not all(_checked(record, workload) for record, workload in members):
        lacks.append("the processor of every node, and that it computes the same bits")
    if not any(killed_during(record, workload) for record, workload in members):
        lacks.append("a node killed, by receipt, while one ran")
    return lacks


def _checked(record: Evidence, workload: Workload) -> bool:
    """Whether every node that answered, and at least one, passed the engine's check before."""
    mine = [c for c in record.all(NodeCheck) if c.workload == workload.id and c.refused is None]
    nodes = {c.node for c in mine if (c.node == "local") == (workload.arm == "local")}
    return bool(nodes) and all(c.digest for c in mine)


def _processors(records: Records) -> str:
    """Every processor that evaluated, with the number of nodes."""
    nodes: dict[str, set[str]] = {}
    for record in records:
        for check in record.all(NodeCheck):
            if check.digest and check.refused is None:
                nodes.setdefault(check.processor, set()).add(check.node)
    return ", ".join(f"{name} ({plural(len(of), 'node')})" for name, of in sorted(nodes.items()))


def _short(digest: str | None) -> str:
    return "none" if digest is None else digest[:DIGEST_LETTERS]
