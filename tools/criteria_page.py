"""Writes the sections on the criteria in docs/verdicts.md from the code."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.architecture import ROOT, rewrite
from validation.contract import Criterion
from validation.criteria.registry import CRITERIA, MUTANTS

PAGE: Final = Path("docs") / "verdicts.md"
PROGRAM: Final = "tools.criteria_page"


def generated(criteria: Sequence[Criterion] = CRITERIA) -> str:
    """A section for each criterion, in the order of reports."""
    return "\n\n".join(_section(one) for one in criteria)


def _section(criterion: Criterion) -> str:
    stated = {
        "Measured": criterion.measures,
        "Clock": criterion.clock,
        "PASS": criterion.passes or criterion.target,
        "FAIL": criterion.fails,
        "Not shown": criterion.limits,
        "Planted defects": "; ".join(m.name for m in MUTANTS if m.criterion == criterion.id),
    }
    lines = [f"- *{name}*: {text}" for name, text in stated.items() if text]
    title = f"### {criterion.id}\n\n{criterion.statement}. Target: {criterion.target}."
    return "\n".join([title, "", *lines])


def main(argv: Sequence[str] | None = None) -> int:
    """Rewrite the page, or check it; returns the exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m {PROGRAM}", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if out of date")
    options = parser.parse_args(argv)
    return rewrite(ROOT / PAGE, generated(), program=PROGRAM, check=options.check)


if __name__ == "__main__":
    raise SystemExit(main())
