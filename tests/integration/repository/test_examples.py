"""The programs in examples/ run as a user starts them, and say what they promise."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.evidence_builders import passing, write
from tests.support.evidence_records import T0, Timed
from validation.cli.main import main
from validation.evidence.base import Record

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
EXPECTED = {
    "evolve_strategies": [
        r"^generation 6: best fitness so far \d",
        r"^(\w{10} -?\d+\.\d{3} \w+: \w+ [^\n]*\n){3}",
        r"^history digest [0-9a-f]{64}$",
    ],
    "python_api": [
        r"^ +key +family +fitness +in-sample +out-of-sample +hold-out +CAGR +volatility +drawdown"
        r" +turnover +exposure +trades\n(\w{10} .*\n){5}",
        r"^(no )?evidence of an edge",
        r"^2024-03-03 11:00:00\+00:00 +\d\.\d{3} +0\.505 +hold-out$",
        r"^refused: data frame asset: 2 columns can be close",
    ],
    "resume_run": [r"^interrupted: exit status 130$", r"digest +([0-9a-f]{64})\n.* \1\nequal$"],
    "read_ledger": [r"^generation +best +median +failed$", r"^ +8 +-?\d+\.\d{3} .*#*$"],
    "verify_run": [
        r"^exit status 0: 160 individuals, 0 lost, 0 doubled, 0 different$",
        r"^exit status 1: 160 individuals, 0 lost, 0 doubled, [1-9]\d* different$",
        r"^  different: ",
    ],
    "check_prices": [
        r"^gap.csv: 388 bars, 12 missing$",
        r"^  gap of 12 bars after 2025-01-05 03:00$",
        r"^refused: .*impossible.csv.* high",
    ],
    "judge_evidence": [
        r"^FAIL: 1 criteria$\n  worker_recovery: target < 120 s; measured ",
        r"^PASS: [1-9]",
        r"^    needs ",
        r"^decision: NO-GO$",
    ],
    "own_criterion": [r"^few_failures: PASS, 0 of [\d,]+ failed; the upper bound is 0\.\d\d %$"],
}


BULKY = ("job", "load", "machine", "probe", "round_trips", "scrape", "services", "usage")
"""Kinds of record that would make the stored evidence large. Criteria that need them are open."""


def stored() -> list[Timed]:
    """A healthy run of ten minutes without those kinds, in which one node came back too late."""
    events, slow, readings = [], None, 0
    for at, record in passing():
        kept: Record | None = record
        if at > T0 + 3600 or record.KIND in BULKY:
            continue
        if record.KIND == "observer":
            # Every tenth second will do.
            kept = record if readings % 5 == 0 else None
            readings += 1
        elif record.KIND == "recovery" and slow is None:
            slow = kept = dataclasses.replace(record, **{"node_back_s": 130.0, "window_s": 240.0})
        events += [] if kept is None else [(at, kept)]
    return events


def test_stored_evidence_is_up_to_date(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """``--update-goldens`` writes it again."""
    made = write(tmp_path / "evidence.jsonl", stored()).read_bytes()
    file = EXAMPLES / "evidence.jsonl"
    if request.config.getoption("--update-goldens"):
        file.write_bytes(made)
    assert file.read_bytes() == made


def run(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("name", EXPECTED)
def test_example_prints_the_documented_output(name: str, tmp_path: Path) -> None:
    done = run(name, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for pattern in EXPECTED[name]:
        assert re.search(pattern, done.stdout, re.M), f"{pattern} is not in:\n{done.stdout}"
    assert list(tmp_path.iterdir()) == []


def test_examples_are_tested_listed_and_short() -> None:
    files = sorted(EXAMPLES.glob("*.py"))
    assert {file.stem for file in files} == EXPECTED.keys()
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for file in files:
        assert f"]({file.name})" in text
        assert len(file.read_text(encoding="utf-8").splitlines()) < 60, file.name


def test_gate_loads_the_example_plugin(capsys: pytest.CaptureFixture[str]) -> None:
    plug_in, evidence = EXAMPLES / "own_criterion.py", EXAMPLES / "evidence.jsonl"
    assert main(["gate", "--with", str(plug_in), str(evidence), "--json"]) == 1
    assert '"criterion": "few_failures",\n      "status": "PASS"' in capsys.readouterr().out


def test_edited_evidence_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "edited.jsonl"
    text = (EXAMPLES / "evidence.jsonl").read_text(encoding="ascii")
    file.write_text(text.replace('"node_back_s":130.0', '"node_back_s":30.0', 1), encoding="ascii")
    assert file.read_text(encoding="ascii") != text
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "judge_evidence.py"), str(file)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout.startswith("refused: ")
