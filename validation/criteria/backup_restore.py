"""The history can be restored from a backup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from validation.contract import Criterion, CriterionPlugin, Mutant
from validation.criteria.helpers import DIGEST_LETTERS
from validation.evidence.queries import workload_of, workloads
from validation.evidence.records_ledger import LedgerCopy, Restore
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
    """A restored ledger equals its source in every row and column of every table that the database
    lists, in both databases, also when a run was writing. A damaged file is refused completely.
    """
    wrong: list[str] = []
    found: list[Restore] = []
    copies: list[LedgerCopy] = []
    for record in records:
        known = workloads(record)
        for restore in record.all(Restore):
            workload = workload_of(known, restore.workload, said_by="a backup")
            found.append(restore)
            wrong += _findings(restore, f"backup of {workload.id} at {restore.generation}")
        for copy in record.all(LedgerCopy):
            copies.append(copy)
            name = f"{copy.source} restored into {copy.copy} ({copy.moment})"
            wrong += [f"{name}: {difference}" for difference in copy.differing]
    if wrong:
        return Verdict(
            status=Status.FAIL,
            measured=plural(len(wrong), "finding"),
            reason=format_list(wrong, most=5),
        )
    lacks = _lacks(found, copies)
    if lacks:
        raise InconclusiveError(f"no {' and no '.join(lacks)}", needs=f"a {' and a '.join(lacks)}")
    rows = sum(sum(copy.rows.values()) for copy in copies)
    tables = {name for copy in copies for name in copy.rows}
    return Verdict(
        status=Status.PASS,
        measured=f"{plural(len(found) + len(copies), 'restore')} equal",
        reason=f"{rows} rows of {len(tables)} tables equal in every column, from and into SQLite "
        f"and PostgreSQL, one while a run was writing; "
        f"{plural(len(found), 'damaged copy', 'damaged copies')} refused",
    )


def _findings(restore: Restore, name: str) -> list[str]:
    wrong = []
    if restore.digest_before is None or restore.digest_before != restore.digest_after:
        wrong.append(
            f"{name}: digest {_short(restore.digest_before)} became {_short(restore.digest_after)}"
        )
    if restore.individuals_before != restore.individuals_after:
        wrong.append(
            f"{name}: {restore.individuals_before} individuals became {restore.individuals_after}"
        )
    if not restore.damaged_refused:
        wrong.append(f"{name}: a damaged copy was not refused")
    return wrong


def _lacks(found: Sequence[Restore], copies: Sequence[LedgerCopy]) -> list[str]:
    """What a PASS needs and the evidence does not have."""
    lacks = []
    for running, when in ((True, "while a run was writing"), (False, "at rest")):
        moment = "running" if running else "at rest"
        if not any(r.while_running is running and r.individuals_after > 0 for r in found):
            lacks.append(f"backup taken {when}")
        elif not any(c.moment == moment and any(c.rows.values()) for c in copies):
            lacks.append(f"comparison, row by row, of a backup taken {when}")
    whole = [c for c in copies if c.moment == "every table" and c.rows and all(c.rows.values())]
    for kind, name in (("sqlite", "SQLite"), ("postgresql", "PostgreSQL")):
        # An empty table is equal to a forgotten one.
        if not any(c.source == kind for c in whole):
            lacks.append(f"backup of a {name} ledger with rows in every table")
        if not any(c.copy == kind for c in whole):
            lacks.append(f"restore of such a backup into {name}")
    return lacks


def _short(digest: str | None) -> str:
    return "none" if digest is None else digest[:DIGEST_LETTERS]


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="backup_restore",
            statement="The history can be restored from a backup",
            target="every row and column equal",
            clause='Operational Procedures: "Regular backup of genetic algorithm '
            'evolution results"',
            evidence_needed="one backup at rest, one while a run writes, and one of each database "
            "with rows in every table, restored; and damaged copies",
            passes=(
                "a backup at rest, one taken while a run writes, and one with rows in every table "
                "are restored into empty ledgers, from and into SQLite and PostgreSQL, equal in "
                "every row and column, and a copy with one byte changed is refused"
            ),
            fails="a row or column of a restored ledger differs, or a damaged copy was accepted",
            measures=(
                "every row, in every table and column that the two databases list, of a ledger "
                "and of its restored backup; for a run that was writing, up to the last "
                "generation in the backup. A small ledger in which the gate filled every empty "
                "table is moved from SQLite to PostgreSQL and back"
            ),
            clock=(
                "the gate's own SQL on both databases; tables and columns come from the "
                "databases' catalogues, not from the engine"
            ),
            limits=(
                "the loss of a file or disk between backup and restore, backups larger than the "
                "campaign's ledger, and how long a restore takes"
            ),
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
        Mutant(
            name="a backup without genes",
            criterion="backup_restore",
            stages=("backup", "restore"),
            patches=patch(
                "ga/ledger/backup.py",
                "content.write(json.dumps([name, list(row)]).encode()",
                "content.write(json.dumps([name, [[] if key == 'genes' else value"
                " for key, value in row._mapping.items()]]).encode()",
            ),
        ),
        Mutant(
            name="a backup without attempts, strategies, nodes and requests",
            criterion="backup_restore",
            stages=("backup", "restore"),
            patches=patch(
                "ga/ledger/backup.py",
                "        individuals,\n        attempts,\n        strategies,\n        nodes,\n"
                "        requests,\n    )\n",
                "        individuals,\n    )\n",
            ),
        ),
        Mutant(
            name="a backup without requests",
            criterion="backup_restore",
            stages=("backup", "restore"),
            patches=patch(
                "ga/ledger/backup.py",
                "        nodes,\n        requests,\n    )\n",
                "        nodes,\n    )\n",
            ),
        ),
    ),
)
