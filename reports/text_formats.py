"""The result as JUnit XML and as Markdown, and formatting that the page shares."""

from __future__ import annotations

import re

from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite

from validation.certificates import HEALTHY
from validation.contract import Criterion
from validation.decision import GateResult
from validation.verdict import Status, Verdict, bounds, format_explanation, format_list

_SIGNS = {Status.PASS: "✅", Status.FAIL: "❌", Status.INCONCLUSIVE: "❔"}
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def interval(criterion: Criterion, verdict: Verdict) -> str:
    """The interval with its unit, ``8.1 to 16.8 s``; a dash when there is none."""
    return bounds(verdict, criterion.unit) or "–"


def junit(result: GateResult) -> str:
    """JUnit XML: one test case per criterion; FAIL is a failure, INCONCLUSIVE is skipped."""
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
        case = TestCase(criterion.id, classname="validation.decision", time=0)
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
    text = str(root.tostring(), "utf-8")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def summary(result: GateResult) -> str:
    """Markdown, short enough for a job summary or a comment."""
    counts = ", ".join(f"{result.count(status)} {status.value}" for status in Status)
    lines = [f"# {_markdown(line)}" for line in result.not_undone]
    lines += [f"# Gate for Phase 2: {_markdown(result.decision_text)}", "", counts, ""]
    lines += [f"Warning: {_markdown(one)}  " for one in result.warnings]
    lines += [f"System {_code(result.system_id)}: {_markdown(result.system)}", ""]
    lines += [f"Signature: {_markdown(result.signature.text)}", ""]
    lines += ["| Criterion | System | Target | Measured | 95 % bounds | Verdict | Why |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for criterion in result.criteria:
        verdict = result.verdicts[criterion.id]
        cells = (
            f"`{criterion.id}`",
            _code(result.system_id),
            _markdown(criterion.target),
            _markdown(verdict.measured or "–"),
            _markdown(interval(criterion, verdict)),
            f"{_SIGNS[verdict.status]} {verdict.status.value}",
            _markdown(format_explanation(verdict)),
        )
        lines.append("| " + " | ".join(cells) + " |")
    lines += _open(result)
    lines += ["", "## Measurement quality", ""]
    for aspect in result.observer:
        why = (
            f" — **not trusted**: {_markdown(format_list(aspect.doubts))}" if aspect.doubts else ""
        )
        lines.append(f"- {aspect.source}: {_markdown(aspect.measured or '–')}{why}")
        if aspect.doubts:
            lines[-1] += f"; not trusted for {', '.join(aspect.criteria)}"
    if result.violations:
        lines += ["", "## Contradictions in the evidence", ""]
        lines += [
            f"- run {_code(one.run)}: {_markdown(one.text)} (rule: {_markdown(one.rule)})"
            for one in result.violations
        ]
    if result.plugins or result.foreign_code:
        lines += ["", "## Plug-ins", ""]
        lines += [f"- {_markdown(one.text)}" for one in result.plugins]
        lines += [f"- ran with the stages: {_markdown(one)}" for one in result.foreign_code]
    if result.left_out:
        lines += ["", "## Runs of this system that were left out", ""]
        lines += [f"- {_markdown(one.text)}" for one in result.left_out]
    if result.reservations:
        lines += ["", "## Reasons for no GO", ""]
        lines += [f"- {_markdown(one)}" for one in result.reservations]
    planted = [one for one in result.certificates if one.defect != HEALTHY]
    noticed = sum(one.detected for one in planted)
    lines += ["", "## Certification", ""]
    lines.append(f"- {noticed} of {len(planted)} mutants detected; {result.false_alarms}")
    lines += [f"- do not count: {_markdown(line)}" for line in result.refused]
    if result.uncertified:
        names = ", ".join(map(_code, result.uncertified))
        lines.append(f"- not certified, so GO is not possible: {names}")
    lines += ["", "## Evidence", ""]
    for source in result.sources:
        state = "" if source.closed else " — **not closed, the run was cut short**"
        lines.append(
            f"- {_code(source.path)}, run {_code(source.run)}, {source.events} events{state}  "
        )
        lines.append(f"  sha256 `{source.sha256}`  ")
        lines.append(f"  replay: {_code(source.replay)}")
    return "\n".join(lines) + "\n"


def _open(result: GateResult) -> list[str]:
    """What is still open for GO, by cause."""
    lines = ["", "## Still open for GO", ""]
    if not result.open_points:
        return [*lines, "Nothing."]
    for group in result.open_points:
        lines.append(f"- **{_markdown(group.heading)}**")
        lines += [
            f"  - {_code(point.criterion) if point.criterion else 'all criteria'}:"
            f" {_markdown(point.text)}"
            for point in group.points
        ]
        if group.before:
            lines.append(f"  - first: {_markdown(group.before)}")
        lines += [f"  - run: {_code(command)}" for command in group.commands]
        lines.append(f"  - duration: {_markdown(group.duration)}")
    return lines


def _xml(text: str) -> str:
    """Drop characters that XML cannot hold; an error message may contain control characters."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _markdown(text: str) -> str:
    """Escape a table cell, so that a message cannot open tags, links or columns."""
    flat = " ".join(text.split())
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", flat).replace("<", "&lt;").replace(">", "&gt;")


def _code(text: str) -> str:
    flat = " ".join(text.split()).replace("`", "'")
    return f"`{flat}`"
