"""Repeat one edit of evidence, or write the list of accepted ones.

python -m tests.support.evidence_fuzz "usage.cpus: x1000"
python -m tests.support.evidence_fuzz "audit.lost: zero" --system "no_data_loss: ..."
python -m tests.support.evidence_fuzz --write
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.evidence_fuzz.accepted import read, with_go, write
from tests.support.evidence_fuzz.defective import DEFECTIVE, HEALTHY, base
from tests.support.evidence_fuzz.edits import all_edits, applied, write_file
from validation.criteria.registry import CRITERIA
from validation.decision import decide
from validation.evidence.errors import EvidenceError
from validation.evidence.log import read_evidence
from validation.simulation.campaign import certificates
from validation.verdict import Status


def main() -> int:
    """Print what the gate says of one edited file, or write the list."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.evidence_fuzz")
    parser.add_argument("edit", nargs="?", help="kind.field: operation")
    parser.add_argument("--system", default=HEALTHY, choices=[HEALTHY, *DEFECTIVE])
    parser.add_argument("--write", action="store_true", help="try all edits and write the list")
    options = parser.parse_args()
    if options.write:
        found = {}
        for system in (HEALTHY, *DEFECTIVE):
            found[system] = with_go(system)
            print(f"{system}: {len(found[system])} edits with GO", flush=True)
        write(found)
        return 0
    lines = base(options.system)
    edit = next((one for one in all_edits(lines) if one.name == options.edit), None)
    if edit is None:
        parser.error(f"no edit {options.edit!r}; the form is 'kind.field: operation'")
    try:
        changed = applied(edit, lines)
        if changed is None:
            print("it changes nothing")
            return 0
        with TemporaryDirectory() as folder:
            path = Path(folder) / "evidence.jsonl"
            write_file(changed, path)
            record = read_evidence(path)
    except EvidenceError as error:
        print(f"refused: {error}")
        return 0
    result = decide([record], certificates=certificates(one.id for one in CRITERIA))
    print(result.decision.value, f"(on the list: {edit.name in read()[options.system]})")
    for violation in result.violations:
        print(f"contradiction: {violation.rule}: {violation.text}")
    for name, verdict in result.verdicts.items():
        if verdict.status is not Status.PASS:
            print(f"{name}: {verdict.status.value}: {verdict.reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
