"""The gate as a whole, and its command line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.evidence_builders import (
    certificates,
    change,
    evidence,
    healthy,
    passing,
    shifted,
    write,
)
from tests.support.evidence_records import T0
from validation.cli.main import main
from validation.contract import Criterion, Mutant
from validation.criteria.registry import CRITERIA
from validation.decision import Decision, decide
from validation.evidence.log import EvidenceError
from validation.evidence.records_ledger import Audit
from validation.verdict import Records, Status, Verdict

HEALTHY = passing()
CERTIFIED = certificates(criterion.id for criterion in CRITERIA)


def test_go_needs_a_pass_of_every_criterion() -> None:
    result = decide([healthy()], certificates=CERTIFIED)
    assert (result.decision, result.exit_code) == (Decision.GO, 0)
    assert result.verdict("speedup").status is Status.PASS


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda c: c.id)
def test_uncertified_criterion_blocks_go(criterion: Criterion) -> None:
    result = decide(
        [healthy()],
        certificates=[c for c in CERTIFIED if c.criterion != criterion.id],
    )
    assert (result.decision, result.exit_code) == (Decision.INCONCLUSIVE, 2)
    assert result.uncertified == (criterion.id,)


def test_one_fail_is_no_go() -> None:
    events = change(HEALTHY, Audit, lambda r: dataclasses.replace(r, lost=1))
    result = decide([evidence(events)])
    assert (result.decision, result.exit_code) == (Decision.NO_GO, 1)


def test_open_record_in_pool_is_inconclusive() -> None:
    other = evidence(shifted(HEALTHY, 3600), run="b", closed=False, began=T0 + 3600)
    result = decide([evidence(HEALTHY, run="a"), other])
    assert result.decision is Decision.INCONCLUSIVE
    assert result.count(Status.INCONCLUSIVE) == len(CRITERIA)


@given(statuses=st.lists(st.sampled_from(Status), min_size=1, max_size=6))
def test_worst_verdict_decides(statuses: list[Status]) -> None:
    def says(status: Status) -> Verdict:
        return Verdict(status=status, reason="x")

    # Under names of their own: nothing that the observer says is about them.
    criteria = [
        dataclasses.replace(
            CRITERIA[0],
            id=f"c{number}",
            trusts=(),
            verdict=lambda _records, status=status: says(status),
        )
        for number, status in enumerate(statuses)
    ]
    mutants = [Mutant(name="planted", criterion=criterion.id) for criterion in criteria]
    decision = decide(
        [evidence(HEALTHY[:1])],
        criteria=criteria,
        certificates=certificates((criterion.id for criterion in criteria), mutants),
        mutants=mutants,
    ).decision
    if Status.FAIL in statuses:
        assert decision is Decision.NO_GO
    elif Status.INCONCLUSIVE in statuses:
        assert decision is Decision.INCONCLUSIVE
    else:
        assert decision is Decision.GO


def test_gate_without_criteria_or_evidence() -> None:
    with pytest.raises(ValueError, match="criteria"):
        decide([healthy()], criteria=())
    with pytest.raises(ValueError, match="criteria"):
        decide([healthy()], criteria=(CRITERIA[0], CRITERIA[0]))
    with pytest.raises(EvidenceError):
        decide([])


def test_verdict_function_that_raises_does_not_pass() -> None:
    def broken(_records: Records) -> Verdict:
        raise RuntimeError("bug")

    criteria = [dataclasses.replace(CRITERIA[0], verdict=broken)]
    assert decide([healthy()], criteria=criteria).decision is Decision.INCONCLUSIVE


def test_gate_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "e.jsonl", HEALTHY)
    # A gate that was certified has certificates at the usual place.
    none = ["--certificates", str(tmp_path / "none")]
    assert main(["gate", str(path), *none]) == 2
    said = capsys.readouterr()
    assert f"INCONCLUSIVE: {len(CRITERIA)} PASS, 0 FAIL, 0 INCONCLUSIVE" in said.out
    assert not said.err
    assert main(["gate", str(path), "--json", *none]) == 2
    result = json.loads(capsys.readouterr().out)
    assert result["decision"] == "INCONCLUSIVE"
    assert len(result["verdicts"]) == 24
    assert result["verdicts"][5]["interval"][0] > 2


def test_gate_command_says_no(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = change(HEALTHY, Audit, lambda r: dataclasses.replace(r, doubled=2))
    assert main(["gate", str(write(tmp_path / "e.jsonl", events))]) == 1
    assert "NO-GO" in capsys.readouterr().out


def test_gate_command_refuses_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "e.jsonl", HEALTHY)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:40], *lines[41:]]))
    assert main(["gate", str(path)]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert said.err.startswith(f"error: {path}, line 41: ")
    assert said.err.count("\n") == 1
    path.write_text("".join(lines[:40]))
    assert main(["gate", str(path)]) == 2
    said = capsys.readouterr()
    assert "line 40: evidence not closed" in said.err
    assert "0 PASS" in said.out


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_gate_command_without_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["gate", str(tmp_path / name)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_duplicate_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write(tmp_path / "e.jsonl", HEALTHY))
    assert main(["gate", path, path]) == 2
    assert "already" in capsys.readouterr().err


def test_criteria_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["criteria", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 24
    assert {"id", "statement", "target", "unit", "clause", "evidence"} == set(rows[0])
    assert main(["criteria"]) == 0
    assert "bad_input" in capsys.readouterr().out


def test_report_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "e.jsonl", HEALTHY)
    none = ["--certificates", str(tmp_path / "none")]
    assert main(["report", str(path), "--out", str(tmp_path / "out"), *none]) == 2
    assert capsys.readouterr().out.split() == [
        str(tmp_path / "out" / name)
        for name in ("report.html", "junit.xml", "summary.md", "comment.md")
    ]
