"""The example pipelines: two tiers, least permissions, and steps that work as written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from tests.support.ci_examples import CI, FILES, Name, Workspace, jobs

KEPT = ("report.html", "summary.md", "evidence.jsonl")
PULL_REQUEST = "pull-request"
DECISION = "validation gate "


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.mark.parametrize("file", FILES)
def test_pull_request_has_ten_minutes_and_keeps_report(file: str) -> None:
    job = jobs(file)[PULL_REQUEST]
    text = yaml.safe_dump(job, width=1000)
    limit = job.get("timeout-minutes") or int(job["timeout"].removesuffix("m"))
    (budget,) = re.findall(r"--gate=pull-request --time-budget (\d+)", text)
    assert int(budget) < limit <= 10
    for kept in KEPT:
        assert f"reports/out/*/{kept}" in text
    assert "junit" in text
    assert ".cache/ga" in text


@pytest.mark.parametrize("file", FILES)
def test_release_runs_only_for_tags(file: str) -> None:
    text = (CI / file).read_text()
    job = jobs(file)["release"]
    assert "v*" in text or "/^v/" in yaml.safe_dump(job["rules"])
    assert "--gate=pull-request" not in yaml.safe_dump(job)


def test_github_jobs_have_least_permissions() -> None:
    whole = yaml.safe_load((CI / "github-actions.yml").read_text())
    assert whole["permissions"] == {}
    rights = {name: job["permissions"] for name, job in whole["jobs"].items()}
    assert rights == {
        PULL_REQUEST: {"contents": "read"},
        "comment": {"pull-requests": "write"},
        "release": {"contents": "read"},
    }
    # A job that may write runs no code of the pull request.
    assert not any(
        "checkout" in step.get("uses", "") for step in jobs(FILES[0])["comment"]["steps"]
    )
    assert "github.event.pull_request.head.repo.full_name" in whole["jobs"]["comment"]["if"]


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(("campaign", "status"), [("healthy", 0), ("lost", 1)])
def test_pull_request_steps_fail_for_fail(
    work: Workspace, file: str, campaign: Name, status: int
) -> None:
    work.campaign(campaign)
    assert work.run(file, PULL_REQUEST) == status
    kept = work.folder / "gate"
    decision = "NO-GO" if status else "INCONCLUSIVE"
    assert f"Gate for Phase 2: {decision}" in (kept / "comment.md").read_text()
    suite = ElementTree.parse(kept / "junit.xml").getroot()[0]
    assert float(suite.get("time", 0)) > 0
    (work.folder / "comment.md").write_text((kept / "comment.md").read_text())
    assert work.run(file, "comment") == 0
    last = work.asked.read_text().splitlines()[-1]
    assert "comment.md" in last
    assert "12" in last


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_release_needs_go_of_all_its_evidence(work: Workspace, file: str) -> None:
    work.campaign("healthy")
    work.soak()
    work.certify()
    assert work.run(file, "release") == 0
    assert "Gate for Phase 2: GO" in (work.folder / "gate" / "comment.md").read_text()
    assert work.run(file, "release", only=DECISION) == 0
    # Each of them is missing once.
    out = work.folder / "reports" / "out"
    for path in (work.soaked, out / "certificates.jsonl"):
        away = path.rename(path.with_name("away"))
        assert work.run(file, "release", only=DECISION) == 2, path
        away.rename(path)
    (kept,) = out.glob("*/evidence.jsonl")
    worse: tuple[tuple[Name, int], ...] = (("lost", 1), ("unmeasured", 2))
    for campaign, status in worse:
        made = work.record(campaign)
        away = kept.rename(work.folder / "away")
        assert work.run(file, "release", only=DECISION) == status, campaign
        away.rename(kept)
        shutil.rmtree(made)
    assert work.run(file, "release", only=DECISION) == 0


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_campaign_with_a_fail_ends_the_release(work: Workspace, file: str) -> None:
    work.campaign("lost")
    assert work.run(file, "release", only="--attempts") == 1
