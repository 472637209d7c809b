"""The example pipelines call what exists."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

CI = Path(__file__).resolve().parents[3] / "docs" / "ci"


@pytest.mark.parametrize("name", ["github-actions.yml", "gitlab-ci.yml"])
def test_ci_example_runs_gate_and_keeps_report(name: str) -> None:
    text = (CI / name).read_text()
    job = yaml.safe_load(text)
    job = job["jobs"]["gate"] if "jobs" in job else job["gate"]
    steps = job.get("script") or [step.get("run", "") for step in job["steps"]]
    assert any("python -m tox -e validation -- --gate=phase2" in step for step in steps)
    for kept in ("report.html", "summary.md", "junit.xml", "evidence.jsonl"):
        assert f"reports/out/*/{kept}" in text
