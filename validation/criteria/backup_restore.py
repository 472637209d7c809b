"""The history can be restored from a backup."""

from __future__ import annotations

from typing import Final

from validation.contract import Criterion, CriterionPlugin, Mutant
from validation.criteria.helpers import DIGEST_LETTERS
from validation.evidence.queries import workload_of, workloads
from validation.evidence.records_ledger import Restore
from validation.mutation.patches import patch
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    format_list,
    plural,
)


def backup_restore(records: Records) -> Verdict:
    """A backup restored into an empty ledger equals the original bit for bit, also when a run was
    writing. A damaged file is refused completely.
    """
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
            status=Status.FAIL, measured=plural(len(wrong), "finding"), reason=format_list(wrong)
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


def _short(digest: str | None) -> str:
    return "none" if digest is None else digest[:DIGEST_LETTERS]


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="backup_restore",
            statement="The history can be restored from a backup",
            target="equal digest",
            clause='Operational Procedures: "Regular backup of genetic algorithm '
            'evolution results"',
            evidence_needed="one backup at rest and one while a run writes, restored, and damaged",
            passes=(
                "a backup at rest and one taken while a run writes are restored into empty "
                "ledgers with equal digest and count, and a copy with one byte changed is refused"
            ),
            fails="a restored ledger differs, or a damaged copy was accepted",
            verdict=backup_restore,
            position=200,
        ),
    ),
    mutants=(
        Mutant(
            name="missing rows in a backup",
            criterion="backup_restore",
            stages=("backup", "restore"),
            patches=patch(
                "ga/ledger/backup.py",
                "                for row in stream:\n",
                "                for row in stream:\n"
                '                    if name == "individuals" and row.index == 7:\n'
                "                        continue\n",
            ),
        ),
    ),
)
