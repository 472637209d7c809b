"""The baseline document: from evidence alone, the same each time, and no invented numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.evidence_builders import evidence, healthy, passing, simulated, write
from tests.support.evidence_records import T0
from validation.baseline import as_markdown, baseline
from validation.cli.main import main
from validation.evidence.records import Workload

SHORT = [(at, record) for at, record in passing() if at < T0 + 1200]


def test_baseline_has_the_measured_figures() -> None:
    found = baseline([healthy()])
    figures = {one.name: one for one in found.figures}
    assert list(figures) == [
        *("speed-up", "generation time", "recovery of a worker", "throughput"),
    ]
    assert all(one.measured and one.bounds for one in found.figures)
    assert figures["speed-up"].measured == "2.99× over 4 pairs"
    rates = [
        one.evaluations / one.seconds
        for one in healthy().all(Workload)
        if one.purpose == "speedup" and one.arm == "distributed"
    ]
    assert figures["throughput"].bounds == (min(rates), max(rates))
    assert (found.date, found.commit) == ("2025-10-09", "c" * 40)
    assert found.machine["cpu"] == "Xeon"


def test_missing_figure_has_its_reason() -> None:
    events = [
        (at, one)
        for at, one in SHORT
        if not (isinstance(one, Workload) and one.purpose == "speedup")
    ]
    found = baseline([evidence(events)])
    figures = {one.name: one for one in found.figures}
    for name in ("speed-up", "throughput"):
        assert (figures[name].measured, figures[name].bounds) == ("", None)
        assert figures[name].reason
        assert f"| {name} | **missing** | – |" in as_markdown(found)
    assert figures["recovery of a worker"].measured


def test_open_record_gives_no_throughput() -> None:
    found = baseline([evidence(SHORT, closed=False)])
    assert all(not one.measured for one in found.figures if one.name == "throughput")


def test_command_writes_the_same_twice(tmp_path: Path) -> None:
    file = write(tmp_path / "evidence.jsonl", SHORT)
    texts = []
    for name in ("a", "b"):
        assert main(["baseline", str(file), "--out", str(tmp_path / name)]) == 0
        texts.append([(tmp_path / name / f"baseline.{end}").read_text() for end in ("md", "json")])
    assert texts[0] == texts[1]
    stored = json.loads(texts[0][1])
    assert stored["figures"][0]["name"] == "speed-up"
    assert stored["runs"][0][0] == "run-1"


def test_simulated_run_is_no_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "evidence.jsonl", simulated(SHORT), backend="simulated")
    assert main(["baseline", str(file), "--out", str(tmp_path)]) == 2
    assert "a simulated run is no baseline" in capsys.readouterr().err
    assert not (tmp_path / "baseline.md").exists()
