"""The comment on a pull request, and the times in JUnit."""

from __future__ import annotations

import dataclasses
from xml.etree import ElementTree

import pytest

from evolution_gate.reports.comment import comment
from evolution_gate.reports.text_formats import junit
from tests.support.evidence_builders import certificates, evidence, passing, slow_cluster
from tests.support.evidence_records import T0, Timed
from validation.criteria.registry import CRITERIA
from validation.decision import GateResult, decide
from validation.evidence.records_target import StageRun

CERTIFIED = certificates(criterion.id for criterion in CRITERIA)
SHORT = [(at, record) for at, record in passing() if at < T0 + 1200]


def decided(events: list[Timed]) -> GateResult:
    return decide([evidence(events)], certificates=CERTIFIED)


def test_comment_of_go_has_no_warning() -> None:
    text = comment(decided(passing()))
    assert text.startswith("### Gate for Phase 2: GO\n")
    assert "Warning" not in text
    assert "`run-1`" in text


def test_comment_names_what_is_open() -> None:
    text = comment(decided(SHORT))
    assert "### Gate for Phase 2: INCONCLUSIVE" in text
    assert "Warning: INCONCLUSIVE, " in text
    assert "`uptime`" in text


def test_comment_names_what_failed() -> None:
    text = comment(decided(slow_cluster()))
    assert "### Gate for Phase 2: NO-GO" in text
    assert "- FAIL `speedup`: " in text


@pytest.mark.parametrize("count", [0, 1, 30])
def test_comment_has_about_ten_lines(count: int) -> None:
    result = decided(SHORT)
    found = dataclasses.replace(
        result,
        not_undone=tuple(f"fault {number}" for number in range(count)),
        sources=result.sources * (count + 1),
        open_points=result.open_points * (count + 1),
    )
    lines = comment(found).splitlines()
    assert len(lines) <= 13
    assert max(map(len, lines)) < 1000


def test_comment_escapes_foreign_text() -> None:
    result = dataclasses.replace(
        decided(SHORT), not_undone=("@team <b>[x](http://there)</b>\n# more",)
    )
    first, *others = comment(result).splitlines()
    assert first == "**&#64;team &lt;b&gt;\\[x\\](http://there)&lt;/b&gt; # more**  "
    assert not any(line.startswith("# ") for line in others)


def test_junit_has_the_seconds_of_stages() -> None:
    stages = [
        StageRun(stage=name, criteria=("speedup", *more), started_at=T0 + 1, finished_at=T0 + end)
        for name, end, more in (("a", 4.5, ()), ("b", 11.0, ("cost_per_day",)))
    ]
    record = evidence([*((T0, stage) for stage in stages), *SHORT])
    suite = ElementTree.fromstring(junit(decide([record]), [record]))[0]
    seconds = {case.get("name"): case.get("time") for case in suite.iter("testcase")}
    assert (seconds["speedup"], seconds["cost_per_day"]) == ("13.5", "10.0")
    # What only a soak shows took no stage of this run.
    assert seconds["uptime"] == "0.0"
    assert suite.get("time") == str(round(record.events[-1].at - T0, 3))
    assert suite.get("timestamp") == "2025-10-09T08:53:20+00:00"


def test_junit_counts_soak_for_its_criteria() -> None:
    record = evidence(passing())
    suite = ElementTree.fromstring(junit(decide([record]), [record]))[0]
    seconds = {case.get("name"): float(case.get("time", 0)) for case in suite.iter("testcase")}
    assert seconds["uptime"] > 48 * 3600
    assert seconds["speedup"] == 0.0


def test_stages_change_no_verdict() -> None:
    stage = StageRun(stage="speedup", criteria=("speedup",), started_at=T0, finished_at=T0 + 1)
    before, after = decided(passing()), decided([(T0, stage), *passing()])
    assert dict(before.verdicts) == dict(after.verdicts)
