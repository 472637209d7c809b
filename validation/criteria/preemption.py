"""A node that is removed with notice loses nothing."""

from __future__ import annotations

from typing import Final

from validation.contract import CLOCK, RECEIPTS, Criterion, CriterionPlugin, Mutant, SourcePatch
from validation.criteria.helpers import failed, history
from validation.evidence.queries import was_repeated, workloads
from validation.evidence.records import Fault
from validation.evidence.records_network import Drain
from validation.mutation.patches import ALIVE, FLEET, OTHER_ON_CLUSTER
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    downgrade,
    format_list,
    plural,
)


def preemption(records: Records) -> Verdict:
    """Draining a node with a deadline, then killing it, loses no individual and changes no result.

    It counts only if the control service reported the node as draining or gone before
    the kill, and with the kill's receipt.
    """
    wrong: list[str] = []
    problems: list[str] = []
    early: list[str] = []
    proven = 0
    for record in records:
        known = workloads(record)
        kills = {f.workload: f for f in record.all(Fault) if f.fault == "kill" and f.confirmed}
        again = {f.workload for f in record.all(Fault) if was_repeated(record, f)}
        for drain in record.all(Drain):
            if drain.workload in again:
                continue
            workload, kill = known.get(drain.workload), kills.get(drain.workload)
            if workload is None:
                problems.append(f"the end of {drain.workload} was not observed")
            elif not drain.accepted or not drain.confirmed:
                problems.append(f"{drain.target} was not reported as draining ({drain.detail})")
            elif kill is None or kill.target != drain.target:
                problems.append(f"no receipt that {drain.target} was killed at its deadline")
            else:
                found, doubts = history(record, workload)
                wrong += found
                problems += doubts
                if not drain.requested_at < kill.requested_at <= workload.finished_at:
                    early.append(f"{workload.id} had ended before the deadline of {drain.target}")
                else:
                    proven += not found and not doubts
    if wrong:
        return failed(wrong)
    needs = "a run during which a node is drained, confirmed, and killed at its deadline"
    if not proven:
        raise InconclusiveError(
            format_list([*problems, *early] or ["no node was drained"]), needs=needs
        )
    verdict = Verdict(
        status=Status.PASS,
        measured=f"0 lost in {plural(proven, 'run')}",
        reason="draining confirmed by the control service, the kill by a receipt; all individuals "
        "committed, and the history equals the undisturbed one",
    )
    return downgrade(verdict, problems, needs=needs)


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="preemption",
            statement="A node that is removed with notice loses nothing",
            target="0 lost",
            clause='Cloud Deployment Scaling: "Spot instances for cost optimization"',
            evidence_needed="a drain with a deadline, confirmed by the control service, a kill "
            "with a receipt, and an audit",
            passes=(
                "a node is drained with notice, as Ray's control service confirms, and then "
                "killed, with a receipt: nothing is lost, and the digest is that of an "
                "undisturbed run"
            ),
            fails="an individual was lost, or the digest differs",
            measures=(
                "the individuals in the ledger, and the digest of the history, of a run from "
                "which one node is drained with a deadline and then killed, compared with an "
                "undisturbed run"
            ),
            clock=(
                "that of Ray's control service, which confirms the drain; the receipt of the "
                "kill is the gate's"
            ),
            limits=(
                "a notice by a cloud's own interface; a node that goes without notice, which "
                "`worker_recovery` tests; several nodes at once"
            ),
            verdict=preemption,
            trusts=(
                CLOCK,
                RECEIPTS,
            ),
            timed=True,
            position=190,
        ),
    ),
    mutants=(
        Mutant(
            name="another result on the cluster",
            criterion="preemption",
            stages=("reference", "preemption"),
            patches=OTHER_ON_CLUSTER,
        ),
        Mutant(
            # Its own work is done when it ends: a draining node takes no new work.
            name="work that is lost when a node is removed",
            criterion="preemption",
            stages=("reference", "preemption"),
            patches=(
                SourcePatch(
                    file=FLEET,
                    old=ALIVE,
                    new=f"        self.left = len(found) < len(self._warming)\n{ALIVE}",
                ),
                SourcePatch(
                    file=FLEET,
                    old="        return answer.results\n",
                    new="        return [] if self.left else answer.results\n",
                ),
            ),
        ),
    ),
)
