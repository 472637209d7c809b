"""A soak: its segments count whole or not at all, it survives a kill, and stops when decided."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.evidence_builders import (
    certificates,
    evidence,
    passing,
    shifted,
    simulated,
    write,
)
from tests.support.evidence_records import NODES, T0, job
from tests.support.waiting import wait_until
from validation.cli.main import main
from validation.criteria.no_data_loss import no_data_loss
from validation.criteria.registry import CRITERIA
from validation.criteria.uptime import uptime
from validation.decision import Decision, decide
from validation.evidence.log import EvidenceError
from validation.evidence.records import Gap, Note
from validation.soak import MANIFEST, read_soak
from validation.soak.forecast import Live
from validation.soak.loop import due
from validation.soak.segments import Folder, Plan, Segments
from validation.verdict import Status, judge


def soak(out: Path, hours: float, *more: str) -> int:
    return main(
        ["soak", "--hours", str(hours), "--simulate", "--seed", "3", "--out", str(out), *more]
    )


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("soak") / "soak"
    assert soak(out, 2.5, "--faults", "4") == 2
    return out


@pytest.fixture
def copy(healthy: Path, tmp_path: Path) -> Path:
    """A soak of its own to damage."""
    out = tmp_path / "copy"
    out.mkdir()
    for file in healthy.iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    return out


def test_segments_are_read_as_one_record(healthy: Path) -> None:
    record = read_soak(healthy)
    assert record.closed
    assert record.run == Folder.load(healthy).plan.name
    assert len(Folder.load(healthy).segments) == 3
    times = [event.at for event in record.of("probe")]
    assert times == sorted(times)
    verdict = judge(uptime, [record])
    assert verdict.status is Status.INCONCLUSIVE
    assert "45.5" in verdict.needs
    assert "SIMULATED" in verdict.reason
    assert "served from the result cache" in decide([record]).verdict("reproducibility").needs
    for name in ("worker_recovery", "no_data_loss", "memory_stability"):
        assert decide([record]).verdict(name).status is Status.PASS, name


def test_simulated_soak_is_never_go(healthy: Path, tmp_path: Path) -> None:
    before = -4 * 86400.0
    events = shifted(simulated(passing()), before)
    run = evidence(events, backend="simulated", began=T0 + before)
    certified = certificates(criterion.id for criterion in CRITERIA)
    result = decide([read_soak(healthy), run], criteria=CRITERIA, certificates=certified)
    assert {verdict.status for verdict in result.verdicts.values()} == {Status.PASS}
    assert result.decision is Decision.INCONCLUSIVE
    assert "SIMULATED" in result.system
    assert "51." in result.verdict("uptime").measured
    file = write(tmp_path / "e.jsonl", simulated(passing()), backend="simulated")
    assert main(["gate", str(healthy), str(file), "--certificates", str(tmp_path / "none")]) == 2


def test_simulated_and_real_runs_are_not_pooled(healthy: Path) -> None:
    with pytest.raises(EvidenceError, match=r"another system.*backend 'processes'"):
        decide([read_soak(healthy), evidence(passing())])


@pytest.mark.parametrize("damage", ["edit", "cut", "drop", "add", "swap", "manifest", "none"])
def test_damaged_soak_is_refused(
    copy: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = copy / "segment-0001.jsonl", copy / "segment-0002.jsonl"
    if damage == "edit":
        first.write_text(first.read_text().replace('"ok":true', '"ok":false', 1))
    elif damage == "cut":
        lines = first.read_text().splitlines(keepends=True)
        first.write_text("".join(lines[:-5]))
    elif damage == "drop":
        second.unlink()
    elif damage == "add":
        (copy / "segment-0009.jsonl").write_bytes(first.read_bytes())
    elif damage == "swap":
        a, b = first.read_bytes(), second.read_bytes()
        first.write_bytes(b)
        second.write_bytes(a)
    elif damage == "manifest":
        (copy / MANIFEST).write_text((copy / MANIFEST).read_text()[:-30])
    else:
        (copy / MANIFEST).unlink()
    with pytest.raises(EvidenceError):
        read_soak(copy)
    assert main(["gate", str(copy)]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1


def test_truncated_segment_without_gap_is_refused(copy: Path) -> None:
    """Even with its checksum in the manifest: the next one must begin with a gap."""
    first = copy / "segment-0001.jsonl"
    lines = first.read_bytes().splitlines(keepends=True)
    first.write_bytes(b"".join(lines[:-1]))
    fields = json.loads((copy / MANIFEST).read_text())
    fields["segments"][0]["sha256"] = hashlib.sha256(first.read_bytes()).hexdigest()
    (copy / MANIFEST).write_text(json.dumps(fields))
    with pytest.raises(EvidenceError, match="no gap says so"):
        read_soak(copy)


def test_unfinished_soak_proves_nothing(copy: Path) -> None:
    fields = json.loads((copy / MANIFEST).read_text())
    fields["finished"] = False
    (copy / MANIFEST).write_text(json.dumps(fields))
    record = read_soak(copy)
    assert not record.closed
    assert judge(uptime, [record, evidence(passing())]).status is Status.INCONCLUSIVE


def test_soak_resumes_after_sigkill(tmp_path: Path) -> None:
    """Whatever was written counts, what was not is a gap, and the run ends as if undisturbed."""
    out = tmp_path / "soak"
    argv = [sys.executable, "-m", "validation", "soak", "--simulate", "--seed", "3"]
    argv += ["--out", str(out), "--faults", "4", "--hours"]
    with subprocess.Popen([*argv, "1000"], stderr=subprocess.DEVNULL) as process:
        wait_until(
            (out / "segment-0002.jsonl").exists,
            seconds=math.inf,
            what="the second segment",
            every=0.01,
            unless=lambda: process.poll() is not None,
        )

        def stopped_within() -> tuple[Folder, Path] | None:
            """In the middle of a segment: it is stopped first, since it may be between two."""
            os.kill(process.pid, signal.SIGSTOP)
            seen = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED)
            assert seen is not None
            assert seen.si_code == os.CLD_STOPPED
            cut = Folder.load(out)
            last = out / cut.segments[-1][0]
            if cut.segments[-1][1] is None and last.exists() and last.read_bytes().count(b"\n") > 9:
                return cut, last
            os.kill(process.pid, signal.SIGCONT)
            return None

        within = wait_until(
            stopped_within, seconds=math.inf, what="a segment is half written", every=0.01
        )
        assert within is not None
        cut, last = within
        os.kill(process.pid, signal.SIGKILL)
    assert not read_soak(out).closed
    before = last.read_bytes()
    # As if the machine had gone in the middle of a line.
    last.write_bytes(before[:-7])
    hours = len(cut.segments) + 2
    assert main([*argv[3:-1], "--resume", "--hours", str(hours)]) == 2
    record = read_soak(out)
    assert record.closed
    assert last.read_bytes() == before[:-7]
    (gap,) = record.all(Gap)
    assert gap.end - gap.begin == pytest.approx(600)
    assert gap.reason == "the soak was killed"
    verdict = judge(uptime, [record])
    assert f"{hours}.0" in verdict.measured
    assert float(verdict.needs.split()[0]) == pytest.approx(48 - hours, abs=0.02)
    assert "without a gap record" not in verdict.reason
    # A workload that was cut is unknown, and explained by the gap.
    assert judge(no_data_loss, [record]).status is Status.PASS


@pytest.mark.parametrize("there", [True, False])
def test_soak_killed_at_a_segment_start_resumes(copy: Path, there: bool) -> None:
    """It is open, not damaged, and can be gone on with."""
    folder = Folder.load(copy)
    name = f"segment-{len(folder.segments) + 1:04d}.jsonl"
    entries = (*folder.segments, (name, None))
    dataclasses.replace(folder, segments=entries, finished=False).save()
    if there:
        (copy / name).write_text('{"cut')
    assert not read_soak(copy).closed
    hours = len(entries) + 2
    assert soak(copy, hours, "--resume", "--faults", "4") == 2
    assert read_soak(copy).closed


def test_soak_killed_between_segments_resumes(copy: Path) -> None:
    """All are sealed and none is open: nothing is lost, and the gap says that it was killed."""
    dataclasses.replace(Folder.load(copy), finished=False).save()
    before = len(read_soak(copy).events)
    assert not read_soak(copy).closed
    assert soak(copy, 3, "--resume", "--faults", "4") == 2
    record = read_soak(copy)
    assert record.closed
    assert len(record.events) > before
    (gap,) = record.all(Gap)
    assert gap.reason == "the soak was killed"


def test_stopped_soak_resumes_with_a_gap(copy: Path) -> None:
    assert soak(copy, 3, "--resume", "--faults", "4") == 2
    record = read_soak(copy)
    (gap,) = record.all(Gap)
    assert gap.reason == "the soak was stopped"
    assert "3.0" in judge(uptime, [record]).measured


@pytest.mark.parametrize(
    ("defect", "criterion", "witness"),
    [
        ("lost", "no_data_loss", "lost: generation 3 index 7"),
        ("outages", "uptime", "outages"),
    ],
)
def test_soak_stops_when_decided(tmp_path: Path, defect: str, criterion: str, witness: str) -> None:
    out = tmp_path / "soak"
    assert main(["soak", "--hours", "48", "--simulate", defect, "--out", str(out)]) == 1
    record = read_soak(out)
    (note,) = [n for n in record.all(Note) if n.text.startswith("the soak ended")]
    assert f"decided: {criterion}" in note.text
    result = decide([record, evidence(simulated(passing()), backend="simulated")])
    assert result.decision is Decision.NO_GO
    assert witness in result.verdict(criterion).reason
    assert record.events[-1].at - record.events[0].at < 20 * 3600
    # Nothing that came later could have saved it.
    assert main(["soak", "--hours", "48", "--simulate", defect, "--out", str(out), "--resume"]) == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--hours", "0"], "--hours"),
        (["--hours", "nan"], "--hours"),
        (["--hours", "1", "--faults", "-1"], "--faults"),
        (["--hours", "1", "--faults", "inf"], "--faults"),
        (["--hours", "1", "--seed", "-1"], "--seed"),
        (["--hours", "1", "--resume"], "no soak is here"),
    ],
)
def test_bad_options_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], word: str
) -> None:
    assert main(["soak", "--simulate", "--out", str(tmp_path / "x"), *arguments]) == 2
    error = capsys.readouterr().err
    assert word in error
    assert error.count("\n") == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "--resume"),
        (["--resume", "--faults", "5"], "--faults 5"),
        (["--resume", "--seed", "4"], "--seed 4"),
        (["--resume", "--stack", "processes"], "--stack"),
    ],
)
def test_resume_keeps_the_options_of_the_start(
    copy: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], word: str
) -> None:
    before = (copy / MANIFEST).read_bytes()
    assert main(["soak", "--simulate", "--hours", "3", "--out", str(copy), *arguments]) == 2
    assert word in capsys.readouterr().err
    assert (copy / MANIFEST).read_bytes() == before


def test_second_process_is_refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (copy / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert soak(copy, 3, "--resume", "--faults", "4") == 2
    assert "another process" in capsys.readouterr().err


def test_faults_follow_the_schedule() -> None:
    counts = [due(seed, 2.0, 10 * 3600) for seed in range(300)]
    assert float(np.mean(counts)) == pytest.approx(20, abs=1)
    assert float(np.var(counts)) == pytest.approx(20, abs=6)
    assert due(1, 2.0, 3600.0) <= due(1, 2.0, 7200.0)
    assert due(1, 0.0, 1e6) == 0


def test_progress_and_forecast_are_printed() -> None:
    plan = Plan(
        name="s",
        seed=1,
        hours=48,
        faults=1,
        backend="processes",
        nodes=4,
        cpus_per_node=0.4,
        replay="",
    )
    live = Live(plan=plan)
    for n in range(0, 24 * 3600, 30):
        ok = not 3600 <= n < 3660
        live.hear(1.76e9 + n, job(1.76e9 + n, missing=() if ok else NODES))
    words = live.words(1.76e9 + 24 * 3600, 12_000_000)
    assert "24.00 of 48 h watched" in words or "23.99 of 48 h watched" in words
    assert "1 outage, 90 s of 29 min allowed used" in words
    assert "12.0 of 24 MB" in words
    assert words.endswith("expected: PASS")
    assert not live.decided()


def test_killed_writer_leaves_its_records(tmp_path: Path) -> None:
    folder = Folder(
        path=tmp_path,
        plan=Plan(
            name="s",
            seed=1,
            hours=1,
            faults=0,
            backend="processes",
            nodes=1,
            cpus_per_node=0.4,
            replay="",
        ),
    ).save()
    segments = Segments(folder=folder)
    segments.begin()
    # The manifest comes first: no segment is ever unknown to it.
    assert [name for name, _ in Folder.load(tmp_path).segments] == ["segment-0001.jsonl"]
    segments.add(Note(text="x"))
    record = read_soak(tmp_path)
    assert [e.kind for e in record.events] == ["open", "note"]
    assert not record.closed
    segments.finish()
    assert read_soak(tmp_path).closed


def test_soak_is_listed_from_begin_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing soak that is left out opens what it failed, whether it ended or was killed."""
    # The usual log of this folder may list other runs.
    monkeypatch.chdir(tmp_path)
    for name, defect in (("good", "healthy"), ("bad", "lost")):
        argv = ["soak", "--hours", "2", "--simulate", defect, "--seed", "3", "--faults", "1"]
        main([*argv, "--out", str(tmp_path / name)])
    log = tmp_path / "campaigns.jsonl"
    kinds = [json.loads(line)["kind"] for line in log.read_text().splitlines()]
    assert kinds == ["begun", "gathering", "ended"] * 2
    killed = log.read_bytes().splitlines(keepends=True)[:-1]
    for status in ("finished", "abandoned"):
        capsys.readouterr()
        assert main(["gate", str(tmp_path / "good"), "--json", "--max-age", "100000"]) == 2
        said = json.loads(capsys.readouterr().out)
        (one,) = said["left_out"]
        assert (one["status"], one["failed"]) == (status, ["no_data_loss"])
        log.write_bytes(b"".join(killed))
