"""What the commands print on a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from validation.certificates import HEALTHY, Certificate
from validation.contract import Criterion
from validation.decision import Decision, GateResult
from validation.decision_json import as_object
from validation.diff import Change
from validation.open_points import as_lines
from validation.self_check import distrust_reasons
from validation.verdict import Status, bounds, format_explanation

STYLES: Final = {
    Status.PASS: "bold green",
    Status.FAIL: "bold red",
    Status.INCONCLUSIVE: "bold yellow",
}
_DECISION_STYLES: Final = {
    Decision.GO: "bold green",
    Decision.NO_GO: "bold red",
    Decision.INCONCLUSIVE: "bold yellow",
}


def show_result(result: GateResult, *, as_json: bool) -> None:
    """Print a decision with its verdicts and everything that speaks against them."""
    if as_json:
        print(json.dumps(as_object(result), indent=2, ensure_ascii=False, allow_nan=False))
        return
    console = _console()
    for line in result.not_undone:
        console.print(Text(f"!!! {line}", "bold white on red"), soft_wrap=True)
    table = Table(show_lines=False, pad_edge=False)
    for name in ("Criterion", "System", "Target", "Verdict", "Measured", "Why"):
        table.add_column(name, overflow="fold", no_wrap=name in ("Criterion", "System", "Verdict"))
    for criterion in result.criteria:
        verdict = result.verdicts[criterion.id]
        measured = verdict.measured or "-"
        if between := bounds(verdict, criterion.unit):
            measured += f" ({between})"
        # Text, not str: a reason may hold brackets, which rich would take for markup.
        table.add_row(
            Text(criterion.id),
            Text(result.system_id),
            Text(criterion.target),
            Text(verdict.status.value, style=STYLES[verdict.status]),
            Text(measured),
            Text(format_explanation(verdict)),
        )
    console.print(table)
    console.print(Text(f"system {result.system_id}: {result.system}"), soft_wrap=True)
    console.print(Text(f"signature: {result.signature.text}"), soft_wrap=True)
    for line in reservation_lines(result):
        console.print(Text(line, "yellow"), soft_wrap=True)
    counts = ", ".join(f"{result.count(status)} {status.value}" for status in Status)
    console.print(
        Text(f"{result.decision_text}: {counts}", _DECISION_STYLES[result.decision]),
        soft_wrap=True,
    )
    for reservation in result.reservations:
        console.print(Text(f"no GO, because {reservation}"), soft_wrap=True)
    if result.uncertified:
        console.print(
            Text(f"GO is not possible, uncertified: {', '.join(result.uncertified)}"),
            soft_wrap=True,
        )
    for line in open_lines(result):
        console.print(Text(line), soft_wrap=True)


def show_open(result: GateResult, *, as_json: bool) -> None:
    """Print what is still open for GO."""
    if as_json:
        whole = as_object(result)
        shown = {name: whole[name] for name in _STATUS}
        print(json.dumps(shown, indent=2, ensure_ascii=False, allow_nan=False))
        return
    console = _console()
    for line in (*(f"!!! {one}" for one in result.not_undone), *open_lines(result)):
        console.print(Text(line), soft_wrap=True)


_STATUS: Final = (
    "decision",
    "targets",
    "exit_code",
    "system",
    "system_id",
    "signature",
    "not_undone",
    "open",
)
"""Parts of a decision that ``status --json`` prints."""


def open_lines(result: GateResult) -> list[str]:
    """What is still open for GO, in lines; the same everywhere."""
    system = f"on system {result.system_id}: {result.system}"
    if not result.open_points:
        return [f"{result.decision_text} {system}; nothing is open"]
    return [f"{result.decision_text} {system}; still open for GO:", *as_lines(result.open_points)]


def reservation_lines(result: GateResult) -> list[str]:
    """What speaks against the evidence, a line each."""
    return [
        *(f"warning: {one}" for one in result.warnings),
        *(f"contradiction in run {one.run}: {one.text} ({one.rule})" for one in result.violations),
        *(f"left out: {one.text}" for one in result.left_out),
        *(f"plug-in: {one.text}" for one in result.plugins),
        *(f"plug-in while the evidence was gathered: {one}" for one in result.foreign_code),
        *(f"certificates that do not count: {line}" for line in result.refused),
        *(f"untrusted: {line}" for line in distrust_reasons(result.observer)),
    ]


def show_criteria(criteria: Sequence[Criterion], *, as_json: bool) -> None:
    """Print a list of criteria."""
    if as_json:
        rows = [
            {
                "id": criterion.id,
                "statement": criterion.statement,
                "target": criterion.target,
                "unit": criterion.unit,
                "clause": criterion.clause,
                "evidence": criterion.evidence_needed,
            }
            for criterion in criteria
        ]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = Table(pad_edge=False)
    for name in ("Criterion", "Statement", "Target", "Evidence needed"):
        table.add_column(name, overflow="fold", no_wrap=name == "Criterion")
    for criterion in criteria:
        table.add_row(
            Text(criterion.id),
            Text(criterion.statement),
            Text(criterion.target),
            Text(criterion.evidence_needed),
        )
    _console().print(table)


def show_certificates(found: Sequence[Certificate], *, as_json: bool) -> None:
    """Print what a certification found."""
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False))
        return
    table = Table(pad_edge=False)
    for name in ("Criterion", "Stack", "Defect", "Expected", "Verdict", "Why"):
        table.add_column(name, overflow="fold", no_wrap=name in ("Criterion", "Verdict"))
    for one in found:
        style = "bold red" if one.detected == (one.defect == HEALTHY) else ""
        table.add_row(
            Text(one.criterion),
            Text(one.stack),
            Text(one.defect),
            Text(one.expected),
            Text(one.verdict, style=style),
            Text(one.reason),
        )
    _console().print(table)


def show_differences(found: Sequence[Change], *, as_json: bool) -> None:
    """Print what changed between two decisions."""
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False))
        return
    if not found:
        print("nothing changed")
        return
    table = Table(pad_edge=False)
    for name in ("What", "Name", "Before", "After"):
        table.add_column(name, overflow="fold", no_wrap=name in ("What", "Name"))
    for one in found:
        table.add_row(Text(one.kind), Text(one.name), Text(one.before), Text(one.after))
    _console().print(table)


def _console() -> Console:
    """Standard output; into a file or a pipe, wide enough for the table."""
    console = Console()
    return console if console.is_terminal else Console(width=150)
