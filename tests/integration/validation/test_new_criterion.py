"""A criterion is one new file: every command, page and list has it without another change."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.criteria_page import PAGE
from validation.certificates import HEALTHY
from validation.criteria.registry import CRITERIA

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = ("ga", "validation", "evolution_gate", "fixtures", "reports", "deploy", "tools")
FILES = ("conftest.py", "pyproject.toml", "constraints.txt", str(PAGE), "examples/evidence.jsonl")
PLANTED = '''\
"""No evaluation fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from validation.contract import Criterion, CriterionPlugin, Mutant, Stage
from validation.evidence.base import Record
from validation.evidence.records_ledger import Generation
from validation.mutation import injectors
from validation.verdict import InconclusiveError, Records, Status, Verdict


@dataclass(frozen=True, kw_only=True)
class Look(Record):
    """A record of its own."""

    KIND = "planted_look"
    failed: int


def planted(records: Records) -> Verdict:
    """FAIL: an evaluation failed. PASS: none of at least one did."""
    rows = [row for record in records for row in record.all(Generation)]
    if not rows:
        raise InconclusiveError("there is no generation", needs="one evolution")
    failed = sum(row.failed for row in rows)
    status = Status.FAIL if failed else Status.PASS
    return Verdict(status=status, measured=f"{failed} failed", reason="of the planted criterion")


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="planted",
            statement="No evaluation fails",
            target="0 failed",
            clause="of a test",
            evidence_needed="one evolution",
            verdict=planted,
            position=35,
        ),
    ),
    records=(Look,),
    stages=(
        Stage(
            name="planted look",
            feeds=("planted",),
            run=lambda context: context.add(Look(failed=0)),
            seconds=1.0,
        ),
    ),
    mutants=(
        Mutant(
            name="planted defect",
            criterion="planted",
            stages=("planted look",),
            injector=injectors.dashboard_killed,
        ),
    ),
)
'''
CAMPAIGN = """\
from validation.campaigns.lists import ATTACHED, FULL
from validation.campaigns.selection import stages_of
from validation.evidence.records import RECORDS
from validation.mutation.trial import STAGE_ORDER
from validation.stages.registry import STAGES

for steps in (FULL, ATTACHED):
    print([step.stage for step in steps].count("planted look"))
print(STAGES["planted look"].seconds, STAGE_ORDER.count("planted look"), *stages_of(["planted"]))
print(RECORDS["planted_look"].__name__)
"""
CERTIFY = """\
from pathlib import Path
from validation.mutation.runner import certify

certify(
    Path("certificates.jsonl"), criteria=["planted"], say=lambda line: None,
    run_trials=lambda path, trials, seconds, stack: print(*trials, sep="\\n"),
)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the criterion."""
    copy = tmp_path_factory.mktemp("project")
    ignored = shutil.ignore_patterns("__pycache__", "out", "secrets", ".env")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignored)
    for name in FILES:
        (copy / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    (copy / "validation" / "criteria" / "planted.py").write_text(PLANTED)
    return copy


def run(project: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """A program of the copy."""
    env = {**os.environ, "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = (sys.executable, *argv)
    return subprocess.run(argv, cwd=project, env=env, capture_output=True, text=True)


def test_new_criterion_is_listed(project: Path) -> None:
    done = run(project, "-m", "validation", "criteria", "--json")
    assert done.returncode == 0, done.stderr
    listed = [one["id"] for one in json.loads(done.stdout)]
    assert set(listed) == {"planted", *(criterion.id for criterion in CRITERIA)}
    # At its position.
    before = [criterion.id for criterion in CRITERIA if criterion.position <= 35]
    assert listed.index("planted") == len(before)


def test_new_criterion_is_a_test(project: Path) -> None:
    argv = ("-m", "pytest", "-m", "validation", "validation", "--collect-only", "-q")
    done = run(project, *argv, "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    found = [line for line in done.stdout.splitlines() if "::" in line]
    assert "validation/test_criteria.py::test_criterion[planted]" in found
    assert len(found) == len(CRITERIA) + 1


def test_new_criterion_is_in_the_report(project: Path) -> None:
    argv = ("-m", "validation", "report", "examples/evidence.jsonl", "--out", "page")
    done = run(project, *argv)
    assert done.returncode in (0, 1, 2), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    for name in ("report.html", "junit.xml", "summary.md", "result.json"):
        assert "of the planted criterion" in (project / "page" / name).read_text(), name


def test_stage_and_record_of_the_file_are_known(project: Path) -> None:
    done = run(project, "-c", CAMPAIGN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "1", "1.0", "1", "planted", "look", "Look"]


def test_new_criterion_gets_certified(project: Path) -> None:
    done = run(project, "-c", CERTIFY)
    assert done.returncode == 0, done.stderr
    trials = [("planted", HEALTHY), ("planted", "planted defect")]
    assert done.stdout.splitlines() == [str(trial) for trial in trials]


def test_new_criterion_is_on_its_page(project: Path) -> None:
    assert run(project, "-m", "tools.criteria_page", "--check").returncode == 1
    done = run(project, "-m", "tools.criteria_page")
    assert done.returncode == 0, done.stderr
    _, _, section = (project / PAGE).read_text().partition("\n### planted\n")
    section, _, _ = section.partition("\n### ")
    assert "No evaluation fails. Target: 0 failed." in section
    assert "- *Planted defects*: planted defect\n" in section
