"""Puts the three files of a report into a directory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from reports.page import render_page
from reports.texts import junit, summary
from validation.evidence import Evidence
from validation.gate import GateResult


def write(
    result: GateResult, evidence: Sequence[Evidence], out_dir: str | os.PathLike[str]
) -> tuple[Path, Path, Path]:
    """Write ``report.html``, ``junit.xml`` and ``summary.md``, replacing older ones.

    Args:
        result: What the gate decided from ``evidence``.
        evidence: The same records; charts are drawn from them.
        out_dir: Directory; made when missing.

    Returns:
        The paths, in that order.
    """
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "report.html": render_page(result, evidence),
        "junit.xml": junit(result),
        "summary.md": summary(result),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder / "report.html", folder / "junit.xml", folder / "summary.md"
