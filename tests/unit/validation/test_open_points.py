"""What is still open for GO: causes are told apart, and every output shows the same list."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evolution_gate.fixtures.capabilities import Capability
from evolution_gate.reports import write as write_report
from tests.support.evidence_builders import certificates, change, evidence, passing
from tests.support.evidence_builders.extra import NEEDED, write
from tests.support.evidence_records import T0
from validation.campaigns import log as campaigns
from validation.campaigns.lists import FULL
from validation.campaigns.log import CampaignLog, read_logs
from validation.certificates import append
from validation.cli.main import main
from validation.cli.output import open_lines
from validation.criteria.registry import CRITERIA, MUTANTS
from validation.decision import GateResult, decide
from validation.evidence.identity import identity
from validation.evidence.log import Evidence, read_evidence
from validation.evidence.records import Recovery
from validation.evidence.records_ledger import Audit
from validation.evidence.records_monitoring import Job
from validation.evidence.records_self_check import HarnessReading
from validation.evidence.records_target import NotRun
from validation.open_points import Cause, OpenPoints
from validation.stages.registry import STAGES
from validation.verdict import inconclusive

HEALTHY = passing()
IDS = [criterion.id for criterion in CRITERIA]
CERTIFIED = certificates(IDS)


def _lost(record: Any) -> Any:
    return dataclasses.replace(record, lost=1)


def without(*kinds: type) -> Evidence:
    """The healthy run without some kinds of record."""
    return evidence([(at, record) for at, record in HEALTHY if not isinstance(record, kinds)])


def judged(record: Evidence, **options: Any) -> GateResult:
    return decide([record], **{"certificates": CERTIFIED, **options})


def groups(result: GateResult) -> dict[Cause, OpenPoints]:
    return {group.cause: group for group in result.open_points}


def where(result: GateResult, criterion: str) -> list[Cause]:
    """The causes that name a criterion."""
    return [
        group.cause
        for group in result.open_points
        if any(point.criterion == criterion for point in group.points)
    ]


def test_nothing_is_open_for_go() -> None:
    result = judged(evidence(HEALTHY))
    assert result.exit_code == 0
    assert result.open_points == ()
    assert len(open_lines(result)) == 1


@pytest.mark.parametrize("criterion", sorted(NEEDED)[::4])
def test_criterion_without_its_evidence_is_open_once(criterion: str) -> None:
    result = judged(without(*NEEDED[criterion]))
    assert result.verdict(criterion).status != "PASS"
    assert len(where(result, criterion)) == 1
    # Every criterion that is not PASS is in the list, and no other.
    named = {p.criterion for g in result.open_points for p in g.points if p.criterion}
    assert named == {name for name, v in result.verdicts.items() if v.status != "PASS"}


def test_failed_criterion_is_first_and_must_be_corrected() -> None:
    events = change(HEALTHY, Audit, _lost)
    first = judged(evidence(events)).open_points[0]
    assert first.cause is Cause.FAILED
    assert "no_data_loss" in [point.criterion for point in first.points]
    assert first.before
    assert "--only no_data_loss" in first.commands[0]


def test_missing_capability_is_a_cause_apart() -> None:
    lacks = NotRun(
        stage="recovery",
        criteria=STAGES["recovery"].feeds,
        missing={Capability.KILL_NODE: "--allow-faults does not name it"},
    )
    events = [(at, r) for at, r in HEALTHY if not isinstance(r, Recovery)]
    cut = judged(evidence(events))
    assert where(cut, "worker_recovery") == [Cause.NOT_MEASURED]
    result = judged(evidence([(T0, lacks), *events]))
    assert where(result, "worker_recovery") == [Cause.CAPABILITY]


def test_hours_are_missing_not_measurements() -> None:
    result = judged(without(Job))
    (group,) = result.open_points
    assert (group.cause, group.seconds) == (Cause.HOURS, 48 * 3600)
    assert group.commands == ("python -m validation soak --hours 48 --stack processes",)


@pytest.mark.parametrize(("measured", "cause"), [("1.9×", Cause.NOISE), ("", Cause.NOT_MEASURED)])
def test_measured_and_undecided_is_noise(measured: str, cause: Cause) -> None:
    undecided = inconclusive("the bounds include the target", needs="9 pairs", measured=measured)
    speedup = next(one for one in CRITERIA if one.id == "speedup")
    open_one = dataclasses.replace(speedup, verdict=lambda _records: undecided)
    result = judged(evidence(HEALTHY[:1]), criteria=[open_one])
    assert where(result, "speedup") == [cause]
    (point,) = groups(result)[cause].points
    assert "9 pairs" in point.text


def test_untrusted_evidence_is_no_noise() -> None:
    result = judged(without(HarnessReading))
    group = groups(result)[Cause.EVIDENCE]
    assert len(group.points) > 5
    assert Cause.NOISE not in groups(result)


def test_cut_run_is_evidence_that_does_not_count() -> None:
    result = judged(evidence(HEALTHY, closed=False))
    assert {group.cause for group in result.open_points} == {Cause.EVIDENCE}


def test_reservation_is_open_though_every_criterion_passes() -> None:
    result = judged(evidence(HEALTHY), campaigns=CampaignLog())
    (group,) = result.open_points
    assert group.cause is Cause.EVIDENCE
    assert group.points[0].criterion == ""
    assert group.points[0].text == result.reservations[0]
    assert not any("--only" in command for command in group.commands)


@pytest.mark.parametrize("criterion", IDS[::5])
def test_uncertified_criterion_names_its_command(criterion: str) -> None:
    kept = [one for one in CERTIFIED if one.criterion != criterion]
    (group,) = judged(evidence(HEALTHY), certificates=kept).open_points
    assert group.cause is Cause.CERTIFICATE
    assert [point.criterion for point in group.points] == [criterion]
    assert group.commands == (f"python -m validation certify {criterion}",)
    declared = sum(
        STAGES[name].seconds
        for mutant in MUTANTS
        if mutant.criterion == criterion
        for name in mutant.stages
        if name in STAGES
    )
    assert group.seconds is not None
    assert group.seconds >= declared


def test_duration_comes_from_the_same_command(tmp_path: Path) -> None:
    record = without(Recovery)
    (declared,) = judged(record).open_points
    (command,) = declared.commands
    assert declared.seconds is not None
    assert "declared" in declared.source
    log = tmp_path / "campaigns.jsonl"
    campaigns.begin(log, "other", evidence=tmp_path, command=f"{command} --replay 77", system={})
    campaigns.end(log, "other", "finished", sha256="")
    found = read_logs([log])
    (one,) = found.campaigns
    assert one.ended_at is not None
    longer = dataclasses.replace(one, ended_at=one.begun_at + 1234.5)
    for stored, seconds in (
        (longer, 1234.5),
        (dataclasses.replace(longer, command=f"{command} --only speedup"), declared.seconds),
        (dataclasses.replace(longer, ended=None), declared.seconds),
    ):
        result = judged(record, campaigns=CampaignLog(campaigns=(stored,)))
        assert where(result, "worker_recovery") == [Cause.NOT_MEASURED]
        assert groups(result)[Cause.NOT_MEASURED].seconds == pytest.approx(seconds)


def test_declared_duration_covers_the_stages_that_are_needed() -> None:
    (group,) = judged(without(*NEEDED["service_load"])).open_points
    assert group.seconds is not None
    whole = sum(STAGES[step.stage].seconds for step in FULL)
    assert STAGES["service"].seconds < group.seconds < whole / 3


def stored_run(folder: Path, events: list[Any]) -> Path:
    """A run in its folder, listed in the campaign log next to it."""
    (folder / "run-1").mkdir(parents=True)
    file = write(folder / "run-1" / "evidence.jsonl", events)
    record, log = read_evidence(file), campaigns.log_of(file)
    campaigns.begin(
        log, record.run, evidence=file, command=record.opening.replay, system=identity(record)
    )
    campaigns.end(log, record.run, "finished", sha256=record.sha256)
    return file


def certified(path: Path) -> Path:
    for one in CERTIFIED:
        append(path, one)
    return path


@pytest.mark.parametrize(
    ("damage", "status"),
    [
        (lambda events: events, 0),
        (lambda events: change(events, Audit, _lost), 1),
        (lambda events: [one for one in events if not isinstance(one[1], Job)], 2),
    ],
    ids=["GO", "NO-GO", "INCONCLUSIVE"],
)
def test_status_command(
    damage: Callable[[list[Any]], list[Any]],
    status: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("validation.judging.time.time", lambda: T0 + 50 * 3600)
    file = stored_run(tmp_path / "reports" / "out", damage(list(HEALTHY)))
    options = ["--certificates", str(certified(tmp_path / "c.jsonl"))]
    assert main(["status", str(file), "--json", *options]) == status
    named = json.loads(capsys.readouterr().out)
    assert bool(named["open"]) == (status != 0)


def test_status_reads_finished_runs_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = stored_run(tmp_path / "reports" / "out", HEALTHY[:200])
    other = tmp_path / "reports" / "out" / "run-2"
    other.mkdir()
    # Begun, and never ended: it is no finished run.
    campaigns.begin(
        campaigns.log_of(other / "evidence.jsonl"),
        "run-2",
        evidence=other / "evidence.jsonl",
        command="pytest -m validation --replay 2",
        system=identity(read_evidence(file)),
    )
    options = ["--certificates", str(tmp_path / "none")]
    assert main(["status", str(file), *options]) == 2
    named = capsys.readouterr().out
    assert "still open for GO" in named
    assert main(["status", *options]) == 2
    assert capsys.readouterr().out == named


def test_status_without_a_run_names_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["status"]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert said.err.count("\n") == 1
    assert "pytest -m validation validation" in said.err


def test_every_output_shows_the_same_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = without(Job, Recovery)
    result = decide([record])
    write_report(result, [record], tmp_path)
    page = (tmp_path / "report.html").read_text()
    summary = (tmp_path / "summary.md").read_text()
    stored = json.loads((tmp_path / "result.json").read_text())
    file = write(tmp_path / "e.jsonl", [e for e in HEALTHY if not isinstance(e[1], Job | Recovery)])
    monkeypatch.chdir(tmp_path)
    assert main(["gate", str(file), "--certificates", str(tmp_path / "none")]) == 2
    terminal = capsys.readouterr().out
    assert len(result.open_points) >= 3
    assert [group["cause"] for group in stored["open"]] == [g.cause for g in result.open_points]
    for group in result.open_points:
        for command in group.commands:
            assert command in terminal
            assert command in summary
            assert command in page
        for text in (page, summary, terminal):
            assert group.cause.value in re.sub(r"\\", "", text)


def test_soak_of_a_deployed_target_names_its_campaign() -> None:
    target = "--target compose --allow-faults kill --confirm mine"
    record = without(Recovery)
    command = f"python -m validation soak --hours 48 --faults 0 --seed 1 {target}"
    opening = dataclasses.replace(record.opening, backend="compose", replay=command)
    first = dataclasses.replace(record.events[0], data=opening.data(), record=opening)
    record = dataclasses.replace(record, events=(first, *record.events[1:]))
    found = groups(judged(record)).values()
    campaigns = [line for group in found for line in group.commands if line.startswith("pytest")]
    assert campaigns
    assert all(target in line for line in campaigns)
