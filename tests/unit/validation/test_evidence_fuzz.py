"""Edits of every field of every kind of record give GO only where a list says so, and why.

``python -m tests.support.evidence_fuzz "KIND.FIELD: OPERATION"`` repeats one of them.
"""

from __future__ import annotations

import dataclasses
import os
import random
import secrets
from collections.abc import Sequence

import pytest

from tests.support.evidence_builders import certificates
from tests.support.evidence_fuzz.accepted import CLASSES, UNSORTED, gives_go, read, with_go
from tests.support.evidence_fuzz.defective import DEFECTIVE, HEALTHY, base
from tests.support.evidence_fuzz.edits import Edit, Lines, all_edits, applied, fields_of
from tests.support.evidence_fuzz.judging import Judge, as_evidence
from tests.support.evidence_fuzz.values import OPERATIONS
from validation.criteria.registry import CRITERIA
from validation.decision import Decision, decide
from validation.evidence.base import Record
from validation.evidence.errors import EvidenceError
from validation.evidence.records import RECORDS, Close, Open

SEED = int(os.environ.get("EVIDENCE_FUZZ_SEED") or secrets.randbelow(10**6))
"""Of the sample; each run draws another one. The list is exact, so that none may fail."""
ACCEPTED = read()
CERTIFIED = certificates(criterion.id for criterion in CRITERIA)
BUILT_IN = {kind: cls for kind, cls in RECORDS.items() if cls.__module__.startswith("validation.")}
NEVER_SET = {"node_check.refused", "workload.error"}
"""Fields that are null in every record of a healthy run."""
NOT_SIMULATED = {"guard", "not_run", "stage", "target"}
"""Kinds that simulated runs lack: those of a run on a deployed Compose project, not yet edited, and
the durations of stages, which no verdict reads.
"""


def sample(edits: Sequence[Edit], count: int) -> list[Edit]:
    """Some edits, by the seed."""
    print(f"EVIDENCE_FUZZ_SEED={SEED}")
    return random.Random(SEED).sample(edits, count)


def wrong(system: str, edits: Sequence[Edit]) -> list[str]:
    """Edits whose decision is not what the list says, each with the command that repeats it."""
    lines = base(system)
    judge = Judge(lines.lines)
    found = []
    for edit in edits:
        went = bool(gives_go(judge, edit, lines))
        if went != (edit.name in ACCEPTED[system]):
            command = f'python -m tests.support.evidence_fuzz "{edit.name}" --system "{system}"'
            found.append(f"{'GO, not listed' if went else 'listed, no GO'}: {command}")
    return found


def test_evidence_before_any_edit_is_judged() -> None:
    assert decide([as_evidence(base().lines)], certificates=CERTIFIED).decision is Decision.GO
    for name in list(DEFECTIVE)[:: len(DEFECTIVE) // 4]:
        assert Judge(base(name).lines).open_criteria(), name


def test_every_kind_of_record_is_edited() -> None:
    edited = {kind for name in (HEALTHY, *list(DEFECTIVE)[-3:]) for kind in base(name).kinds}
    assert edited == BUILT_IN.keys() - NOT_SIMULATED


def test_every_field_of_records_is_edited() -> None:
    untouched = set()
    for kind in base().kinds:
        edits = [edit for edit in all_edits(base()) if edit.kind == kind and edit.field]
        for field in fields_of(base(), kind):
            if not any(takes(edit, base()) for edit in edits if edit.field == field):
                untouched.add(f"{kind}.{field}")
    assert untouched == NEVER_SET


def takes(edit: Edit, lines: Lines) -> bool:
    """Whether an edit changes anything, if only to what the gate refuses to read."""
    try:
        return edit.change(lines) is not None
    except EvidenceError:
        return True


def test_new_kind_of_record_is_edited() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Weather(Record):
        KIND = "weather"
        degrees: float
        words: str

    lines = base().lines
    added = Lines([*lines[:-1], (lines[-2][0], Weather(degrees=1.0, words="dry")), lines[-1]])
    RECORDS["weather"] = Weather
    try:
        names = {edit.name for edit in all_edits(added) if edit.kind == "weather"}
    finally:
        del RECORDS["weather"]
    assert {"weather: drop all", "weather.degrees: x1000", "weather.words: cut"} <= names
    assert {f"weather.degrees: {name}" for name in OPERATIONS} <= names


def test_sampled_edits_give_go_only_where_listed() -> None:
    assert wrong(HEALTHY, sample(list(all_edits(base())), 80)) == []


def test_sampled_edits_hide_no_defect() -> None:
    name = random.Random(SEED).choice(list(DEFECTIVE))
    assert wrong(name, sample(list(all_edits(base(name))), 60)) == []


def test_fast_decision_is_that_of_the_gate() -> None:
    lines = base()
    judge = Judge(lines.lines)
    edits = [e for e in all_edits(lines) if e.kind not in (Open.KIND, Close.KIND)]
    for edit in sample(edits, 12):
        try:
            changed = applied(edit, lines)
        except EvidenceError:
            continue
        if changed is None:
            continue
        kinds = None if edit.everything else [edit.kind]
        result = decide([as_evidence(changed)], certificates=CERTIFIED)
        assert judge.gives_go(changed, kinds) is (result.decision is Decision.GO), edit.name


def test_accepted_edits_are_sorted_by_reason() -> None:
    groups = {group for edits in ACCEPTED.values() for group in edits.values()}
    assert groups <= CLASSES.keys() - {UNSORTED}


def test_accepted_edits_of_defects_are_plausible_values() -> None:
    """What hides a defect is a lie; no other class may."""
    for name in DEFECTIVE:
        assert set(ACCEPTED[name].values()) <= {"plausible"}, name


@pytest.mark.slow
def test_every_edit_gives_go_only_where_listed() -> None:
    names = {edit.name for edit in with_go(HEALTHY)}
    assert names == ACCEPTED[HEALTHY].keys()


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("name", DEFECTIVE)
def test_no_edit_hides_a_defect(name: str) -> None:
    assert {edit.name for edit in with_go(name)} == ACCEPTED[name].keys()
