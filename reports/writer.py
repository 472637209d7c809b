"""Writes the files of a report into a directory, and the list of all runs next to it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from evolution_gate.reports.comment import comment
from evolution_gate.reports.html import render_index, render_page
from evolution_gate.reports.runs import RESULT, read_runs
from evolution_gate.reports.text_formats import junit, summary
from validation.decision import GateResult
from validation.decision_json import as_object
from validation.evidence.log import Evidence


def write(
    result: GateResult,
    evidence: Sequence[Evidence],
    out_dir: str | os.PathLike[str],
    *,
    runs: Path | None = None,
) -> tuple[Path, ...]:
    """Write ``report.html``, ``junit.xml``, ``summary.md``, ``comment.md`` and ``result.json``;
    replaces older ones.

    Args:
        result: The gate's result on ``evidence``.
        evidence: The same records; charts are drawn from them.
        out_dir: Directory; made when missing.
        runs: Parent folder of all runs. The page then shows their trend, and its ``index.html`` is
            rewritten.

    Returns:
        The paths of the first four, in that order.
    """
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    decided = json.dumps(as_object(result), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / RESULT).write_text(decided + "\n", encoding="utf-8")
    texts = {
        "report.html": render_page(result, evidence, read_runs(runs)[0] if runs else ()),
        "junit.xml": junit(result, evidence),
        "summary.md": summary(result),
        "comment.md": comment(result),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    if runs is not None:
        write_index(runs)
    return tuple(folder / name for name in texts)


def write_index(folder: Path) -> Path:
    """Write ``index.html``, the list of the decided runs in the folders of ``folder``.

    Results that cannot be read are listed on the page, and named on stderr.
    """
    path, found = folder / "index.html", read_runs(folder)
    path.write_text(render_index(folder, found), encoding="utf-8")
    for line in found[1]:
        print(f"not readable: {line}", file=sys.stderr)
    return path
