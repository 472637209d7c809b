"""A run finishes on one machine when the cluster is lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from validation.contract import CLOCK, RECEIPTS, Criterion, CriterionPlugin, Mutant
from validation.evidence.log import Evidence
from validation.evidence.queries import HEAD, workloads
from validation.evidence.records import Fault, Workload
from validation.evidence.records_ledger import Audit, Fallback
from validation.mutation.patches import patch
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    downgrade,
    format_list,
    plural,
)


def rollback(records: Records) -> Verdict:
    """A run whose whole cluster is killed continues on this machine, with the same history.

    The run counts only if confirmed receipts show that the head and every node were killed while it
    ran, and if it reported the failover. A run that had ended before proves nothing.
    """
    wrong: list[str] = []
    problems: list[str] = []
    proven = 0
    for record in records:
        known = workloads(record)
        fallbacks = {f.workload: f.count for f in record.all(Fallback)}
        for workload in known.values():
            if workload.purpose != "rollback":
                continue
            alive = _survivors(record, workload)
            if alive:
                problems.append(f"{workload.id}: no receipt that {format_list(alive)} was killed")
                continue
            bad = unlike(record, workload)
            if bad:
                wrong.append(f"{workload.id}: {format_list(bad)}")
            elif fallbacks.get(workload.id, 0) < 1:
                problems.append(
                    f"{workload.id} reported no failover, so it did not lose the cluster"
                )
            elif not (equals := undisturbed(known, workload)):
                problems.append(f"{workload.id} has no undisturbed run to compare with")
            elif any(w.digest != workload.digest for w in equals):
                wrong.append(f"{workload.id}: its history differs from that of {equals[0].id}")
            else:
                proven += 1
    if wrong:
        return Verdict(
            status=Status.FAIL, measured=plural(len(wrong), "finding"), reason=format_list(wrong)
        )
    needs = "a run during which the head and every node are killed, with receipts"
    if not proven:
        raise InconclusiveError(format_list(problems or ["no run lost its cluster"]), needs=needs)
    verdict = Verdict(
        status=Status.PASS,
        measured=f"{plural(proven, 'run')} finished without the cluster",
        reason="the head and every node killed, with receipts; nothing lost, and the history "
        "equals the undisturbed one",
    )
    return downgrade(verdict, problems, needs=needs)


def _survivors(record: Evidence, workload: Workload) -> list[str]:
    """Parts of the cluster without a confirmed receipt of a kill while the workload ran."""
    killed = {
        fault.target
        for fault in record.all(Fault)
        if fault.fault == "kill"
        and fault.confirmed
        and fault.workload == workload.id
        and workload.started_at <= fault.requested_at <= workload.finished_at
    }
    left = [] if HEAD in killed else ["the head"]
    nodes = len(killed - {HEAD})
    if nodes < max(workload.nodes, 1):
        left.append(f"{max(workload.nodes, 1) - nodes} of {workload.nodes} nodes")
    return left


def unlike(record: Evidence, workload: Workload) -> list[str]:
    """Signs that the run did not end well."""
    found = []
    if workload.exit_code != 0:
        found.append(f"exit status {workload.exit_code} ({workload.error})")
        return found
    audits = [a for a in record.all(Audit) if a.workload == workload.id]
    if not audits:
        raise InconclusiveError(f"{workload.id} was not audited", needs="an audit of its ledger")
    for audit in audits:
        if audit.lost or audit.doubled or audit.failed or audit.committed != audit.expected:
            found.append(f"{audit.committed} of {audit.expected} individuals committed")
        if {audit.digest, audit.recomputed_digest} != {workload.digest}:
            found.append("its ledger has another digest than the process reported")
    return found


def undisturbed(known: dict[str, Workload], workload: Workload) -> Sequence[Workload]:
    """Equal workloads of the same run without a fault."""
    return [
        w
        for w in known.values()
        if w.purpose == "reproducibility"
        and w.exit_code == 0
        and (w.seed, w.market, w.population_size, w.generations)
        == (workload.seed, workload.market, workload.population_size, workload.generations)
    ]


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="rollback",
            statement="A run finishes on one machine when the cluster is lost",
            target="finishes with an equal digest",
            clause='Rollback Strategy: "System continues operation without distributed benefits"',
            evidence_needed="a run whose head and nodes are killed, with receipts, and its audit",
            passes=(
                "the head and every node are killed during a run, with receipts; the run ends on "
                "this machine, loses nothing, and has the digest of an undisturbed run"
            ),
            fails="the run failed, an individual was lost, or the digest differs",
            measures=(
                "the individuals in the ledger, and the digest of the history, of a run whose "
                "head and nodes are all killed, compared with an undisturbed run"
            ),
            clock="the receipts of the kills are the gate's; the rest is not timed",
            limits=(
                "how much longer the run takes on one machine; the loss of the machine of the "
                "coordinator, after which a run is resumed by hand or by the service"
            ),
            verdict=rollback,
            trusts=(
                CLOCK,
                RECEIPTS,
            ),
            position=170,
        ),
    ),
    mutants=(
        Mutant(
            name="no fall-back",
            criterion="rollback",
            stages=("reference", "rollback"),
            patches=patch(
                "ga/runner.py",
                "        self._counters.fallbacks += 1\n",
                "        raise error\n        self._counters.fallbacks += 1\n",
            ),
        ),
    ),
)
