"""Certificates, and that each defect can still be planted."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from ga.errors import InputError
from tests.support.evidence_builders import certificates
from tests.support.waiting import wait_until
from validation.certificates import HEALTHY, Certificate, append, certified, false_alarms
from validation.certificates import read_certificates as read
from validation.cli.main import main
from validation.contract import Mutant, SourcePatch
from validation.criteria.registry import CRITERIA, MUTANTS
from validation.mutation.runner import Trials, certify, copy_folder, part
from validation.mutation.trial import STAGE_ORDER
from validation.stages.registry import STAGES

ROOT = Path(__file__).resolve().parents[3]


def certificate(criterion: str = "speedup", **changes: object) -> Certificate:
    base = certificates([criterion])[1]
    return dataclasses.replace(base, **changes)


@pytest.mark.parametrize("defect", MUTANTS, ids=lambda d: f"{d.criterion}: {d.name}")
def test_every_mutant_can_be_planted(defect: Mutant) -> None:
    real = bool(defect.patches) or defect.injector is not None
    assert real != (defect.simulated is not None)
    if defect.injector is not None:
        # The stack is running: of the files, only those that the injector makes it read again.
        assert all(edit.file.startswith("deploy/") for edit in defect.patches)
    texts: dict[str, str] = {}
    for edit in defect.patches:
        text = texts.get(edit.file) or (ROOT / edit.file).read_text()
        assert text.count(edit.old) == 1
        texts[edit.file] = text.replace(edit.old, edit.new)
    for name, text in texts.items():
        if name.endswith(".py"):
            compile(text, name, "exec")


def test_every_criterion_has_a_mutant() -> None:
    measured = {c.id for c in CRITERIA}
    assert measured == {defect.criterion for defect in MUTANTS}
    assert len({(d.criterion, d.name) for d in MUTANTS}) == len(MUTANTS)


def test_healthy_trial_covers_the_stages_of_mutants() -> None:
    needed = {stage for mutant in MUTANTS for stage in mutant.stages}
    assert needed <= set(STAGE_ORDER)
    assert set(STAGE_ORDER) <= {*STAGES, "soak"}


def test_every_criterion_file_is_registered() -> None:
    """One that forgets ``PLUGIN`` would be missing in the gate without a word."""
    others = {"__init__", "helpers", "memory_growth", "plan", "registry"}
    files = {file.stem for file in (ROOT / "validation" / "criteria").glob("*.py")} - others
    assert files == {criterion.id for criterion in CRITERIA}


def test_shards_contain_every_mutant_once() -> None:
    parts = [part(MUTANTS, f"{number}/4") for number in range(1, 5)]
    assert sorted(d.name for one in parts for d in one) == sorted(d.name for d in MUTANTS)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for wrong in ("0/4", "5/4", "1", "a/b", "1/0"):
        with pytest.raises(InputError, match="--shard"):
            part(MUTANTS, wrong)


def test_mutants_of_image_code_need_processes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = {d.name: d.fits_containers for d in MUTANTS}
    for name in ("broken panel", "a node that restarts by itself", "a watch that stops half-way"):
        assert there[name]
    # Of the engine's code, of a process of the host, and of no stack at all.
    for name in ("dropped write", "dead exporter", "unwatched hours without a gap"):
        assert not any(on for known, on in there.items() if known.startswith(name))
    store = str(tmp_path / "certificates.jsonl")
    asked = ["certify", "speedup", "--stack", "containers", "--certificates", store]
    assert main(asked) == 2
    assert "none of these defects can be planted" in capsys.readouterr().err


def test_each_backend_has_its_own_certificates(
    tmp_path: Path,
) -> None:
    path = tmp_path / "certificates.jsonl"
    append(path, certificate("grafana_functional", defect="broken panel"))
    tried: list[tuple[str, list[tuple[str, str]]]] = []

    def run_trials(_path: Path, left: Trials, _seconds: float, stack: str) -> None:
        tried.append((stack, list(left)))

    mutants = [m for m in MUTANTS if m.criterion == "grafana_functional"]
    known = [m.name for m in mutants if m.name != "broken panel"]
    outside = [m.name for m in mutants if m.fits_containers]
    for stack, names in (("processes", known), ("containers", outside)):
        left = [("grafana_functional", name) for name in (HEALTHY, *names)]
        found = certify(
            path,
            criteria=["grafana_functional"],
            stack=stack,
            say=lambda _: None,
            run_trials=run_trials,
        )
        assert tried[-1] == (stack, left)
        assert [c.stack for c in found] == ["processes"][: stack == "processes"]


SLOW = Mutant(name="slow", criterion="speedup", stages=("speedup",))
AWAY = Mutant(name="no receipts", criterion="speedup", expects="INCONCLUSIVE")
GOOD = certificate(defect=HEALTHY, detected=False, expected="PASS", verdict="PASS")
FOUND = certificate(defect="slow")


def test_certified_needs_detection_without_false_alarm() -> None:
    assert certified([], [SLOW]) == frozenset()
    assert certified([GOOD], [SLOW]) == frozenset()
    assert certified([FOUND], [SLOW]) == frozenset()
    assert certified([FOUND, GOOD], [SLOW]) == {"speedup"}
    alarm = dataclasses.replace(GOOD, detected=True, verdict="FAIL")
    assert certified([FOUND, alarm], [SLOW]) == frozenset()
    assert certified([alarm, FOUND, GOOD], [SLOW]) == {"speedup"}, "the latest trial counts"


def test_every_mutant_must_be_detected() -> None:
    second = dataclasses.replace(SLOW, name="another")
    assert certified([FOUND, GOOD], [SLOW, second]) == frozenset()
    missed = certificate(defect="another", detected=False, verdict="PASS")
    assert certified([FOUND, GOOD, missed], [SLOW, second]) == frozenset()
    assert certified([FOUND, GOOD, certificate(defect="another")], [SLOW, second]) == {"speedup"}
    other = certificate("dashboard", defect="slow")
    assert certified([FOUND, GOOD, other], [SLOW]) == {"speedup"}


def test_removed_evidence_certifies_only_with_healthy_pass() -> None:
    away = certificate(defect="no receipts", expected="INCONCLUSIVE", verdict="INCONCLUSIVE")
    assert certified([away], [AWAY]) == frozenset()
    open_too = dataclasses.replace(GOOD, verdict="INCONCLUSIVE")
    assert certified([away, open_too], [AWAY]) == frozenset()
    assert certified([FOUND, open_too], [SLOW]) == {"speedup"}
    assert certified([away, GOOD], [AWAY]) == {"speedup"}
    assert certified([dataclasses.replace(away, detected=False), GOOD], [AWAY]) == frozenset()


def test_certificates_count_for_their_backend() -> None:
    panel = Mutant(
        name="slow", criterion="speedup", injector=lambda _: nullcontext(), on_containers=True
    )
    assert panel.fits_containers
    there = [dataclasses.replace(one, stack="containers") for one in (FOUND, GOOD)]
    assert certified([FOUND, GOOD], [panel], backend="containers") == frozenset()
    assert certified(there, [panel], backend="containers") == {"speedup"}
    assert certified(there, [panel]) == frozenset()
    engine = dataclasses.replace(
        SLOW, patches=(SourcePatch(file="ga/runner.py", old="a", new="b"),), injector=None
    )
    assert not engine.fits_containers
    assert certified([FOUND, GOOD], [engine], backend="containers") == {"speedup"}


@pytest.mark.parametrize(("days", "done"), [(0, True), (179, True), (181, False), (-181, False)])
def test_certificates_of_another_time_do_not_count(days: float, done: bool) -> None:
    at = GOOD.at + days * 86400
    assert bool(certified([FOUND, GOOD], [SLOW], at=at)) is done


def test_false_alarm_rate_has_a_bound() -> None:
    healthy = [
        certificate(name, defect=HEALTHY, detected=False, expected="PASS", verdict="PASS")
        for name in ("speedup", "dashboard", "uptime")
    ]
    assert "0 of 3 verdicts" in (said := false_alarms([*healthy, certificate()]))
    assert "at most 63.2 %" in said
    wrong = dataclasses.replace(healthy[0], detected=True, verdict="FAIL")
    assert "1 of 3 verdicts on the healthy system (speedup), 2 of" in false_alarms(
        [wrong, *healthy[1:]]
    )
    assert "not measured" in false_alarms([certificate()])


def test_certificates_of_other_code_are_ignored(tmp_path: Path) -> None:
    file = tmp_path / "below" / "certificates.jsonl"
    assert read(file) == ()
    append(file, certificate())
    append(file, certificate("dashboard", code="0" * 64))
    assert read(file) == (certificate(),)


def test_incomplete_line_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "certificates.jsonl"
    append(file, certificate())
    whole = json.dumps(dataclasses.asdict(certificate("dashboard")))
    for cut in (whole, whole[:50]):
        with file.open("a") as out:
            out.write(cut)
        assert read(file) == (certificate(),)
        file.write_text(file.read_text()[: -len(cut)])


def test_copy_folder_is_reused_unless_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By that path compiled kernels are found again."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with copy_folder() as first:
        with copy_folder() as other:
            assert other != first
        assert not other.exists()
    with copy_folder() as again:
        assert again == first
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("minutes", ["0", "-1", "nan"])
def test_bad_time_budget_is_refused(minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["certify", "--minutes", minutes]) == 2
    assert "--time-budget" in capsys.readouterr().err


_STACK_OWNER = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    pathlib.Path(sys.argv[1]).touch()
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)
    pathlib.Path(sys.argv[2]).touch()
"""
_CERTIFIER = """
import os, pathlib, signal, subprocess, sys
from validation.mutation.runner import run_interruptible

class Told(subprocess.Popen):
    def wait(self, *limit):
        pathlib.Path(sys.argv[2]).with_name("waiting").touch()
        return super().wait(*limit)

subprocess.Popen = Told
signal.signal(signal.SIGINT, signal.default_int_handler)
run_interruptible([sys.executable, "-c", *sys.argv[1:]], cwd=pathlib.Path(), env=dict(os.environ))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_certification_waits_for_stack_removal(
    how: signal.Signals, tmp_path: Path
) -> None:
    begun, removed, waiting = (tmp_path / name for name in ("begun", "removed", "waiting"))
    argv = [sys.executable, "-c", _CERTIFIER, _STACK_OWNER, str(begun), str(removed)]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        wait_until(
            lambda: begun.exists() and waiting.exists(),
            seconds=60,
            what="a trial has begun and is waited for",
        )
        process.send_signal(how)
        assert process.wait(30) != 0
    assert removed.exists()
