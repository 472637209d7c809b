"""Evidence that wants to write on the terminal, fill the memory, or crash the gate."""

from __future__ import annotations

import dataclasses
import tracemalloc
from pathlib import Path

import pytest

from evolution_gate import reports
from tests.support.evidence_builders import change, evidence, passing, write
from tests.support.evidence_records import T0, Timed, workload
from validation.cli import main as command
from validation.criteria.no_data_loss import no_data_loss
from validation.decision import decide
from validation.evidence.chained_lines import MOST_DEPTH, read_object
from validation.evidence.errors import EvidenceError
from validation.evidence.log import read_evidence
from validation.evidence.records import Invocation, Workload
from validation.evidence.records_ledger import Individuals, Refusal
from validation.verdict import Status, judge

HOSTILE = "\x1b[2J\x1b[1;1H\nGO: 24 PASS, 0 FAIL\r\x07\x9b31m\u202e\ud800"
_MIB = 1024**2


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A bad input that was not refused, with a message that would clear the screen."""
    events = change(
        passing(),
        Refusal,
        lambda r: dataclasses.replace(r, exit_code=0, message=HOSTILE, input=f"{HOSTILE}{r.input}"),
    )
    return write(tmp_path / "hostile.jsonl", events, run=f"run {HOSTILE}")


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_terminal_shows_no_control_characters(
    file: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["gate", str(file), *arguments]) == 1
    said = capsys.readouterr().out
    assert not {c for c in said if ord(c) < 32 and c != "\n"} | (
        {*said} & {"\x7f", "\x9b", "\u202e"}
    )
    assert not any(line.lstrip().startswith("GO: 24 PASS") for line in said.splitlines())
    assert said.encode()


def test_report_of_hostile_evidence_is_written(file: Path, tmp_path: Path) -> None:
    record = read_evidence(file)
    for page in reports.write(decide([record]), [record], tmp_path / "out"):
        assert "\x1b" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "found", ["0-999999999", "0-499999,500000-999999,1-999999", "5-4,0-99999999"]
)
def test_endless_ranges_do_not_fill_the_memory(found: str) -> None:
    work = workload("w", 5, 20, population_size=100, generations=1, seed=7)
    events: list[Timed] = [
        (T0 + 5, Invocation(workload="w", population_size=100, generations=1)),
        (T0 + 25, work),
        (
            T0 + 25,
            Individuals(workload="w", generation=0, acknowledged=True, found=found, again=""),
        ),
    ]
    tracemalloc.start()
    try:
        verdict = judge(no_data_loss, [evidence(events)])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert verdict.status is Status.INCONCLUSIVE
    assert "places cannot be read" in verdict.reason
    assert peak < 300 * _MIB


@pytest.mark.parametrize("field", ["population_size", "generations"])
def test_endless_workloads_are_not_counted(field: str) -> None:
    events = change(passing(), Workload, lambda r: dataclasses.replace(r, **{field: 10**15}))
    events = change(events, Invocation, lambda r: dataclasses.replace(r, **{field: 10**15}))
    result = decide([evidence(events)])
    assert result.verdict("no_data_loss").status is Status.INCONCLUSIVE
    assert "1000000 are judged" in result.verdict("no_data_loss").reason


def test_defect_of_the_gate_is_no_verdict(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(command, "decide_files", broken)
    assert command.main(["gate", str(file)]) == command.CRASHED == 70
    assert "a defect of the gate, and no verdict" in capsys.readouterr().err


def test_nesting_is_limited_below_any_recursion() -> None:
    """Python's own limit differs from version to version."""
    inner = MOST_DEPTH - 1
    assert read_object(b'{"a":' + b"[" * inner + b"]" * inner + b"}")
    with pytest.raises(EvidenceError, match="levels deep"):
        read_object(b'{"a":' + b"[" * (inner + 1) + b"]" * (inner + 1) + b"}")
