"""The report as Markdown, for a pull request or a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evolution_gate.benchmarks.samples import Measurement


def summary(
    *,
    stamp: str,
    facts: Mapping[str, object],
    suites: Sequence[tuple[str, Sequence[Measurement]]],
    remarks: Sequence[str],
) -> str:
    """One table per suite, with escaped cells."""
    lines = [f"# Benchmarks {stamp}", ""]
    lines += [f"- {remark}" for remark in remarks]
    for title, members in suites:
        lines += ["", f"## {title}", "", "| what | median | middle half | samples | note |"]
        lines.append("| --- | ---: | ---: | ---: | --- |")
        for m in members:
            first, third = (f"{edge:.4g}" for edge in m.middle_half)
            cells = (m.name, f"{m.typical:.4g} {m.unit}", f"{first} to {third}")
            lines.append(
                "| " + " | ".join(map(_cell, (*cells, str(len(m.samples)), m.note))) + " |"
            )
    lines += ["", "## Machine", "", "| | |", "| --- | --- |"]
    lines += [f"| {_cell(name)} | {_cell(str(value))} |" for name, value in sorted(facts.items())]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
