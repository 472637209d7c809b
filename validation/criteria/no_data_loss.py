"""No individual is lost, doubled or altered, whatever is killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from validation import statistics
from validation.contract import CLOCK, RECEIPTS, Criterion, CriterionPlugin, Mutant
from validation.criteria.helpers import short
from validation.criteria.plan import GO
from validation.evidence.log import Evidence
from validation.evidence.operations import Fate, FateCounts, classify_individuals, operations
from validation.evidence.queries import killed_during
from validation.evidence.records import Workload
from validation.evidence.records_ledger import Audit, Generation
from validation.mutation import injectors
from validation.mutation.patches import BENT, EVALUATES, LIFTED, WORKER, patch
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    downgrade,
    format_list,
    plural,
)


def no_data_loss(records: Records) -> Verdict:
    """No individual lost, doubled, failed or altered, with a node killed on the way.

    Every individual of every workload is classed as committed, lost, doubled or unknown. The
    history's digest must be the one that its rows give when recomputed, and the one that the
    process reported. An individual of unknown fate rules out a PASS, unless a gap in the record
    shows that the harness itself was not running when the workload ended: then no commit was
    acknowledged.
    """
    wrong: list[str] = []
    problems: list[str] = []
    totals = Counter[Fate]()
    judged: list[Audit] = []
    killed = False
    for record in records:
        for operation in operations(record):
            found = classify_individuals(operation)
            totals.update(found.counts)
            audit, workload = operation.audit, operation.completion
            if workload is None:
                if not operation.explained:
                    problems.append(f"the end of {operation.id} was not observed")
                continue
            if audit is None:
                if found.witnesses:
                    wrong.append(f"{operation.id}: {format_list(found.witnesses)}")
                if not operation.explained or workload.exit_code != 0:
                    _unaudited(record, workload, wrong, problems)
                continue
            wrong += _losses(workload, audit, found)
            problems += _doubts(workload, audit, found)
            judged.append(audit)
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
            reason=format_list(wrong, most=5),
            budget=budget,
        )
    if not audited:
        raise InconclusiveError(
            format_list(["no ledger was audited", *problems]),
            needs="audits of finished workloads, one with a node killed in it",
        )
    if not killed:
        problems.append("no audited workload has a confirmed receipt of a node killed while it ran")
    if not any(audit.sampled for audit in judged):
        problems.append("no evaluation was repeated")
    if not any(audit.independent for audit in judged):
        problems.append("no evaluation was repeated on the independent path")
    rate = statistics.zero_count_upper(audited)
    verdict = Verdict(
        status=Status.PASS,
        measured=measured,
        interval=(0.0, rate),
        reason=f"fewer than {rate:.2g} of all individuals (95 % confidence, rule of three); "
        f"{_repeated(judged)}",
        budget=budget,
    )
    return downgrade(verdict, problems, needs="audits of all workloads, a kill during one of them")


def _repeated(audits: Sequence[Audit]) -> str:
    """What the repeated evaluations show, and of which share of wrong results."""
    independent = sum(audit.independent or 0 for audit in audits)
    without = sorted({family for audit in audits for family in audit.without_path or ()})
    undecided = sum(audit.undecided or 0 for audit in audits)
    said = (
        f"{plural(sum(audit.sampled for audit in audits), 'evaluation')} repeated bit for bit, "
        f"{independent} of them also on the independent path, all equal: a defect in "
        f"{statistics.zero_count_upper(max(independent, 1)):.2g} of all results would show (95 %)"
    )
    if without:
        said += f"; no independent path for {', '.join(without)}"
    if undecided:
        said += f"; {undecided} that decide by less than rounding were not judged"
    return said


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


def _losses(workload: Workload, audit: Audit, found: FateCounts) -> list[str]:
    """Proven losses of one workload, with witnesses."""
    counts = {
        "lost": found.counts.get(Fate.LOST, 0) or max(audit.lost, audit.expected - audit.committed),
        "doubled": found.counts.get(Fate.DOUBLED, 0) or audit.doubled,
        "failed": audit.failed,
        "different when repeated": audit.mismatched,
        "different on the independent path": audit.independent_differing or 0,
        "irregular": audit.irregular or 0,
    }
    said = [f"{count} {what}" for what, count in counts.items() if count > 0]
    digests = {audit.digest, audit.recomputed_digest, workload.digest} - {None}
    if len(digests) > 1:
        said.append(
            f"digests differ (stored {short(audit.digest)}, recomputed "
            f"{short(audit.recomputed_digest)}, reported {short(workload.digest)})"
        )
    if not said:
        return []
    names = found.witnesses or audit.witnesses
    return [f"{workload.id}: {', '.join(said)}{f' ({format_list(names)})' if names else ''}"]


def _doubts(workload: Workload, audit: Audit, found: FateCounts) -> list[str]:
    """Why an audit without findings proves nothing."""
    planned = workload.population_size * workload.generations
    doubts = []
    if audit.expected != planned:
        doubts.append(f"the audit of {workload.id} expected {audit.expected}, not {planned}")
    if None in (audit.content, audit.independent, audit.independent_differing, audit.irregular):
        doubts.append(
            f"the audit of {workload.id} did not read every column, or had no independent path"
        )
    elif not audit.winners or not audit.sample_seed:
        doubts.append(f"the audit of {workload.id} did not repeat the winners")
    if audit.digest is None or audit.recomputed_digest is None:
        doubts.append(f"the audit of {workload.id} lacks a digest")
    if unknown := found.counts.get(Fate.UNKNOWN, 0):
        doubts.append(f"{workload.id}: the fate of {plural(unknown, 'individual')} is unknown")
    if audit.committed != found.counts.get(Fate.COMMITTED, 0):
        doubts.append(
            f"the audit of {workload.id} counted {audit.committed} committed, its places hold "
            f"{found.counts.get(Fate.COMMITTED, 0)}"
        )
    return doubts


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="no_data_loss",
            statement="No individual is lost, doubled or altered, whatever is killed",
            target="0 lost or doubled",
            unit="share of individuals",
            clause=f'{GO}: "No critical failures or data loss during testing"',
            evidence_needed="an audit of every finished workload's ledger, a node killed during "
            "one of them",
            passes=(
                "no individual is lost, doubled, failed or altered in any audited ledger, with a "
                "node killed in one of the runs"
            ),
            fails="an individual was, or an evaluation differs when it is repeated",
            measures=(
                "every individual of every workload, from the start of its process to the read of "
                "its ledger after its end; its digest, recomputed from the rows; and evaluations "
                "that are repeated: the best of each generation and family, the final strategies "
                "with their hold-out, and 100 others, at most 24 of them of families that learn"
            ),
            clock=(
                "the gate's own SQL. The engine repeats each evaluation bit for bit. Plain Python "
                "that shares no code with the engine's kernels (`validation/independent`) repeats "
                "those of the 12 rule families, to 1e-8. The sample is drawn with a seed of run "
                "and workload, which the audit records"
            ),
            limits=(
                "a defect in a share p of the results is in a sample of n with probability "
                "1 - (1 - p)^n, pooled over all workloads: the verdict states the share that 95 % "
                "find. Of the two families that learn only the engine repeats evaluations. Both "
                "paths read prices with the engine's loader"
            ),
            verdict=no_data_loss,
            trusts=(
                CLOCK,
                RECEIPTS,
            ),
            position=140,
        ),
    ),
    mutants=(
        Mutant(
            name="dropped write",
            criterion="no_data_loss",
            stages=("reference",),
            patches=patch(
                "ga/ledger/store.py",
                "insert(connection, individuals, members)",
                "insert(connection, individuals, members[:-1])",
            ),
        ),
        Mutant(
            name="an individual held twice",
            criterion="no_data_loss",
            stages=("reference",),
            patches=patch(
                "ga/ledger/store.py",
                "insert(connection, individuals, members)",
                "insert(connection, individuals,"
                " [*members, (run, generation, len(members), members[0][3])])",
            ),
        ),
        Mutant(
            name="a kill without a receipt",
            criterion="no_data_loss",
            stages=("reference", "recovery"),
            injector=injectors.no_receipts,
            on_containers=True,
            expects="INCONCLUSIVE",
        ),
        Mutant(
            name="altered results",
            criterion="no_data_loss",
            stages=("reference",),
            patches=patch(WORKER, EVALUATES, BENT.format(where="")),
        ),
        Mutant(
            name="one more fitness for one genome in a thousand, everywhere",
            criterion="no_data_loss",
            stages=("reference",),
            patches=LIFTED,
        ),
        Mutant(
            name="the hold-out column holds in-sample values",
            criterion="no_data_loss",
            stages=("reference",),
            patches=patch(
                "ga/ledger/strategies.py",
                "        (run, rank, one.outcome.key, *astuple(one.sharpes))\n",
                "        (run, rank, one.outcome.key, one.sharpes.in_sample,"
                " one.sharpes.out_of_sample, one.sharpes.in_sample)\n",
            ),
        ),
    ),
)
