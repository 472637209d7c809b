"""``export --all``: the return and position series of a run's strategies."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing
from typing import Final

from ga import series
from ga.appraisal import load_again
from ga.cli.waiting import announced_if_large
from ga.errors import InputError
from ga.ledger import Ledger, RunRecord, open_ledger
from ga.listing import list_strategies
from ga.presentation import listed_row

_LIMIT: Final = 20


def export(options: argparse.Namespace) -> int:
    """Write the series of the distinct strategies of a run, or of every one with ``--every``."""
    if options.out is None:
        raise InputError(
            f"export --all: give --out FILE{series.SUFFIX}, or --out FOLDER for a file for each"
            " strategy"
        )
    limit = _LIMIT if options.limit is None else options.limit
    if not 1 <= limit <= 100_000:
        raise InputError(f"--limit must be 1..100000, not {limit}")
    with closing(open_ledger(options.store, create=False)) as ledger, announced_if_large(ledger):
        ledger.require_sound("runs")
        record = _run(ledger, options.strategy)
        ledger.require_sound("runs", run=record.run, anchored=("runs", "strategies"))
        record.check_kernels()
        market = load_again(record)
        listing = list_strategies(
            ledger, [record.run], market, record.settings, limit=limit, all_alike=options.every
        )
        anchor = ledger.anchored(record.run).anchor
    strategies = [
        series.Named(
            key=one.record.outcome.key, genome=one.record.genome, described=listed_row(one)
        )
        for one in listing.strategies
    ]
    if not strategies:
        raise InputError(f"run {record.run}: no strategy has a fitness; there is nothing to export")
    described = series.metadata(
        record, market, strategies, anchor=anchor, distinct=not options.every
    )
    rows = series.write(options.out, market, record.settings, strategies, described)
    if options.json:
        print(json.dumps({"out": str(options.out), "rows": rows, **described}))
    else:
        print(
            f"written: {options.out}, {len(strategies)} strategies, {len(market.assets)} assets,"
            f" {rows:,} rows",
            file=sys.stderr,
        )
    return 0


def _run(ledger: Ledger, start: str | None) -> RunRecord:
    if start is not None:
        return ledger.run(start)
    runs = ledger.runs()
    if len(runs) != 1:
        raise InputError(
            f"export --all: the store has {len(runs)} runs; name one, as `runs` lists it"
        )
    return runs[0]
