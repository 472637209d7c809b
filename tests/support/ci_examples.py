"""Runs the steps of the example pipelines in a scratch folder, as their services do.

``python`` runs ``ci_programs``: an installation does nothing, an environment of tox is this one,
the campaign and the certification are recorded ones. What needs root or a network writes a line.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from tests.support.evidence_builders import (
    certificates,
    change,
    list_run,
    passing,
    shifted,
    write,
)
from tests.support.evidence_records import T0, Timed
from validation.certificates import append
from validation.criteria.registry import CRITERIA
from validation.evidence.base import Record
from validation.evidence.log import FILE
from validation.evidence.records_ledger import Audit
from validation.evidence.records_load import Load
from validation.evidence.records_price import NodePrice

ROOT: Final = Path(__file__).resolve().parents[2]
CI: Final = ROOT / "docs" / "ci"
FILES: Final = ("github-actions.yml", "gitlab-ci.yml")
CAMPAIGN: Final = "RECORDED_CAMPAIGN"
"""Variable that names the campaign which the stand-in records."""
PRICED: Final = "RECORDED_PRICE"
"""Variable with the ISO date of its price."""
CERTIFICATES: Final = "RECORDED_CERTIFICATES"
"""Variable that names the file which the stand-in of a certification copies."""
CAMPAIGN_S: Final = 1200.0
"""Seconds of a simulated run that are the campaign; the rest is two days of watching."""
_SOAK_S: Final = 50 * 3600.0
Name = Literal["healthy", "lost", "unmeasured"]


@dataclass(frozen=True, kw_only=True)
class Command:
    """Lines that one shell runs."""

    name: str
    script: str
    always: bool
    """Whether it is run although an earlier one failed."""
    decides: bool = True
    """Whether its status is part of the job's."""


def jobs(file: str) -> Mapping[str, dict[str, Any]]:
    """The jobs of an example by name, in GitLab with what they extend."""
    found: dict[str, Any] = yaml.safe_load((CI / file).read_text())
    if "jobs" in found:
        return found["jobs"]
    return {
        name: {**found.get(job.get("extends", ""), {}), **job}
        for name, job in found.items()
        if isinstance(job, dict) and not name.startswith(".")
    }


def commands(file: str, job: str) -> list[Command]:
    """What a job runs, in order."""
    found = jobs(file)[job]
    if "steps" in found:
        return [
            Command(name=step["name"], script=step["run"], always=step.get("if") == "always()")
            for step in found["steps"]
            if "run" in step
        ]
    lines = (*found.get("before_script", ()), *found["script"])
    after = "\n".join(found.get("after_script", ()))
    return [
        *(Command(name="script", script=line, always=False) for line in lines),
        *(
            [Command(name="after_script", script=after, always=True, decides=False)]
            if after
            else ()
        ),
    ]


class Workspace:
    """A scratch checkout, and the environment of a job in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._programs = folder / "checkout", folder / "bin"
        self.asked = folder / "asked"
        self.summary = folder / "step-summary"
        self.soaked = folder / "soak" / "run"
        self._priced = (datetime.now(tz=UTC) - timedelta(days=10)).date().isoformat()
        self.folder.mkdir()
        self._programs.mkdir()
        self.asked.touch()
        for name in ("conftest.py", "pyproject.toml", "tox.ini", "validation"):
            (self.folder / name).symlink_to(ROOT / name)
        program = ROOT / "tests" / "support" / "ci_programs.py"
        for name in ("python", "sudo", "apt-get", "gh", "curl"):
            path = self._programs / name
            path.write_text(f'#!/bin/sh\nexec {sys.executable} {program} {name} "$@"\n')
            path.chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{self._programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "ASKED": str(self.asked),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GATE_SOAK": str(self.soaked),
            "CI_API_V4_URL": "https://gitlab.example/api/v4",
            "CI_PROJECT_ID": "7",
            "CI_MERGE_REQUEST_IID": "12",
            "GATE_COMMENT_TOKEN": "not a token",
            "GH_REPO": "team/project",
            "NUMBER": "12",
            PRICED: self._priced,
        }

    def campaign(self, name: Name) -> None:
        """Choose what the campaign records."""
        self.environment[CAMPAIGN] = name

    def record(self, name: Name) -> Path:
        """Write a campaign into a folder of its own among the job's; returns the folder."""
        folder = self.folder / "reports" / "out" / name
        events, began = recorded(name, self._priced)
        write(folder / FILE, events, run=name, began=began)
        return folder

    def soak(self) -> None:
        """Record two days that ended an hour ago, without a load test, and list them in a log."""
        moved = time.time() - 3600 - T0 - _SOAK_S
        self.soaked.mkdir(parents=True)
        file = self.soaked / FILE
        write(
            file,
            _moved(_without_load(passing(2)), moved, self._priced),
            run="soak",
            began=T0 + moved,
        )
        (list_run(file)).rename(self.soaked.parent / "campaigns.jsonl")

    def certify(self) -> None:
        """Let the certification find every mutant."""
        file = self.folder.parent / "certificates.jsonl"
        self.environment[CERTIFICATES] = str(file)
        for one in certificates(criterion.id for criterion in CRITERIA):
            append(file, type(one)(**{**vars(one), "at": time.time()}))

    def run(self, file: str, job: str, *, only: str = "") -> int:
        """Run a job, or its commands with a text; returns the status that failed it, or 0."""
        status = 0
        chosen = [one for one in commands(file, job) if only in one.script and not one.always]
        for command in chosen if only else commands(file, job):
            if status and not command.always:
                continue
            done = subprocess.run(
                ["bash", "-e", "-c", command.script],
                cwd=self.folder,
                env=self.environment,
                capture_output=True,
                text=True,
            )
            print(f"{command.name}: {done.returncode}\n{done.stdout}\n{done.stderr}")
            if done.returncode and command.decides:
                status = status or done.returncode
        return status


def recorded(name: str, priced: str) -> tuple[list[Timed], float]:
    """The records of a campaign that ends now, and when it began.

    Args:
        priced: ISO date of the price, the same for runs that are pooled.
    """
    events = [(at, record) for at, record in passing() if at < T0 + CAMPAIGN_S]
    if name == "lost":
        events = change(events, Audit, _without_one)
    if name == "unmeasured":
        events = _without_load(events)
    moved = time.time() - CAMPAIGN_S - 5 - T0
    return _moved(events, moved, priced), T0 + moved


def _moved(events: Sequence[Timed], seconds: float, priced: str) -> list[Timed]:
    """The records at another time, with a price of another date."""
    return [
        (at, replace(one, as_of=priced) if isinstance(one, NodePrice) else one)
        for at, one in shifted(events, seconds)
    ]


def _without_one(record: Record) -> Record:
    """The audit of a ledger that lost an individual."""
    assert isinstance(record, Audit)
    committed = record.committed - 1
    return replace(
        record,
        lost=1,
        committed=committed,
        from_cache=min(record.from_cache, committed),
        witnesses=("lost: generation 0 index 0 (known to nobody)",),
    )


def _without_load(events: Sequence[Timed]) -> list[Timed]:
    return [(at, record) for at, record in events if not isinstance(record, Load)]
