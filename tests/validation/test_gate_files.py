"""A file of evidence counts whole and untouched, or not at all; the CLI says so by its status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evidence_builders import passing, write

from validation.cli import main
from validation.evidence import EvidenceError, EvidenceWriter, read_evidence


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return write(tmp_path / "evidence.jsonl", passing())


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines(keepends=True)


def test_a_whole_file_is_read(record: Path) -> None:
    found = read_evidence(record)
    assert found.closed
    assert len(found.events) == len(lines(record))


@pytest.mark.parametrize("damage", ["cut", "cut mid-line", "drop", "swap", "edit", "add", "empty"])
def test_a_damaged_file_is_refused(
    record: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = lines(record)
    middle = len(whole) // 2
    damaged = {
        "cut": whole[:-1],
        "cut mid-line": [*whole[:-1], whole[-1][:20]],
        "drop": whole[:middle] + whole[middle + 1 :],
        "swap": [*whole[:middle], whole[middle + 1], whole[middle], *whole[middle + 2 :]],
        "edit": [line.replace('"ok":true', '"ok":false') for line in whole],
        "add": [*whole, whole[-1]],
        "empty": [],
    }[damage]
    record.write_text("".join(damaged))
    with pytest.raises(EvidenceError, match=r"evidence\.jsonl"):
        read_evidence(record)
    assert main(["gate", str(record)]) == 2
    error = capsys.readouterr().err
    assert "evidence.jsonl" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, "1", True, None])
def test_a_figure_that_is_none_is_not_written(tmp_path: Path, value: object) -> None:
    with (
        pytest.raises(EvidenceError),
        EvidenceWriter(
            tmp_path / "e.jsonl",
            run="r",
            seed=1,
            backend="processes",
            nodes=1,
            cpus_per_node=0.4,
            replay="x",
        ) as writer,
    ):
        writer.record(
            "cpu_window", workload="w", node="n", used_s=value, allotted_s=1.0, useful_s=1.0
        )


def test_a_run_that_crashed_leaves_no_closed_record(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"

    def crash() -> None:
        with EvidenceWriter(
            path,
            run="r",
            seed=1,
            backend="processes",
            nodes=1,
            cpus_per_node=0.4,
            replay="x",
        ):
            raise KeyError("crash")

    with pytest.raises(KeyError):
        crash()
    assert not read_evidence(path, allow_open=True).closed


def test_the_gate_repeats_its_verdict_from_the_file(
    record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", str(record), "--json"]) == 2
    result = json.loads(capsys.readouterr().out)
    assert result["decision"] == "INCONCLUSIVE"


def test_the_same_run_twice_is_refused(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gate", str(record), str(record)]) == 2
    assert "twice" in capsys.readouterr().err


def test_criteria_are_listed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["criteria", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == 24
    assert all(c["target"] and "unit" in c and c["clause"] and c["statement"] for c in listed)


def test_a_report_is_three_files_and_asks_no_network(record: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    # The status is the gate's: this record lacks what is not measured yet.
    assert main(["report", str(record), "--out", str(out)]) == 2
    html = (out / "report.html").read_text()
    assert "INCONCLUSIVE" in html
    assert "pytest -m validation --replay 7" in html
    for mark in ("<script", "http://", "https://", "@import", "url("):
        assert mark not in html.replace("http://www.w3.org/2000/svg", ""), mark
    assert "testcase" in (out / "junit.xml").read_text()
    assert "worker_recovery" in (out / "summary.md").read_text()
