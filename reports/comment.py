"""A decision as a comment on a pull request: about ten lines of Markdown."""

from __future__ import annotations

from typing import Final

from evolution_gate.reports.markdown import code, escaped
from validation.decision import GateResult
from validation.exit_policy import warning
from validation.verdict import Status, format_explanation

_MOST_POINTS: Final = 5
"""Lines on what failed and what is open."""
_MOST_CHARACTERS: Final = 240
"""Of a foreign text."""


def comment(result: GateResult) -> str:
    """Markdown of at most 13 lines: decision, what failed, what is open by cause, the system, the
    runs. A fault that was not undone comes first.
    """
    counts = ", ".join(f"{result.count(status)} {status.value}" for status in Status)
    lines = [f"**{_short(line)}**  " for line in result.not_undone[:1]]
    lines += [f"### Gate for Phase 2: {_short(result.decision_text)}", "", f"{counts}  "]
    if said := warning(result):
        lines += [f"Warning: {said}"]
    lines += ["", *_limited(_points(result))]
    runs = ", ".join(code(source.run) for source in result.sources[:3])
    more = len(result.sources) - 3
    lines += [f"- System {code(result.system_id)}: {_short(result.system)}"]
    lines += [f"- Runs: {runs}{f' and {more} more' if more > 0 else ''}"]
    return "\n".join(lines) + "\n"


def _points(result: GateResult) -> list[str]:
    """A line for each criterion that failed, and one for each cause that leaves criteria open."""
    found = [
        f"- FAIL {code(one.id)}: {_short(verdict.measured or format_explanation(verdict))};"
        f" target {_short(one.target)}"
        for one in result.criteria
        if (verdict := result.verdicts[one.id]).status is Status.FAIL
    ]
    for group in result.open_points:
        names = dict.fromkeys(point.criterion or "all criteria" for point in group.points)
        found.append(f"- {_short(group.heading)}: {', '.join(map(code, names))}")
    return found


def _limited(points: list[str]) -> list[str]:
    if len(points) <= _MOST_POINTS:
        return points
    left = len(points) - _MOST_POINTS + 1
    return [*points[: _MOST_POINTS - 1], f"- and {left} more, see the summary of the job"]


def _short(text: str) -> str:
    """Escaped, cut, and without a mention of an account."""
    cut = text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
    return escaped(cut).replace("@", "&#64;")
