"""What the whole gate must be seen to do, by its command line: GO, NO-GO, refused, and never GO."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.support.evidence_builders import (
    certificates,
    evidence,
    list_run,
    passing,
    simulated,
    write,
)
from tests.support.evidence_records import T0, Timed
from validation.certificates import append
from validation.cli.main import main
from validation.criteria.registry import CRITERIA
from validation.decision import Decision, decide
from validation.evidence.base import Record
from validation.evidence.records import Fault, Services, Usage
from validation.evidence.records_monitoring import Job, Probe, Scrape
from validation.evidence.records_self_check import HarnessReading

HEALTHY = passing()
CERTIFIED = certificates(criterion.id for criterion in CRITERIA)
FAULTS = [n for n, (_, record) in enumerate(HEALTHY) if isinstance(record, Fault)]
WATCHERS: dict[str, type[Record]] = {
    "job": Job,
    "dashboard": Probe,
    "scrape": Scrape,
    "usage": Usage,
    "services": Services,
    "observer": HarnessReading,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two simulated hours, the same with one individual lost, a full run, and certificates."""
    place = tmp_path_factory.mktemp("shown")
    assert main(soak(2, "healthy", place / "healthy")) == 2
    assert main(soak(2, "lost", place / "other" / "lost")) == 1
    write(place / "run.jsonl", HEALTHY)
    write(place / "simulated.jsonl", simulated(HEALTHY), backend="simulated")
    for one in CERTIFIED:
        append(place / "certificates.jsonl", one)
    return place


def soak(hours: int, defect: str, out: Path) -> list[str]:
    argv = ["soak", "--hours", str(hours), "--seed", "5", "--faults", "1", "--simulate", defect]
    return [*argv, "--out", str(out)]


def gate(place: Path, *files: str, log: Path | None = None) -> int:
    argv = ["gate", *(str(place / file) for file in files), "--max-age", "100000"]
    argv += ["--certificates", str(place / "certificates.jsonl")]
    return main(argv if log is None else [*argv, "--campaigns", str(log)])


def test_complete_run_is_go(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = list_run(place / "run.jsonl")
    assert gate(place, "run.jsonl") == 2
    assert "no campaign log lists run run-1" in capsys.readouterr().out
    assert gate(place, "run.jsonl", log=log) == 0
    said = capsys.readouterr().out
    assert "GO: 24 PASS, 0 FAIL, 0 INCONCLUSIVE" in said
    assert ": 4 nodes of 0.4 CPU (processes), Ray 2.60.0" in said


def test_old_run_is_not_go(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificates = str(place / "certificates.jsonl")
    assert main(["gate", str(place / "run.jsonl"), "--certificates", certificates]) == 2
    assert "days old, 30 are allowed" in capsys.readouterr().out


def test_simulated_soak_is_not_go(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate(place, "healthy", "simulated.jsonl") == 2
    said = capsys.readouterr().out
    assert "INCONCLUSIVE: 24 PASS, 0 FAIL, 0 INCONCLUSIVE" in said
    assert "is SIMULATED" in said


@pytest.mark.slow
def test_two_simulated_days_pass(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(soak(49, "healthy", place / "days")) == 0
    capsys.readouterr()
    assert gate(place, "days", "simulated.jsonl") == 2
    assert "24 PASS, 0 FAIL, 0 INCONCLUSIVE" in capsys.readouterr().out


def test_lost_individual_is_no_go_and_named(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate(place, "other/lost", "simulated.jsonl") == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "NO-GO" in said
    assert "generation 3 index 7" in said


@pytest.mark.parametrize("damage", ["cut", "edited"])
def test_damaged_file_is_refused(
    place: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (place / "run.jsonl").read_text()
    bad = place / f"{damage}.jsonl"
    bad.write_text(text[:-20] if damage == "cut" else text.replace('"lost":0', '"lost":1', 1))
    assert gate(place, "healthy", bad.name) == 2
    assert "GO" not in capsys.readouterr().out


@pytest.mark.parametrize("number", FAULTS, ids=lambda n: f"{n}-{HEALTHY[n][1].fault}")
@pytest.mark.parametrize("gone", [False, True], ids=["unconfirmed", "dropped"])
def test_fault_without_receipt_prevents_go(number: int, gone: bool) -> None:
    at, fault = HEALTHY[number]
    kept = [] if gone else [(at, dataclasses.replace(fault, confirmed=False))]
    events = [*HEALTHY[:number], *kept, *HEALTHY[number + 1 :]]
    assert decide([evidence(events)], certificates=CERTIFIED).decision is not Decision.GO


@pytest.mark.parametrize("name", WATCHERS)
@pytest.mark.parametrize("stop", [5.0, 150.0, 400.0])
def test_probe_that_stops_early_prevents_go(name: str, stop: float) -> None:
    def seen(event: Timed) -> bool:
        at, record = event
        ours = isinstance(record, WATCHERS[name])
        return ours and at > T0 + stop and getattr(record, "probe", name) == name

    events = [event for event in HEALTHY if not seen(event)]
    assert len(events) < len(HEALTHY)
    assert decide([evidence(events)], certificates=CERTIFIED).decision is not Decision.GO
