"""Does it go on without the cluster, come back from a backup, and refuse what is wrong?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from validation.criteria.resilience import DIGEST_LETTERS
from validation.evidence.log import Evidence
from validation.evidence.queries import HEAD, workload_of, workloads
from validation.evidence.records import Fault, Workload
from validation.evidence.records_ledger import Audit, Fallback, Refusal, Restore
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    inconclusive,
    listed,
    plural,
    settle,
)

BAD_INPUTS: Final = frozenset(
    {
        "missing file",
        "empty file",
        "wrong columns",
        "unsorted times",
        "repeated time",
        "price that is no number",
        "price of zero",
        "high below low",
        "one bar",
        "mixed time zones",
        "unreadable store",
        "unknown store",
        "dead address",
        "population of none",
        "negative generations",
        "unknown family",
    }
)


def rollback(records: Records) -> Verdict:
    """A run whose whole cluster is killed goes on on this machine and ends with the same history.

    It counts only with confirmed receipts of the head's and every node's kill while it ran, and if
    it said that it fell back: one that had ended before shows nothing.
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
                problems.append(f"{workload.id}: no receipt that {listed(alive)} was killed")
                continue
            bad = unlike(record, workload)
            if bad:
                wrong.append(f"{workload.id}: {listed(bad)}")
            elif fallbacks.get(workload.id, 0) < 1:
                problems.append(f"{workload.id} never fell back, so it lost no cluster")
            elif not (equals := undisturbed(known, workload)):
                problems.append(f"{workload.id} has no undisturbed run to be compared with")
            elif any(w.digest != workload.digest for w in equals):
                wrong.append(f"{workload.id}: its history is not that of {equals[0].id}")
            else:
                proven += 1
    if wrong:
        return Verdict(
            status=Status.FAIL, measured=plural(len(wrong), "finding"), reason=listed(wrong)
        )
    needs = "a run during which the head and every node are killed, by receipt"
    if not proven:
        raise InconclusiveError(listed(problems or ["no run lost its cluster"]), needs=needs)
    verdict = Verdict(
        status=Status.PASS,
        measured=f"{plural(proven, 'run')} finished without the cluster",
        reason="the head and every node killed by receipt; nothing lost, and the history is the "
        "undisturbed one",
    )
    return settle(verdict, problems, needs=needs)


def backup_restore(records: Records) -> Verdict:
    """What is restored into an empty ledger is what was backed up, to the last bit, also when a run
    was writing; and a damaged file is refused whole."""
    wrong: list[str] = []
    found: list[Restore] = []
    for record in records:
        known = workloads(record)
        for restore in record.all(Restore):
            workload = workload_of(known, restore.workload, said_by="a backup")
            found.append(restore)
            name = f"backup of {workload.id} at generation {restore.generation}"
            if restore.digest_before is None or restore.digest_before != restore.digest_after:
                wrong.append(
                    f"{name}: digest {_short(restore.digest_before)} became "
                    f"{_short(restore.digest_after)}"
                )
            if restore.individuals_before != restore.individuals_after:
                wrong.append(
                    f"{name}: {restore.individuals_before} individuals became "
                    f"{restore.individuals_after}"
                )
            if not restore.damaged_refused:
                wrong.append(f"{name}: a damaged copy was not refused")
    if wrong:
        return Verdict(
            status=Status.FAIL, measured=plural(len(wrong), "finding"), reason=listed(wrong)
        )
    running = [r for r in found if r.while_running and r.individuals_after > 0]
    rest = [r for r in found if not r.while_running and r.individuals_after > 0]
    if not running or not rest:
        lacks = [] if running else ["backup taken while a run was writing"]
        lacks += [] if rest else ["backup taken at rest"]
        raise InconclusiveError(f"no {' and no '.join(lacks)}", needs=f"a {' and a '.join(lacks)}")
    return Verdict(
        status=Status.PASS,
        measured=f"{plural(len(found), 'restore')} equal",
        reason=f"{max(r.individuals_after for r in found)} individuals with their digest, one while"
        f" a run was writing; {plural(len(found), 'damaged copy', 'damaged copies')} refused",
    )


def bad_input(records: Records) -> Verdict:
    """Every kind of bad input ends with status 2 and one line that names what is at fault, and
    changes nothing in the ledger."""
    wrong: list[str] = []
    tried: set[str] = set()
    for record in records:
        for refusal in record.all(Refusal):
            tried.add(refusal.input)
            wrong += [f"{refusal.input}: {what}" for what in _unclear(refusal)]
    if wrong:
        return Verdict(
            status=Status.FAIL, measured=plural(len(wrong), "finding"), reason=listed(wrong)
        )
    missing = sorted(BAD_INPUTS - tried)
    measured = f"{len(tried)} of {len(tried | BAD_INPUTS)} refused"
    if missing:
        return inconclusive(
            f"not tried: {listed(missing)}", needs="every kind of bad input", measured=measured
        )
    return Verdict(
        status=Status.PASS,
        measured=measured,
        reason="status 2, one line that names what is at fault, and the ledger as before",
    )


def _unclear(refusal: Refusal) -> list[str]:
    found = []
    if refusal.exit_code != 2:
        found.append(f"exit status {refusal.exit_code}, not 2")
    if len(refusal.message.splitlines()) != 1:
        found.append(f"{len(refusal.message.splitlines())} lines of message, not one")
    elif not refusal.must_name or refusal.must_name.lower() not in refusal.message.lower():
        found.append(f"the message does not name {refusal.must_name!r}")
    if refusal.ledger_changed:
        found.append("the ledger was changed")
    return found


def _survivors(record: Evidence, workload: Workload) -> list[str]:
    """What of the cluster has no confirmed receipt of a kill while the workload ran."""
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
    """What shows that the run did not end well."""
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
            found.append("its ledger gives another digest than it said")
    return found


def undisturbed(known: dict[str, Workload], workload: Workload) -> Sequence[Workload]:
    """Equal workloads of the same run that nothing was done to."""
    return [
        w
        for w in known.values()
        if w.purpose == "reproducibility"
        and w.exit_code == 0
        and (w.seed, w.market, w.population_size, w.generations)
        == (workload.seed, workload.market, workload.population_size, workload.generations)
    ]


def _short(digest: str | None) -> str:
    return "none" if digest is None else digest[:DIGEST_LETTERS]
