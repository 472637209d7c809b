"""Trend and list of runs: what was said is shown, damage is named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from evolution_gate import reports
from evolution_gate.reports.runs import MOST_RUNS, RESULT, read_runs, trend
from tests.support.evidence_builders import change, evidence, passing
from validation.cli.main import main
from validation.decision import decide
from validation.evidence.records_ledger import Audit


def decided(runs: Path, name: str, *, lost: int = 0) -> Path:
    events = change(passing(), Audit, lambda r: dataclasses.replace(r, lost=lost))
    record = evidence(events, run=name)
    reports.write(decide([record]), [record], runs / name, runs=runs)
    return runs / name


def later(folder: Path, seconds: float) -> None:
    """Make a run have begun later."""
    path = folder / RESULT
    found = json.loads(path.read_text())
    found["sources"][0]["started_at"] += seconds
    path.write_text(json.dumps(found))


def test_changes_between_runs_are_listed(tmp_path: Path) -> None:
    # The names are not in the order of the times.
    later(decided(tmp_path, "b", lost=1), 60)
    decided(tmp_path, "c")
    later(decided(tmp_path, "a"), 120)
    runs, damaged = read_runs(tmp_path)
    assert [run.folder for run in runs] == ["c", "b", "a"]
    assert damaged == ()
    assert "no_data_loss PASS → FAIL" in runs[1].changed(runs[0])
    assert "no_data_loss FAIL → PASS" in runs[2].changed(runs[1])
    assert runs[0].decision == "INCONCLUSIVE"
    assert runs[1].decision == "NO-GO"
    shown = trend(runs)
    assert dict(shown.rows)["no_data_loss"] == ("PASS", "FAIL", "PASS")
    assert dict(c[:2] for c in shown.charts)["speedup"] == "≥ 2.0×"
    assert {"speedup", "worker_recovery"} <= {name for name, *_ in shown.charts}


def test_trend_shows_a_bounded_number_of_runs(tmp_path: Path) -> None:
    run = read_runs(decided(tmp_path, "one").parent)[0][0]
    many = trend([run] * (MOST_RUNS + 5))
    assert len(many.runs) == MOST_RUNS
    assert many.left_out == 5


@pytest.mark.parametrize("text", ["{", "[]", '{"decision": "GO"}', '{"sources": []}', "null"])
def test_damaged_result_is_named(tmp_path: Path, text: str) -> None:
    decided(tmp_path, "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / RESULT).write_text(text)
    runs, damaged = read_runs(tmp_path)
    assert [run.folder for run in runs] == ["good"]
    assert len(damaged) == 1
    assert damaged[0].startswith("bad/result.json: ")
    page = reports.write_index(tmp_path).read_text()
    assert "bad/result.json" in page
    assert "good/report.html" in page


def test_infinite_bounds_survive_file_and_chart(tmp_path: Path) -> None:
    path = decided(tmp_path, "one") / RESULT
    found = json.loads(path.read_text())
    for one in found["verdicts"]:
        one["interval"] = [None, None] if one["criterion"] == "speedup" else [1.0, None]
    path.write_text(json.dumps(found))
    run = read_runs(tmp_path)[0][0]
    names = {name for name, *_ in trend([run, run]).charts}
    assert "speedup" not in names
    assert "worker_recovery" in names


def test_command_writes_the_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decided(tmp_path, "one")
    (tmp_path / "index.html").unlink()
    assert main(["index", str(tmp_path)]) == 0
    assert (tmp_path / "index.html").is_file()
    assert main(["index", str(tmp_path / "none")]) == 2
    assert "no such folder of runs" in capsys.readouterr().err


def test_empty_list_names_the_next_command(tmp_path: Path) -> None:
    assert "pytest -m validation" in reports.write_index(tmp_path).read_text()
