"""Writes the table of criteria in docs/verdicts.md from the code."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.architecture import ROOT, rewrite
from validation.contract import Criterion
from validation.criteria.registry import CRITERIA

PAGE: Final = Path("docs") / "verdicts.md"
PROGRAM: Final = "tools.criteria_page"


def generated(criteria: Sequence[Criterion] = CRITERIA) -> str:
    """The table with one row per criterion, in the order of reports."""
    rows = [
        f"| {one.id} | {_cell(one.passes or one.target)} | {_cell(one.fails)} |" for one in criteria
    ]
    return "\n".join(["| criterion | passes when | fails when |", "| --- | --- | --- |", *rows])


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def main(argv: Sequence[str] | None = None) -> int:
    """Rewrite the page, or check it; returns the exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m {PROGRAM}", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if out of date")
    options = parser.parse_args(argv)
    return rewrite(ROOT / PAGE, generated(), program=PROGRAM, check=options.check)


if __name__ == "__main__":
    raise SystemExit(main())
