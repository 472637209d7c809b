"""``python -m ga data check PATH``: how market files are read, and what may be wrong in them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ga.cli.data_page import page
from ga.cli.data_rows import Check, gap_rows, reading_rows, suspect_rows
from ga.cli.tables import table
from ga.errors import InputError, OutputError
from ga.files import write_text
from ga.market import Series, find_gaps
from ga.sources.folders import assets_of, read_asset
from ga.sources.reading import parse_options
from ga.sources.suspects import find_suspects

_SHOWN: Final = 20
"""Rows of a table; the page and ``--json`` have all."""


def add_parser(commands: Any, add_reading: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add ``data`` to the commands of ``python -m ga``."""
    text = "Show how market files are read."
    parser = commands.add_parser("data", help=text, description=text)
    actions = parser.add_subparsers(dest="action", required=True)
    text = "Show how a market file or folder is read, its gaps, and bars that may be wrong."
    check = actions.add_parser("check", help=text, description=text)
    check.add_argument("path", type=Path, help="a file, or a folder of files")
    check.add_argument(
        "--out", type=Path, help="write a page with a chart here, .html (default: no page)"
    )
    check.add_argument("--json", action="store_true", help="print one JSON value on stdout")
    add_reading(check)


def command(options: argparse.Namespace) -> int:
    """The command."""
    path: Path = options.path
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give a path")
    reading = parse_options(
        time_format=options.time_format,
        columns=options.columns,
        timezone=options.timezone,
        symbol=options.symbol,
        decimal=options.decimal,
    )
    checks = [_check(*read_asset(asset)) for asset in assets_of(path, reading)]
    if options.json:
        print(json.dumps([_json(check) for check in checks]))
    else:
        _print(checks)
    if options.out is not None:
        try:
            write_text(options.out, page(path.name, checks))
        except OSError as error:
            raise OutputError(
                f"--out {options.out}: cannot be written ({error.strerror})"
            ) from None
        if not options.json:
            print(f"page written to {options.out}")
    return 0


def _check(series: Series, bars: Sequence[Any]) -> Check:
    gaps, closures = find_gaps(series)
    return Check(
        series=series,
        readings=tuple(b.reading for b in bars),
        gaps=tuple(gaps),
        closures=closures,
        suspects=tuple(find_suspects(series)),
    )


def _print(checks: Sequence[Check]) -> None:
    for check in checks:
        for reading in check.readings[:_SHOWN]:
            table("", reading_rows(reading))
            print()
        if len(check.readings) > _SHOWN:
            print(f"and {len(check.readings) - _SHOWN} more files of {check.series.asset}\n")
    table("assets", [check.summary() for check in checks], right=("bars", "missing", "suspects"))
    for title, rows in (
        ("gaps, largest first", [row for check in checks for row in gap_rows(check)]),
        ("bars that may be wrong", [row for check in checks for row in suspect_rows(check)]),
    ):
        print()
        table(title, rows[:_SHOWN], right=("missing", "bars"))
        if len(rows) > _SHOWN:
            print(f"and {len(rows) - _SHOWN:,} more: --out PAGE.html or --json shows all")
    closures = sum(check.closures for check in checks)
    if closures:
        print(f"\n{closures} weekend closures (not gaps)")
    for check in checks:
        for note in check.series.notes:
            print(f"warning: {check.series.asset}: {note}")


def _json(check: Check) -> dict[str, object]:
    return {
        **check.summary(),
        "bars a year": check.bars_per_year,
        "readings": [{**asdict(r), "columns": dict(r.columns)} for r in check.readings],
        "closures": check.closures,
        "gaps": gap_rows(check),
        "suspects": suspect_rows(check),
        "warnings": list(check.series.notes),
    }
