"""The result as JUnit XML and as Markdown, and formatting that the page shares."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite

from evolution_gate.reports.markdown import code, escaped
from evolution_gate.reports.stage_times import gathering_seconds, wall_seconds
from validation.certificates import HEALTHY
from validation.contract import Criterion
from validation.decision import GateResult
from validation.evidence.log import Evidence
from validation.verdict import Status, Verdict, bounds, format_explanation, format_list

_SIGNS = {Status.PASS: "✅", Status.FAIL: "❌", Status.INCONCLUSIVE: "❔"}
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def interval(criterion: Criterion, verdict: Verdict) -> str:
    """The interval with its unit, ``8.1 to 16.8 s``; a dash when there is none."""
    return bounds(verdict, criterion.unit) or "–"


def junit(result: GateResult, evidence: Sequence[Evidence] = ()) -> str:
    """JUnit XML: one test case per criterion; FAIL is a failure, INCONCLUSIVE is skipped.

    The time of a test case is how long its evidence took to gather, so that a stage that feeds
    several criteria counts for each. The time of the suite is that of the runs.
    """
    suite = TestSuite("gate")
    suite.add_property("decision", _xml(result.decision_text))
    for line in result.not_undone:
        suite.add_property("not undone", _xml(line))
    for plugin in result.plugins:
        suite.add_property("plug-in", _xml(plugin.text))
    suite.add_property("system", _xml(f"{result.system_id}: {result.system}"))
    suite.add_property("signature", _xml(result.signature.text))
    for source in result.sources:
        suite.add_property(_xml(f"sha256 of {source.path}"), _xml(source.sha256))
    for criterion in result.criteria:
        verdict = result.verdicts[criterion.id]
        case = TestCase(criterion.id, classname="validation.decision")
        case.time = round(gathering_seconds(criterion, evidence), 3)
        message = _xml(format_explanation(verdict))
        if verdict.status is Status.FAIL:
            failure = Failure(message)
            failure.text = _xml(f"target {criterion.target}; measured {verdict.measured}")
            case.result = [failure]
        elif verdict.status is Status.INCONCLUSIVE:
            case.result = [Skipped(message)]
        case.system_out = _xml(
            f"system: {result.system_id}\n"
            f"target: {criterion.target}\nmeasured: {verdict.measured or '–'}\n"
            f"interval: {interval(criterion, verdict)}\nreason: {verdict.reason}\n"
            f"needs: {verdict.needs or '–'}\nbudget: {verdict.budget or '–'}"
        )
        suite.add_testcase(case)
    root = JUnitXml()
    root.add_testsuite(suite)
    root.update_statistics()
    suite.time = root.time = round(sum(map(wall_seconds, evidence)), 3)
    if evidence and evidence[0].events:
        began = datetime.fromtimestamp(evidence[0].events[0].at, tz=UTC)
        suite.timestamp = began.isoformat(timespec="seconds")
    text = str(root.tostring(), "utf-8")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def summary(result: GateResult) -> str:
    """Markdown, short enough for a job summary or a comment."""
    counts = ", ".join(f"{result.count(status)} {status.value}" for status in Status)
    lines = [f"# {escaped(line)}" for line in result.not_undone]
    lines += [f"# Gate for Phase 2: {escaped(result.decision_text)}", "", counts, ""]
    lines += [f"Warning: {escaped(one)}  " for one in result.warnings]
    lines += [f"System {code(result.system_id)}: {escaped(result.system)}", ""]
    lines += [f"Signature: {escaped(result.signature.text)}", ""]
    lines += ["| Criterion | System | Target | Measured | 95 % bounds | Verdict | Why |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for criterion in result.criteria:
        verdict = result.verdicts[criterion.id]
        cells = (
            f"`{criterion.id}`",
            code(result.system_id),
            escaped(criterion.target),
            escaped(verdict.measured or "–"),
            escaped(interval(criterion, verdict)),
            f"{_SIGNS[verdict.status]} {verdict.status.value}",
            escaped(format_explanation(verdict)),
        )
        lines.append("| " + " | ".join(cells) + " |")
    lines += _open(result)
    lines += ["", "## Measurement quality", ""]
    for aspect in result.observer:
        why = f" — **not trusted**: {escaped(format_list(aspect.doubts))}" if aspect.doubts else ""
        lines.append(f"- {aspect.source}: {escaped(aspect.measured or '–')}{why}")
        if aspect.doubts:
            lines[-1] += f"; not trusted for {', '.join(aspect.criteria)}"
    if result.violations:
        lines += ["", "## Contradictions in the evidence", ""]
        lines += [
            f"- run {code(one.run)}: {escaped(one.text)} (rule: {escaped(one.rule)})"
            for one in result.violations
        ]
    if result.plugins or result.foreign_code:
        lines += ["", "## Plug-ins", ""]
        lines += [f"- {escaped(one.text)}" for one in result.plugins]
        lines += [f"- ran with the stages: {escaped(one)}" for one in result.foreign_code]
    if result.left_out:
        lines += ["", "## Runs of this system that were left out", ""]
        lines += [f"- {escaped(one.text)}" for one in result.left_out]
    if result.reservations:
        lines += ["", "## Reasons for no GO", ""]
        lines += [f"- {escaped(one)}" for one in result.reservations]
    planted = [one for one in result.certificates if one.defect != HEALTHY]
    noticed = sum(one.detected for one in planted)
    lines += ["", "## Certification", ""]
    lines.append(f"- {noticed} of {len(planted)} mutants detected; {result.false_alarms}")
    lines += [f"- do not count: {escaped(line)}" for line in result.refused]
    if result.uncertified:
        names = ", ".join(map(code, result.uncertified))
        lines.append(f"- not certified, so GO is not possible: {names}")
    lines += ["", "## Evidence", ""]
    for source in result.sources:
        state = "" if source.closed else " — **not closed, the run was cut short**"
        lines.append(
            f"- {code(source.path)}, run {code(source.run)}, {source.events} events{state}  "
        )
        lines.append(f"  sha256 `{source.sha256}`  ")
        lines.append(f"  replay: {code(source.replay)}")
    return "\n".join(lines) + "\n"


def _open(result: GateResult) -> list[str]:
    """What is still open for GO, by cause."""
    lines = ["", "## Still open for GO", ""]
    if not result.open_points:
        return [*lines, "Nothing."]
    for group in result.open_points:
        lines.append(f"- **{escaped(group.heading)}**")
        lines += [
            f"  - {code(point.criterion) if point.criterion else 'all criteria'}:"
            f" {escaped(point.text)}"
            for point in group.points
        ]
        if group.before:
            lines.append(f"  - first: {escaped(group.before)}")
        lines += [f"  - run: {code(command)}" for command in group.commands]
        lines.append(f"  - duration: {escaped(group.duration)}")
    return lines


def _xml(text: str) -> str:
    """Drop characters that XML cannot hold; an error message may contain control characters."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
