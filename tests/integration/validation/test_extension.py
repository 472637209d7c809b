"""A custom criteria file: the worked example of the documentation, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from evolution_gate.fixtures.backends.container import stack
from ga.errors import InputError
from tests.support.evidence_builders import certificates, evidence, list_run, passing, write
from tests.support.evidence_records import T0, Timed, receipt
from validation.certificates import append, certified
from validation.cli.main import main
from validation.contract import CriterionPlugin
from validation.criteria.registry import CRITERIA
from validation.decision import Decision, decide
from validation.evidence.log import read_evidence
from validation.evidence.records import RECORDS
from validation.extension import all_criteria, code_of, valid_certificates
from validation.plugin_loading import load
from validation.verdict import Status

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "docs" / "examples" / "squares.py"
OWN = load(EXAMPLE)


@pytest.fixture
def own() -> CriterionPlugin:
    return OWN


def squares(right: int = 200, at: float = T0 + 120) -> Timed:
    kind = RECORDS["squares"]
    facts = {"workload": "squares", "asked": 200, "right": right}
    return at, kind(**facts, started_at=at - 20, finished_at=at)


def freeze(*, confirmed: bool = True, at: float = T0 + 110) -> Timed:
    return at, receipt("freeze", "node-1", at, "squares", confirmed=confirmed)


def gathered(*events: Timed) -> list[Timed]:
    return sorted([*passing(), *events], key=lambda event: event[0])


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([squares(), freeze()], Status.PASS),
        ([squares(199), freeze()], Status.FAIL),
        ([squares()], Status.INCONCLUSIVE),
        ([freeze()], Status.INCONCLUSIVE),
        ([squares(), freeze(confirmed=False)], Status.INCONCLUSIVE),
        ([squares(), freeze(at=T0 + 200)], Status.INCONCLUSIVE),
    ],
)
def test_verdict_of_the_example(own: CriterionPlugin, events: list[Timed], status: Status) -> None:
    result = decide([evidence(gathered(*events))], criteria=all_criteria([own]))
    assert result.verdict("squares_right").status is status
    assert len(result.verdicts) == len(CRITERIA) + 1


def test_missing_receipt_makes_the_example_inconclusive(own: CriterionPlugin) -> None:
    """One fault has its receipt, another has not."""
    events = gathered(squares(), freeze(), freeze(confirmed=False, at=T0 + 115))
    result = decide([evidence(events)], criteria=own.criteria)
    said = result.verdict("squares_right")
    assert said.status is Status.INCONCLUSIVE
    assert "no receipt" in said.reason


def test_command_judges_evidence_of_the_example(
    own: CriterionPlugin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "e.jsonl", gathered(squares(), freeze()))
    store = tmp_path / "certificates.jsonl"
    for one in certificates(c.id for c in CRITERIA):
        append(store, one)
    argv = ["gate", str(path), "--certificates", str(store), "--with", str(EXAMPLE), "--json"]
    argv += ["--max-age", "100000", "--campaigns", str(list_run(path))]
    assert main(argv) == 2
    # All passes, and what is not certified blocks GO.
    assert json.loads(capsys.readouterr().out)["uncertified"] == ["squares_right"]
    fields = {"code": code_of(own)}
    for one in certificates(["squares_right"], own.mutants):
        append(store, dataclasses.replace(one, **fields))
    assert main(argv) == 0
    assert json.loads(capsys.readouterr().out)["decision"] == "GO"


def test_certificates_are_bound_to_the_plugin_file(own: CriterionPlugin, tmp_path: Path) -> None:
    store, other = tmp_path / "certificates.jsonl", tmp_path / "squares.py"
    for one in certificates(["squares_right"], own.mutants):
        append(store, dataclasses.replace(one, code=code_of(own)))
    assert certified(valid_certificates(store, [own]), own.mutants) == {"squares_right"}
    other.write_text(EXAMPLE.read_text() + "\n")
    assert valid_certificates(store, [dataclasses.replace(own, file=other)]) == ()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (None, "no such file"),
        ("", "must set PLUGIN"),
        ("PLUGIN = 3", "must set PLUGIN"),
        ("1 / 0", "ZeroDivisionError"),
        ("def f(:", "SyntaxError"),
        (
            EXAMPLE.read_text().replace('id="squares_right"', 'id="uptime"'),
            "'uptime' exists already",
        ),
        (EXAMPLE.read_text().replace('criterion="squares_right"', 'criterion="x"'), "no criterion"),
        (
            EXAMPLE.read_text().replace('KIND = "squares"', 'KIND = "probe"'),
            "'probe' is registered already",
        ),
    ],
)
def test_invalid_plugins_are_refused(
    tmp_path: Path, text: str | None, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    for argv in (["criteria", "--with", str(file)], ["own", str(file)]):
        assert main(argv) == 2
        said = capsys.readouterr().err
        assert word in said
        assert said.count("\n") == 1


@pytest.mark.parametrize("to", ["installed_squares", "installed_squares:PLUGIN"])
def test_entry_point_offers_criteria(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = f"squares_{to.count(':')}"
    text = EXAMPLE.read_text().replace('KIND = "squares"', f'KIND = "{kind}"')
    (tmp_path / "installed_squares.py").write_text(text)
    described = tmp_path / "installed_squares-1.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: x\nVersion: 1\n")
    (described / "entry_points.txt").write_text(
        f"[evolution_gate.criteria]\nsquares-check = {to}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    # The file is loaded by another process, too.
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.delitem(sys.modules, "installed_squares", raising=False)
    plugin = load("squares-check")
    assert (plugin.name, plugin.argument) == ("squares-check", "squares-check")
    assert plugin.file == tmp_path / "installed_squares.py"
    assert [c.id for c in plugin.criteria] == ["squares_right"]
    # What is not named is not there, and what is offered is said.
    assert main(["criteria"]) == 0
    assert "squares_right" not in capsys.readouterr().out
    assert main(["criteria", "--with", "square-check"]) == 2
    assert "no installed plug-in (squares-check)" in capsys.readouterr().err


def test_two_files_with_one_criterion_are_refused(own: CriterionPlugin) -> None:
    with pytest.raises(InputError, match="same id"):
        all_criteria([own, own])


@pytest.mark.parametrize("option", [["--nodes", "0"], ["--seed", "-1"]])
def test_bad_options_are_refused(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["own", str(EXAMPLE), *option]) == 2
    assert option[0] in capsys.readouterr().err


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "validation", *argv],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


@pytest.mark.stack
@pytest.mark.parametrize(
    "backend", ["processes", pytest.param("containers", marks=pytest.mark.nightly)]
)
def test_example_passes_on_a_real_stack(backend: str, tmp_path: Path) -> None:
    if backend == "containers" and (missing := stack.available()):
        pytest.skip(missing)
    out = tmp_path / "out"
    argv = ["--stack", backend, "--nodes", "1", "--seed", "3", "--out", str(out), "--json"]
    done = run("own", str(EXAMPLE), *argv)
    assert done.returncode == 2, done.stderr
    result = json.loads(done.stdout)
    assert [v["status"] for v in result["verdicts"]] == ["PASS"], result
    # It passes, and only lacks its certificates.
    assert result["uncertified"] == ["squares_right"]
    record = read_evidence(out / "evidence.jsonl")
    assert record.opening.replay.endswith(f"--stack {backend} --nodes 1 --replay 3")


@pytest.mark.stack
@pytest.mark.nightly
def test_example_mutants_are_detected_on_real_stack(own: CriterionPlugin, tmp_path: Path) -> None:
    store = tmp_path / "certificates.jsonl"
    done = run("certify", "--with", str(EXAMPLE), "--certificates", str(store), "--json")
    assert done.returncode == 0, done.stderr
    assert "0 of 1 verdicts on the healthy system" in done.stderr
    found = json.loads(done.stdout)
    assert {(c["verdict"], c["detected"]) for c in found} == {
        ("PASS", False), ("FAIL", True), ("INCONCLUSIVE", True),
    }  # fmt: skip
    events = gathered(squares(), freeze())
    result = decide(
        [evidence(events)], criteria=own.criteria, certificates=valid_certificates(store, [own])
    )
    assert result.decision is Decision.GO
