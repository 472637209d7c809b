"""Commands that only read: runs and families."""

from __future__ import annotations

import argparse
import json
import time
from contextlib import closing

from ga.cli.tables import table
from ga.families import FAMILIES
from ga.ledger import open_ledger
from ga.ledger.connection import snapshot
from ga.ledger.sizes import NOTHING, ledger_size, run_sizes
from ga.presentation import shown_bytes
from ga.sources import MarketSpec
from ga.verification import processors


def spec_of(options: argparse.Namespace) -> MarketSpec:
    """The market that the options select."""
    assets = tuple(options.assets.split(",")) if options.assets else None
    return MarketSpec(
        spec=options.market,
        assets=assets,
        start=options.start,
        end=options.end,
        timeframe=options.timeframe,
        time_format=options.time_format,
        columns=options.columns,
        timezone=options.timezone,
        symbol=options.symbol,
        decimal=options.decimal,
    )


def runs(options: argparse.Namespace) -> int:
    """``runs``: list the runs of a store."""
    with closing(open_ledger(options.store, create=False)) as ledger:
        small = ("runs", "generations", "nodes")
        ledger.require_sound(*small, complete=True, anchored=small)
        records = ledger.runs()
        used = {r.run: processors(ledger.nodes(r.run)) for r in records}
        with snapshot(ledger.engine) as connection:
            sizes, whole = run_sizes(connection), ledger_size(connection)
    rows = [
        {
            "run": r.run,
            "created": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(r.created_at)),
            "market": r.market.spec,
            "seed": r.plan.seed,
            "population": r.plan.population_size,
            "generations": f"{r.committed}/{r.plan.generations}",
            "state": "done" if r.finished_at else "unfinished",
            "processors": (
                {name: list(nodes) for name, nodes in used[r.run].items()}
                if options.json
                else ", ".join(f"{len(nodes)} x {name}" for name, nodes in used[r.run].items())
            ),
            "digest": r.digest if options.json else r.digest[:12],
            "rows": sizes.get(r.run, NOTHING).rows,
            "bytes": sizes.get(r.run, NOTHING).bytes,
        }
        for r in records
    ]
    if options.json:
        print(json.dumps(rows))
    else:
        shown = [
            {**row, "bytes": shown_bytes(sizes.get(r.run, NOTHING).bytes)}
            for row, r in zip(rows, records, strict=True)
        ]
        table("Runs", shown, right=("seed", "population", "generations", "rows", "bytes"))
        free = f", {shown_bytes(whole.free)} of them free" if whole.free else ""
        print(f"ledger: {shown_bytes(whole.used + whole.free)}{free}")
    return 0


def families(options: argparse.Namespace) -> int:
    """``families``: list the parameter families and their genes."""
    rows = [
        {
            "name": f.name,
            "type": f.kind,
            "rule": f.rule,
            "genes": [
                {"name": g.name, "low": g.low, "high": g.high, "integer": g.integer}
                for g in f.genes
            ],
        }
        for f in FAMILIES.values()
    ]
    if options.json:
        print(json.dumps(rows))
    else:
        for row, family in zip(rows, FAMILIES.values(), strict=True):
            row["genes"] = "; ".join(f"{g.name} {g.low:g}..{g.high:g}" for g in family.genes)
        table("Families", rows)
    return 0
