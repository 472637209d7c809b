"""What contributors are told exists: links, tox environments, hooks, and forms."""

from __future__ import annotations

import json
import re
import tomllib
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])
GUIDES = ("CONTRIBUTING.md", ".github/pull_request_template.md", "docs/release.md")
FORMS = ROOT / ".github" / "ISSUE_TEMPLATE"


def anchor(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_has_a_target(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, fragment = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists():
            broken.append(target)
        elif fragment:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.M)
            broken += [] if fragment in map(anchor, headings) else [target]
    assert broken == []


@pytest.mark.parametrize("guide", GUIDES)
def test_every_tox_environment_exists(guide: str) -> None:
    tox = ConfigParser()
    tox.read(ROOT / "tox.ini")
    there = {section.partition(":")[2] for section in tox.sections()}
    text = (ROOT / guide).read_text(encoding="utf-8")
    named = {name for names in re.findall(r"tox -e ([\w,]+)", text) for name in names.split(",")}
    assert named <= there


def test_named_extras_and_paths_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    extras = re.findall(r"'\.\[(\w+)\]'", text)
    assert extras
    assert set(extras) <= set(project["optional-dependencies"])
    paths = re.findall(r"`((?:tests|docs|tools|\.ci|\.devcontainer)/[\w./-]*)`", text)
    assert len(paths) > 3
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_hooks_run_modules_of_the_environment() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = {hook["id"]: hook for repo in config["repos"] for hook in repo["hooks"]}
    assert {"ruff", "ruff-format", "mypy"} <= hooks.keys()
    for hook in hooks.values():
        assert hook["language"] == "system"
        assert hook["entry"].startswith("python -m ")


@pytest.mark.parametrize("name", ["bug.yml", "feature.yml"])
def test_issue_forms_are_complete(name: str) -> None:
    form = yaml.safe_load((FORMS / name).read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= form.keys()
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    ids = [field["id"] for field in fields]
    assert len(ids) == len(set(ids)) > 2
    assert all(field["attributes"]["label"] for field in fields)
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_devcontainer_installs_the_project() -> None:
    found = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert found["image"].startswith("python:3.11-")
    assert "-c constraints.txt -e '.[dev]'" in found["postCreateCommand"]
