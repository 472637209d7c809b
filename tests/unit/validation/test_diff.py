"""``python -m validation diff``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.evidence_builders import (
    change,
    evidence,
    healthy,
    passing,
    slow_cluster,
    write,
)
from validation.cli.main import main
from validation.diff import difference
from validation.evidence.records import Environment

HEALTHY = passing()


def test_equal_results_have_no_difference() -> None:
    assert difference([healthy()], [healthy(run="again")]) == ()


def test_verdicts_measurements_and_environment_are_compared() -> None:
    slower = slow_cluster()
    slower = change(
        slower, Environment, lambda r: Environment(values={**r.values, "ray": "3.0", "new": 1})
    )
    found = {(c.kind, c.name): c for c in difference([healthy()], [evidence(slower)])}
    assert found["decision", "gate"].after == "NO-GO"
    assert (found["verdict", "speedup"].before, found["verdict", "speedup"].after) == (
        "PASS",
        "FAIL",
    )
    assert ("measured", "speedup") in found
    assert (found["environment", "ray"].before, found["environment", "ray"].after) == (
        "2.60.0",
        "3.0",
    )
    assert found["environment", "new"].before == "-"
    assert ("verdict", "exposure") not in found


def test_diff_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    write(first, HEALTHY)
    write(second, slow_cluster())
    assert main(["diff", str(first), str(first)]) == 0
    assert "nothing changed" in capsys.readouterr().out
    assert main(["diff", str(first), str(second), "--json"]) == 1
    names = {(row["kind"], row["name"]) for row in json.loads(capsys.readouterr().out)}
    assert ("verdict", "speedup") in names
    assert main(["diff", str(first), str(tmp_path / "none")]) == 2
