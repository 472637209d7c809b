"""The wheel holds all that an installed package needs, and hides no other package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.support.evidence_builders import passing, write
from validation.code_hashes import code_hash
from validation.criteria.registry import CRITERIA

ROOT = Path(__file__).resolve().parents[3]
_LINKED = ("fixtures", "reports", "benchmarks")
_BUILT_FROM = (
    *("ga", "validation", "evolution_gate", *_LINKED, "deploy"),
    *("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"),
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel installs."""
    place = tmp_path_factory.mktemp("wheel")
    for name in _BUILT_FROM:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "out", "secrets", ".env")
            shutil.copytree(ROOT / name, place / "src" / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, place / "src")
    argv = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    argv += ["--no-index", "--wheel-dir", str(place), str(place / "src")]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = place.glob("*.whl")
    ZipFile(wheel).extractall(place / "installed")
    return place / "installed"


def run(installed: Path, cwd: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """A command of the installed package, in a folder that has nothing of the checkout."""
    return subprocess.run(
        [sys.executable, *argv],
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": ""},
        capture_output=True, text=True,
    )  # fmt: skip


def test_wheel_takes_no_common_package_names(installed: Path, tmp_path: Path) -> None:
    names = {path.name for path in installed.iterdir() if path.suffix != ".dist-info"}
    assert names == {"ga", "validation", "evolution_gate"}
    theirs = (*_LINKED, "tests", "deploy")
    for name in theirs:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    # Behind ours on the path.
    code = f"import sys; sys.path.append({str(tmp_path)!r}); import {', '.join(theirs)}"
    places = ", ".join(f"{name}.__file__" for name in theirs)
    done = run(installed, installed, "-c", f"{code}; print({places}, sep='\\n')")
    assert done.returncode == 0, done.stderr
    assert [Path(line).parent.parent for line in done.stdout.split()] == [tmp_path] * len(theirs)


def test_wheel_contains_every_file(installed: Path) -> None:
    missing = []
    for top in ("ga", "validation", *_LINKED, "deploy"):
        there = installed / "evolution_gate" if top in (*_LINKED, "deploy") else installed
        for path in (ROOT / top).rglob("*"):
            place = path.relative_to(ROOT)
            if path.is_dir() or {"__pycache__", "secrets", ".env", "out"} & set(place.parts):
                continue
            if not (there / place).is_file():
                missing.append(str(place))
    assert missing == []


def test_installed_gate_has_the_same_hash(installed: Path, tmp_path: Path) -> None:
    code = (
        "import validation.code_hashes as c, evolution_gate.reports as r, ga\n"
        "print(c.code_hash(), c.__file__, r.__file__, ga.__file__, sep='\\n')"
    )
    found = run(installed, tmp_path, "-c", code)
    assert found.returncode == 0, found.stderr
    first, *files = found.stdout.splitlines()
    assert first == code_hash()
    assert [Path(file).is_relative_to(installed) for file in files] == [True] * 3


def test_installed_gate_judges_and_reports(installed: Path, tmp_path: Path) -> None:
    evidence = write(tmp_path / "evidence.jsonl", passing())
    out = tmp_path / "page"
    argv = ("-m", "validation", "report", "--out", str(out), str(evidence))
    done = run(installed, tmp_path, *argv)
    assert "Traceback" not in done.stderr, done.stderr
    assert "</html>" in (out / "report.html").read_text()


def test_installed_package_deploys(installed: Path, tmp_path: Path) -> None:
    found = run(installed, tmp_path, "-m", "ga", "preflight", "--json")
    assert found.returncode == 1, found.stderr
    names = {check["name"] for check in json.loads(found.stdout)["checks"]}
    assert {"engine", "secrets", "memory"} <= names
    # Nothing was written by asking.
    assert list(tmp_path.iterdir()) == []
    refused = run(installed, tmp_path, "-m", "ga", "cluster", "status")
    assert refused.returncode == 2
    assert "`python -m ga cluster init` here" in refused.stderr
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "theirs.yml").write_text("of others")
    kept = run(installed, tmp_path, "-m", "ga", "cluster", "init")
    assert (kept.returncode, kept.stderr.count("\n")) == (2, 1)
    assert "nothing was written" in kept.stderr
    assert [path.name for path in (tmp_path / "deploy").iterdir()] == ["theirs.yml"]
    (tmp_path / "deploy" / "theirs.yml").unlink()
    run(installed, tmp_path, "-m", "ga", "cluster", "init")
    assert (tmp_path / "deploy" / "docker-compose.yml").is_file()


def test_pyargs_finds_the_gate_in_any_folder(installed: Path, tmp_path: Path) -> None:
    argv = ("-m", "pytest", "-m", "validation", "--pyargs", "validation", "--")
    found = run(installed, tmp_path, *argv, "--short", "--collect-only", "-q")
    assert found.returncode == 0, found.stdout + found.stderr
    assert {f"test_criterion[{one.id}]" for one in CRITERIA} == {
        line.rpartition("::")[2] for line in found.stdout.splitlines() if "::" in line
    }


def test_other_test_suites_get_no_gate_options(installed: Path, tmp_path: Path) -> None:
    found = run(installed, tmp_path, "-m", "pytest", "--help")
    assert found.returncode == 0, found.stderr
    assert "--keep-files" not in found.stdout
    (tmp_path / "validation").mkdir()
    refused = run(installed, tmp_path, "-m", "pytest", "validation", "--keep-files")
    assert "unrecognized arguments: --keep-files" in refused.stderr
