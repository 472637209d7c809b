"""Commands about strategies: list, show and export."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ga.analysis.benchmark import Report, benchmarks, report_of
from ga.analysis.holdout import PARTS
from ga.appraisal import load_again
from ga.cli import series
from ga.cli.equity_page import sparkline
from ga.cli.render import print_listing, print_records, print_report
from ga.cli.tear_sheet import page
from ga.cli.waiting import announced_if_large
from ga.errors import InputError
from ga.evaluation.folds import visible
from ga.exported import FORMAT
from ga.families import KERNEL_VERSION
from ga.files import write_text
from ga.ledger import Ledger, RunRecord, StrategyRecord, open_ledger
from ga.ledger.soundness import require_genomes, require_key
from ga.listing import Listing, list_strategies
from ga.market import Market
from ga.presentation import (
    benchmark_rows,
    listed_row,
    part_rows,
    sharpe_row,
    strategy_row,
)


def strategies(options: argparse.Namespace) -> int:
    """``strategies``: list the best of a run, or of all; distinct ones unless ``--all``."""
    if not 1 <= options.limit <= 100_000:
        raise InputError(f"--limit must be 1..100000, not {options.limit}")
    with closing(open_ledger(options.store, create=False)) as ledger, announced_if_large(ledger):
        ledger.require_sound("runs")
        run = ledger.run(options.run).run if options.run else None
        ledger.require_sound("runs", run=run, anchored=("strategies",))
        if options.all_alike:
            found = ledger.strategies(run, options.limit)
            require_genomes(found)
            if options.json:
                rows = [{"run": s.run, **strategy_row(s), **sharpe_row(s)} for s in found]
                print(json.dumps(rows))
            else:
                print_records(found)
            return 0
        listings = _listings(ledger, run, options.limit)
    if options.json:
        print(json.dumps([row for listing in listings.values() for row in _rows(listing)]))
        return 0
    for name, listing in listings.items():
        print_listing(listing, title=f"Distinct strategies on {name}", runs=True)
    if not listings:
        print("Distinct strategies: none")
    return 0


def _listings(ledger: Ledger, run: str | None, limit: int) -> dict[str, Listing]:
    """Lists by market. Runs on one market with the same settings share a list, so that a strategy
    that several of them found is in it once.
    """
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for record in [ledger.run(run)] if run else ledger.runs():
        groups.setdefault((record.market_hash, record.settings.hash), []).append(record)
    found = {}
    for number, records in enumerate(groups.values(), 1):
        try:
            for record in records:
                record.check_kernels()
            market = load_again(records[0])
        except InputError as error:
            hint = f"{error}; what is stored can be listed: strategies --all"
            if run:
                raise InputError(hint) from None
            print(f"left out: {hint}", file=sys.stderr)
            continue
        name = market.name if len(groups) == 1 else f"{market.name} ({number})"
        found[name] = list_strategies(
            ledger, [r.run for r in records], market, records[0].settings, limit=limit
        )
    return found


def _rows(listing: Listing) -> list[dict[str, object]]:
    compared = benchmark_rows(listing.benchmarks)
    return [
        {"run": one.record.run, **listed_row(one), "benchmarks": compared}
        for one in listing.strategies
    ]


def kept(store: str, key: str) -> tuple[StrategyRecord, RunRecord]:
    """The strategy whose key begins with ``key``, and its run.

    Raises:
        InputError: there is none, or there are several. LedgerError: its values are damaged.
    """
    with closing(open_ledger(store, create=False)) as ledger, announced_if_large(ledger):
        ledger.require_sound("runs", "evaluations")
        strategy = ledger.strategy(key)
        record = ledger.run(strategy.run)
        ledger.require_sound("runs", run=record.run, anchored=("runs",))
    record.check_kernels()
    require_genomes([strategy])
    return strategy, record


def _found(options: argparse.Namespace) -> tuple[StrategyRecord, RunRecord, Market]:
    strategy, record = kept(options.store, options.strategy)
    market = record.market.load()
    if market.hash != record.market_hash:
        raise InputError(
            f"strategy {options.strategy}: market {record.market.spec} has changed since the run;"
            " restore the data it was evolved on"
        )
    require_key(strategy, visible(market, record.settings).hash, record.settings)
    return strategy, record, market


def show(options: argparse.Namespace) -> int:
    """``show``: one strategy by part, fold and asset, next to its benchmarks."""
    if options.out is not None and options.out.suffix.lower() != ".html":
        raise InputError(f"--out {options.out}: give a file that ends in .html")
    strategy, record, market = _found(options)
    report = report_of(market, record.settings, strategy.genome)
    compared = benchmarks(market, record.settings)
    rows = [
        {
            "part": m.part,
            "fold": m.fold + 1,
            "asset": m.asset,
            "from": _day(m.start),
            "to": _day(m.stop),
            "sharpe": round(m.sharpe, 3),
            "growth": round(m.growth, 4),
            "drawdown": round(m.max_drawdown, 4),
            "trades": m.trades,
            "exposure": round(m.exposure, 3),
        }
        for m in report.measured
    ]
    if options.out is not None:
        _write(options.out, page(strategy, market, record.settings, report, compared, rows))
        print(f"written: {options.out}", file=sys.stderr)
    curve = report.accounts.curve
    if options.json:
        points = [{"time": _iso(t), "equity": e} for t, e in _thin(market, curve)]
        print(
            json.dumps(
                {
                    "run": strategy.run,
                    **strategy_row(strategy),
                    "sharpe": _sharpes(report),
                    "statistics": part_rows(report.parts),
                    "benchmarks": benchmark_rows(compared),
                    "measured": rows,
                    "equity": points,
                }
            )
        )
        return 0
    print_report(strategy, report, compared, rows)
    print(f"equity {curve.min():.3f}..{curve.max():.3f}, mean of the assets\n{sparkline(curve)}")
    return 0


def _sharpes(report: Report) -> dict[str, float | None]:
    return {part: report.parts[part].sharpe if part in report.parts else None for part in PARTS}


def _thin(market: Market, curve: np.ndarray, most: int = 500) -> list[tuple[int, float]]:
    at = np.unique(np.linspace(0, len(curve) - 1, min(most, len(curve))).astype(np.int64))
    return [(int(market.times[i]), float(curve[i])) for i in at]


def export(options: argparse.Namespace) -> int:
    """``export``: one strategy as JSON that needs no ledger, or the series of all of a run."""
    if options.series:
        return series.export(options)
    _require_one(options)
    strategy, record, market = _found(options)
    report = report_of(market, record.settings, strategy.genome)
    costs = record.settings.costs
    document = {
        "format": FORMAT,
        **strategy_row(strategy),
        "kernel_version": KERNEL_VERSION,
        "costs": {"fee": costs.fee, "slippage": costs.slippage},
        "evolved_on": {
            "market": record.market.spec,
            "hash": record.market_hash,
            "assets": list(market.assets),
            "from": _iso(int(market.times[0])),
            "to": _iso(int(market.times[-1])),
            "bars": market.bars,
            "run": strategy.run,
            "seed": record.plan.seed,
        },
        "sharpe": _sharpes(report),
        "statistics": part_rows(report.parts),
        "benchmarks": benchmark_rows(benchmarks(market, record.settings)),
    }
    text = json.dumps(document, indent=2) + "\n"
    if options.out is None:
        print(text, end="")
    else:
        _write(options.out, text)
    return 0


def _require_one(options: argparse.Namespace) -> None:
    if options.strategy is None:
        raise InputError(
            "export: give the start of a strategy's key, as `strategies` lists it, or --all for"
            " the series of a run's strategies"
        )
    if options.every or options.limit is not None:
        raise InputError("--every, --limit: choose strategies for --all; leave them out")


def _write(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as error:
        raise InputError(
            f"--out {path}: cannot be written ({error.strerror}); give a file in a folder that"
            " exists"
        ) from None


def _iso(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _day(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // 10**9, UTC).strftime("%Y-%m-%d")
