"""Does the cluster recover, lose nothing, and give the same history whatever happens?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from validation import statistics
from validation.evidence import Evidence
from validation.lookup import killed_during, workload_of, workloads
from validation.records import Audit, Fault, Generation, Recovery, Workload
from validation.verdicts import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    inconclusive,
    listed,
    plural,
    settle,
)

RECOVERY_S: Final = 120.0
FEWEST_RECOVERIES: Final = 4
_MATCH_S: Final = 5.0
"""How far the start of a recovery may lie from the receipt of its fault."""
DIGEST_LETTERS: Final = 12


def worker_recovery(records: Records) -> Verdict:
    """Time from a node's kill until every phase of its recovery was over, below 120 s.

    PASS: the tolerance bound (95 % of recoveries, 95 % confidence, log-normal) is below 120 s.
    FAIL: one recovery took 120 s or longer, or was not seen in that time. A recovery counts only
    with a confirmed receipt of the kill, and a kill of a recovery workload must have a recovery.
    """
    totals: list[float] = []
    slow: list[str] = []
    problems: list[str] = []
    for record in records:
        unused = [f for f in record.all(Fault) if f.fault == "kill"]
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
            elif any(s is not None and s >= RECOVERY_S for s in recovery.phases.values()):
                slowest = max(s for s in recovery.phases.values() if s is not None)
                slow.append(f"{name} took {slowest:.1f} s")
            elif total is None and recovery.window_s >= RECOVERY_S:
                slow.append(
                    f"{name}: {', '.join(open_phases)} not seen in {recovery.window_s:.0f} s"
                )
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
        problems += [
            f"the kill of {f.target} in {f.workload} has no recovery"
            for f in unused
            if f.workload is not None and purposes.get(f.workload, "recovery") == "recovery"
        ]
    if slow:
        return Verdict(
            status=Status.FAIL,
            measured=f"{len(slow)} of {len(slow) + len(totals)} too slow",
            reason=listed(slow),
        )
    if len(totals) < FEWEST_RECOVERIES:
        raise InconclusiveError(
            listed([plural(len(totals), "proven recovery", "proven recoveries"), *problems]),
            needs=plural(
                FEWEST_RECOVERIES - len(totals),
                "more recovery with a receipt",
                "more recoveries with receipts",
            ),
        )
    bound = statistics.tolerance_upper(totals)
    count = len(totals)
    measured = f"{max(totals):.1f} s slowest of {count}"
    interval = (min(totals), bound)
    free = (
        f"without assuming a distribution, {count} of {count} show only "
        f"P(recovery < 120 s) > {100 * statistics.proven_content(count):.0f} %"
    )
    if bound >= RECOVERY_S:
        return inconclusive(
            f"95 % of recoveries may take up to {bound:.0f} s; {free}",
            needs="more recoveries: the bound narrows with their number",
            measured=measured,
            interval=interval,
        )
    verdict = Verdict(
        status=Status.PASS,
        measured=measured,
        interval=interval,
        reason=f"95 % of recoveries within {bound:.1f} s if log-normal; {free}",
    )
    return settle(verdict, problems, needs="a confirmed receipt for every recovery")


def no_data_loss(records: Records) -> Verdict:
    """No individual lost, doubled, failed or altered, with a node killed on the way.

    Every finished workload needs an audit of its ledger. The history's digest must be the one
    that its rows give when recomputed, and the one that the process reported.
    """
    wrong: list[str] = []
    problems: list[str] = []
    audited = sampled = 0
    killed = False
    for record in records:
        known = workloads(record)
        audits: dict[str, Audit] = {}
        for audit in record.all(Audit):
            workload_of(known, audit.workload, said_by="an audit")
            if audit.workload in audits:
                raise InconclusiveError(f"{audit.workload} was audited twice")
            audits[audit.workload] = audit
        for workload in known.values():
            found = audits.get(workload.id)
            if found is None:
                _unaudited(record, workload, wrong, problems)
                continue
            wrong += _losses(workload, found)
            problems += _doubts(workload, found)
            audited += found.expected
            sampled += found.sampled
            killed = killed or killed_during(record, workload)
    if wrong:
        return Verdict(
            status=Status.FAIL,
            measured=plural(len(wrong), "finding"),
            reason=listed(wrong, most=5),
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
        measured=f"0 of {audited} lost or doubled",
        interval=(0.0, rate),
        reason=f"fewer than {rate:.2g} of all individuals (95 % confidence, rule of three); "
        f"{plural(sampled, 'evaluation')} repeated, all equal",
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
    if wrong:
        return Verdict(
            status=Status.FAIL, measured=plural(len(wrong), "difference"), reason=listed(wrong)
        )
    compared = sum(len(members) for members in groups.values() if len(members) > 1)
    measured = f"{compared} histories equal" if compared else ""
    missing = [_uncovered(members) for members in groups.values()]
    if not all(missing):
        return Verdict(
            status=Status.PASS,
            measured=measured,
            reason="one digest locally, on the cluster, at different sizes, and with a node killed",
        )
    nearest = min(missing, key=len) if missing else ["finished workloads"]
    return inconclusive(
        "no group of equal workloads covers everything"
        if groups
        else "no workload finished with a digest",
        needs="equal workloads with " + ", ".join(nearest) if missing else nearest[0],
        measured=measured,
    )


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


def _losses(workload: Workload, audit: Audit) -> list[str]:
    """Proven misses in one audit, with witnesses."""
    counts = {
        "lost": max(audit.lost, audit.expected - audit.committed),
        "doubled": max(audit.doubled, audit.committed - audit.expected),
        "failed": audit.failed,
        "different when repeated": audit.mismatched,
    }
    found = [f"{count} {what}" for what, count in counts.items() if count > 0]
    digests = {audit.digest, audit.recomputed_digest, workload.digest} - {None}
    if len(digests) > 1:
        found.append(
            f"digests differ (stored {_short(audit.digest)}, recomputed "
            f"{_short(audit.recomputed_digest)}, reported {_short(workload.digest)})"
        )
    if not found:
        return []
    witnesses = f" ({listed(audit.witnesses)})" if audit.witnesses else ""
    return [f"{workload.id}: {', '.join(found)}{witnesses}"]


def _doubts(workload: Workload, audit: Audit) -> list[str]:
    """What keeps an audit without a finding from proving anything."""
    planned = workload.population_size * workload.generations
    doubts = []
    if audit.expected != planned:
        doubts.append(f"the audit of {workload.id} expected {audit.expected}, not {planned}")
    if audit.digest is None or audit.recomputed_digest is None:
        doubts.append(f"the audit of {workload.id} lacks a digest")
    return doubts


def _uncovered(members: Sequence[tuple[Evidence, Workload]]) -> list[str]:
    """What a group of equal workloads still lacks to prove reproducibility."""
    arms = {workload.arm for _, workload in members}
    sizes = {(workload.nodes, workload.workers) for _, workload in members}
    lacks = [f"a {arm} one" for arm in ("local", "distributed") if arm not in arms]
    if len(sizes) < 2:
        lacks.append("two different sizes")
    if not any(killed_during(record, workload) for record, workload in members):
        lacks.append("a node killed, by receipt, while one ran")
    return lacks


def _short(digest: str | None) -> str:
    return "none" if digest is None else digest[:DIGEST_LETTERS]
