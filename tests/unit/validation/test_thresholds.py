"""Targets from a file: they change verdicts, and no output hides that they are not the plan's."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolution_gate.reports import write as write_report
from evolution_gate.reports.html import render_index
from ga.errors import InputError
from tests.support.evidence_builders import certificates, change, evidence, passing
from tests.support.evidence_builders.extra import write
from tests.support.evidence_records import T0
from tests.support.signing import key_files
from validation.campaigns.log import Campaign, CampaignLog, Ended
from validation.cli.main import main
from validation.cli.output import open_lines, show_open, show_result
from validation.criteria.registry import CRITERIA
from validation.decision import Decision, GateResult, decide
from validation.decision_json import as_object
from validation.evidence.identity import identity
from validation.evidence.records import Recovery
from validation.evidence.records_ledger import Audit
from validation.signing.keys import PublicKey
from validation.thresholds import PLAN, Targets, Threshold, read_targets
from validation.verdict import Status

HEALTHY = passing()
CERTIFIED = certificates(criterion.id for criterion in CRITERIA)
THRESHOLDS = [one for criterion in CRITERIA for one in criterion.thresholds]


def targets(folder: Path, text: str, name: str = "team.toml") -> Targets:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return read_targets(file, CRITERIA)


def judged(held_to: Targets, events: list[Any] | None = None) -> GateResult:
    record = evidence(HEALTHY if events is None else events)
    return decide([record], certificates=CERTIFIED, targets=held_to)


def test_file_of_the_plan_states_its_numbers() -> None:
    """Independent of the code: these are the plan's own numbers."""
    assert {(one.criterion, one.name): PLAN.values[one.key] for one in THRESHOLDS} == {
        ("uptime", "availability"): 99,
        ("uptime", "watched"): 48,
        ("worker_recovery", "recovery"): 120,
        ("dashboard", "answered"): 99,
        ("cycle_completion", "completed"): 95,
        ("generation_time", "mean"): 300,
        ("speedup", "factor"): 2,
        ("prometheus_collection", "fresh"): 99,
        ("cpu_efficiency", "used"): 70,
        ("network_latency", "p99"): 10,
        ("cost_per_day", "dollars"): 30,
        ("alerting", "fires"): 60,
        ("alerting", "clears"): 60,
        ("population_load", "individuals"): 500,
        ("service_load", "p95"): 50,
    }
    assert set(PLAN.values) == {one.key for one in THRESHOLDS}
    assert set(PLAN.tiers) == {criterion.id for criterion in CRITERIA}
    assert {tier.value for tier in PLAN.tiers.values()} == {"required"}


def test_file_that_repeats_the_plan_differs_in_nothing(tmp_path: Path) -> None:
    plan = Path(__file__).parents[3] / "validation" / "plan_targets.toml"
    result = judged(targets(tmp_path, plan.read_text("utf-8")))
    assert result.differences == ()
    assert result.decision_text == "GO"
    assert [one.target for one in result.criteria] == [one.target for one in CRITERIA]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[speedup", "not TOML"),
        ("[speedupp]\ntier = 'warn'", "no criterion 'speedupp'"),
        ("speedup = 1", "must be a table"),
        ("[speedup]\nfactor = { value = 2, unit = 's' }", "must be in ×, not 's'"),
        ("[speedup]\nfactor = { value = 0, unit = '×' }", "must be above 0"),
        ("[speedup]\nfactor = { value = nan, unit = '×' }", "finite"),
        ("[speedup]\nfactor = { value = 'two', unit = '×' }", "value must be"),
        ("[speedup]\nfactor = { value = true, unit = '×' }", "value must be"),
        ("[speedup]\nfactor = { value = 2 }", "missing unit"),
        ("[speedup]\nfactor = 2", "must be written { value = 1"),
        ("[speedup]\nmean = { value = 2, unit = '×' }", "has tier, factor"),
        ("[speedup]\ntier = 'optional'", "'required', 'warn' or 'informational'"),
        ("[dashboard]\nanswered = { value = 100, unit = '%' }", "at most 99.99"),
        ("\n".join(f"[{one.id}]\ntier = 'warn'" for one in CRITERIA), "no criterion is required"),
    ],
)
def test_bad_file_is_refused_in_one_line(
    text: str, names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=r"team\.toml") as caught:
        targets(tmp_path, text)
    assert names in str(caught.value)
    file = write(tmp_path / "e.jsonl", HEALTHY[:5])
    assert main(["gate", str(file), "--thresholds", str(tmp_path / "team.toml")]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)


def test_absent_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "e.jsonl", HEALTHY[:5])
    assert main(["status", str(file), "--thresholds", str(tmp_path / "none.toml")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def stricter(threshold: Threshold) -> float:
    """A value that no measurement of the healthy run reaches."""
    if threshold.unit == "%":
        return 99.98
    return 1e6 if threshold.stricter == "higher" else 1e-6


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=lambda one: f"{one.criterion}.{one.name}")
def test_every_threshold_decides_its_criterion(threshold: Threshold, tmp_path: Path) -> None:
    criterion = next(one for one in CRITERIA if one.id == threshold.criterion)
    one = f"{threshold.name} = {{ value = {stricter(threshold)}, unit = '{threshold.unit}' }}"
    held_to = targets(tmp_path, f"[{criterion.id}]\n{one}\n")
    record = evidence(HEALTHY)
    options: dict[str, Any] = {"criteria": [criterion]}
    assert decide([record], **options).verdict(criterion.id).status is Status.PASS
    result = decide([record], targets=held_to, **options)
    assert result.verdict(criterion.id).status is not Status.PASS
    # It holds for this decision alone.
    assert decide([record], **options).verdict(criterion.id).status is Status.PASS


SLOW = "[speedup]\nfactor = { value = 9, unit = '×' }\n"
LOOSE = "[speedup]\nfactor = { value = 1.5, unit = '×' }\n[dashboard]\ntier = 'informational'\n"
FAR = "[network_latency]\np99 = { value = 900, unit = 'ms' }\n"


def outputs(result: GateResult, folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Everything that shows a decision, by name."""
    runs = folder / "runs"
    write_report(result, [evidence(HEALTHY)], runs / "run-1", runs=runs)
    show_result(result, as_json=False)
    terminal = capsys.readouterr().out
    show_open(result, as_json=True)
    status = json.dumps(json.loads(capsys.readouterr().out), ensure_ascii=False)
    page = (runs / "run-1" / "report.html").read_text("utf-8")
    texts = {
        "terminal": terminal,
        "status": "\n".join(open_lines(result)),
        "status --json": status,
        "json": json.dumps(as_object(result), ensure_ascii=False),
        "index": html.unescape(render_index(runs)),
        "page": html.unescape(page),
        **{
            name: html.unescape((runs / "run-1" / name).read_text("utf-8"))
            for name in ("summary.md", "junit.xml", "result.json")
        },
    }
    return {name: " ".join(text.replace("\\", "").split()) for name, text in texts.items()}


@pytest.mark.parametrize("text", [LOOSE, FAR, SLOW], ids=["looser", "far looser", "stricter"])
def test_no_output_hides_a_difference(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = judged(targets(tmp_path, text))
    assert len(result.differences) == text.count("=") - text.count("value") - text.count("unit")
    for name, shown in outputs(result, tmp_path, capsys).items():
        for difference in result.differences:
            assert difference in shown, name
    assert result.decision_text.startswith(
        f"{result.decision.value} against team.toml's targets, which differ from the plan's in "
    )


def test_decision_on_the_plan_names_no_other_targets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, shown in outputs(judged(PLAN), tmp_path, capsys).items():
        assert "differ from the plan" not in shown, name
        assert "not on the plan" not in shown, name


def test_looser_than_sensible_is_allowed_and_stated(tmp_path: Path) -> None:
    result = judged(targets(tmp_path, FAR))
    assert result.decision is Decision.GO
    assert "looser than is sensible, 100 ms" in result.decision_text


@given(
    values=st.dictionaries(
        st.sampled_from(THRESHOLDS), st.floats(0.001, 99), min_size=1, max_size=4
    )
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_differences_are_the_values_that_differ(
    values: Mapping[Threshold, float], tmp_path: Path
) -> None:
    lines: dict[str, list[str]] = {}
    for one, value in values.items():
        line = f"{one.name} = {{ value = {value!r}, unit = '{one.unit}' }}"
        lines.setdefault(one.criterion, []).append(line)
    text = "\n".join(f"[{name}]\n" + "\n".join(own) for name, own in lines.items())
    found = targets(tmp_path, text).differences(CRITERIA)
    changed = [one for one, value in values.items() if value != PLAN.values[one.key]]
    assert len(found) == len(changed)
    for one in changed:
        assert any(text.startswith(f"{one.criterion} {one.name} ") for text in found)


def _lost(record: Any) -> Any:
    return dataclasses.replace(record, lost=1)


@pytest.mark.parametrize(
    ("tier", "decision", "warned"),
    [
        ("required", Decision.NO_GO, False),
        ("warn", Decision.GO, True),
        ("informational", Decision.GO, False),
    ],
)
def test_tier_of_a_failed_criterion(
    tier: str, decision: Decision, warned: bool, tmp_path: Path
) -> None:
    events = change(HEALTHY, Audit, _lost)
    failed = [name for name, v in judged(PLAN, events).verdicts.items() if v.status != "PASS"]
    text = "\n".join(f"[{name}]\ntier = '{tier}'" for name in failed)
    result = judged(targets(tmp_path, text), events)
    assert result.decision is decision
    assert bool(result.warnings) is warned
    assert result.verdict("no_data_loss").status is Status.FAIL
    if decision is Decision.GO:
        # Nothing is open for GO, though a verdict is FAIL.
        assert result.open_points == ()


def test_uncertified_criterion_may_be_informational(tmp_path: Path) -> None:
    kept = [one for one in CERTIFIED if one.criterion != "speedup"]
    held_to = targets(tmp_path, "[speedup]\ntier = 'informational'\n")
    record = evidence(HEALTHY)
    assert decide([record], certificates=kept).decision is Decision.INCONCLUSIVE
    assert decide([record], certificates=kept, targets=held_to).decision is Decision.GO


@pytest.mark.parametrize(("seconds", "status"), [(6, Status.INCONCLUSIVE), (600, Status.PASS)])
def test_run_left_out_is_judged_again(seconds: float, status: Status, tmp_path: Path) -> None:
    """The campaign log holds verdicts by the plan, which say nothing of other thresholds."""
    short = [(at, r) for at, r in HEALTHY if at < T0 + 1200]
    slow = [(at, r) for at, r in short if not isinstance(r, Recovery)]
    recoveries = [(at, r) for at, r in short if isinstance(r, Recovery)]
    late = [
        (at, dataclasses.replace(r, node_back_s=(r.node_back_s or 0) + 30)) for at, r in recoveries
    ]
    other = write(tmp_path / "other.jsonl", sorted([*slow, *late], key=lambda e: e[0]), run="b")
    record = evidence(short, run="a")
    held_to = targets(
        tmp_path, f"[worker_recovery]\nrecovery = {{ value = {seconds}, unit = 's' }}\n"
    )
    left = Campaign(
        run="b",
        begun_at=record.opening.started_at,
        evidence=other,
        system=identity(record),
        gathering=True,
        ended=Ended(run="b", status="finished", sha256="", decision="GO", verdicts={}, reason=""),
    )
    log = CampaignLog(campaigns=(left,))
    result = decide([record], campaigns=log, targets=held_to)
    (one,) = result.left_out
    assert ("worker_recovery" in one.failed) == (seconds == 6)
    if seconds == 600:
        assert result.verdict("worker_recovery").status is status


def test_signed_decision_names_the_file_and_its_differences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private, public = key_files(tmp_path)
    held_to = targets(tmp_path, LOOSE)
    run = tmp_path / "run"
    run.mkdir()
    write(run / "evidence.jsonl", HEALTHY[:100])
    base = ["gate", str(run), "--certificates", str(tmp_path / "none")]
    named = ["--thresholds", str(tmp_path / "team.toml")]
    assert main([*base, *named, "--sign", str(private)]) == 2
    envelope = json.loads((run / "attestation.json").read_text())
    statement = json.loads(PublicKey.read(public).payload_of(envelope))
    for difference in held_to.differences(CRITERIA):
        assert difference in statement["predicate"]["decision"]
        assert difference in statement["predicate"]["targets"]["differences"]
    digests = [one["digest"]["sha256"] for one in statement["subject"]]
    assert held_to.sha256 in digests
    assert main([*base, *named, "--verify", str(public)]) == 2
    # Neither without the file, nor with another one, is it what was signed.
    assert main([*base, "--verify", str(public)]) == 3
    (tmp_path / "team.toml").write_text(LOOSE.replace("1.5", "1.4"), encoding="utf-8")
    assert main([*base, *named, "--verify", str(public)]) == 3
    assert re.search("file of thresholds", capsys.readouterr().err)
