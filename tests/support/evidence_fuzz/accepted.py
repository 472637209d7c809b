"""The list of edits with which the gate says GO, each class with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from tests.support.evidence_fuzz.defective import DEFECTIVE, HEALTHY, base
from tests.support.evidence_fuzz.edits import Edit, Lines, all_edits, applied
from tests.support.evidence_fuzz.judging import Judge
from validation.evidence.errors import EvidenceError

FILE: Final = Path(__file__).with_name("accepted.txt")
UNSORTED: Final = "unsorted"
"""Class of edits that nobody has looked at; a test refuses it."""
CLASSES: Final[Mapping[str, str]] = {
    "order": "the same records in another order or place, or said twice, say the same",
    "fewer": "some records or values are left out, and the rest is enough for the verdict",
    "unjudged": "no verdict reads it: a text or a figure for the reader, or the other load of the"
    " machine, which can only withdraw a FAIL",
    "plausible": "a possible value, or a finding left out, in a single place; only a signature"
    " shows that it was changed",
    UNSORTED: "look at it",
}


def read() -> dict[str, dict[str, str]]:
    """System to its accepted edits by name, each with its class."""
    found: dict[str, dict[str, str]] = {name: {} for name in (HEALTHY, *DEFECTIVE)}
    system = group = ""
    for line in FILE.read_text().splitlines():
        if line.startswith("## "):
            system = line.removeprefix("## ")
        elif line.startswith("[") and line.endswith("]"):
            group = line[1:-1]
        elif line and not line.startswith("#"):
            place, _, operations = line.partition(": ")
            for operation in operations.split(", "):
                found[system][f"{place}: {operation}"] = group
    return found


def write(found: Mapping[str, Iterable[Edit]]) -> None:
    """Replace the list. Edits keep the class that they have; new ones are unsorted."""
    before = read() if FILE.exists() else {}
    text = [
        "# Written by `python -m tests.support.evidence_fuzz --write`; only classes are edited."
    ]
    text += [f"# {name}: {reason}." for name, reason in CLASSES.items() if name != UNSORTED]
    for system, edits in found.items():
        groups: dict[str, dict[str, list[str]]] = {}
        for edit in edits:
            group = before.get(system, {}).get(edit.name, UNSORTED)
            groups.setdefault(group, {}).setdefault(edit.place, []).append(edit.operation)
        if groups:
            text += ["", f"## {system}"]
        for group in CLASSES:
            if group in groups:
                text += ["", f"[{group}]"]
                text += [f"{place}: {', '.join(ops)}" for place, ops in groups[group].items()]
    FILE.write_text("\n".join(text) + "\n")


def gives_go(judge: Judge, edit: Edit, lines: Lines) -> bool | None:
    """Whether the gate says GO on the edited lines; None: the edit changes nothing."""
    if not edit.everything and not judge.can_change(edit.kind):
        # What is not PASS reads nothing of this kind.
        return False
    try:
        changed = applied(edit, lines)
    except EvidenceError:
        return False
    if changed is None:
        return None
    return judge.gives_go(changed, None if edit.everything else [edit.kind])


def with_go(system: str) -> list[Edit]:
    """Every edit of a system's evidence with which the gate says GO."""
    lines = base(system)
    judge = Judge(lines.lines)
    return [edit for edit in all_edits(lines) if gives_go(judge, edit, lines)]
