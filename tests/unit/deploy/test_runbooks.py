"""Every alert says what happened and how much, and has a runbook; every runbook has an alert."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[3]
RUNBOOKS: Final = ROOT / "docs" / "runbooks"
SECTIONS: Final = [
    "What it means",
    "How to confirm",
    "What to do",
    "How to see that it is over",
]


def alerts() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every alert of Compose and Kubernetes: file and name, and the rule."""
    for path in (
        *sorted(ROOT.glob("deploy/prometheus/*.yml")),
        ROOT / "deploy/kuberay/alerts.yaml",
    ):
        document = yaml.safe_load(path.read_text())
        for group in document.get("spec", document).get("groups", ()):
            for rule in group["rules"]:
                if "alert" in rule:
                    yield f"{path.parent.name}: {rule['alert']}", rule


ALERTS: Final = dict(alerts())


@pytest.mark.parametrize("name", ALERTS)
def test_alert_has_description_value_and_runbook(name: str) -> None:
    rule = ALERTS[name]
    notes = rule["annotations"]
    assert {"summary", "description", "value", "action", "runbook_url"} == set(notes)
    assert "$value" in notes["value"]
    assert notes["description"].endswith(".")
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    # Relative to the repository, whose address a deployment does not know.
    assert ROOT / notes["runbook_url"] == RUNBOOKS / f"{rule['alert']}.md"


def test_each_alert_has_a_runbook_and_conversely() -> None:
    assert {path.stem for path in RUNBOOKS.iterdir()} == {r["alert"] for r in ALERTS.values()}


@pytest.mark.parametrize("path", sorted(RUNBOOKS.iterdir()), ids=lambda path: path.stem)
def test_runbook_has_all_sections(path: Path) -> None:
    text = path.read_text()
    assert text.startswith(f"# {path.stem}\n")
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    assert parts[1::2] == SECTIONS
    assert all(part.strip() for part in parts[2::2])
