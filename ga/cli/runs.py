"""Commands that only read: runs, families, strategies and their signals."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

import numpy as np

from ga.analysis.holdout import (
    PARTS,
    Performance,
    asset_means,
    equity,
    measure_performance,
    positions,
)
from ga.cli.equity_page import page, sparkline
from ga.cli.render import print_strategies
from ga.cli.tables import table
from ga.cli.waiting import told_if_large
from ga.errors import InputError
from ga.evaluation.folds import visible
from ga.families import FAMILIES, KERNEL_VERSION, get_family
from ga.genome import Genome
from ga.ledger import RunRecord, StrategyRecord, open_ledger
from ga.ledger.connection import snapshot
from ga.ledger.sizes import NOTHING, ledger_size, run_sizes
from ga.ledger.soundness import require_genomes, require_key
from ga.market import Market
from ga.presentation import named_genes, sharpe_row, shown_bytes, strategy_row
from ga.sources import MarketSpec
from ga.verification import processors

FORMAT: Final = "evolution-gate/strategy/1"


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


def strategies(options: argparse.Namespace) -> int:
    """``strategies``: list the best of a run, or of all."""
    if not 1 <= options.limit <= 100_000:
        raise InputError(f"--limit must be 1..100000, not {options.limit}")
    with closing(open_ledger(options.store, create=False)) as ledger, told_if_large(ledger):
        ledger.require_sound("runs")
        run = ledger.run(options.run).run if options.run else None
        ledger.require_sound("runs", run=run, anchored=("strategies",))
        found = ledger.strategies(run, options.limit)
    require_genomes(found)
    if options.json:
        print(json.dumps([{"run": s.run, **strategy_row(s), **sharpe_row(s)} for s in found]))
    else:
        print_strategies(found, runs=True)
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


def _kept(options: argparse.Namespace) -> tuple[StrategyRecord, RunRecord]:
    with closing(open_ledger(options.store, create=False)) as ledger, told_if_large(ledger):
        ledger.require_sound("runs", "evaluations")
        strategy = ledger.strategy(options.strategy)
        record = ledger.run(strategy.run)
        ledger.require_sound("runs", run=record.run, anchored=("runs",))
    record.check_kernels()
    require_genomes([strategy])
    return strategy, record


def _found(options: argparse.Namespace) -> tuple[StrategyRecord, RunRecord, Market]:
    strategy, record = _kept(options)
    market = record.market.load()
    if market.hash != record.market_hash:
        raise InputError(
            f"strategy {options.strategy}: market {record.market.spec} has changed since the run;"
            " restore the data it was evolved on"
        )
    require_key(strategy, visible(market, record.settings).hash, record.settings)
    return strategy, record, market


def _parts(appraisal: Performance) -> dict[str, float | None]:
    return {part: appraisal.sharpe(part) for part in PARTS}


def show(options: argparse.Namespace) -> int:
    """``show``: one strategy by part, fold and asset, with its equity curve."""
    if options.out is not None and options.out.suffix.lower() != ".html":
        raise InputError(f"--out {options.out}: give a file that ends in .html")
    strategy, record, market = _found(options)
    (appraisal,) = measure_performance(market, record.settings, [strategy.genome])
    curve = asset_means(equity(market, record.settings, strategy.genome))
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
        for m in appraisal.measured
    ]
    if options.out is not None:
        title = f"{strategy.genome.family} on {market.name}"
        text = page(
            title, named_genes(strategy.genome), market.times, curve, rows, _parts(appraisal)
        )
        _write(options.out, text)
        print(f"written: {options.out}", file=sys.stderr)
    if options.json:
        points = [{"time": _iso(t), "equity": e} for t, e in _thin(market, curve)]
        print(
            json.dumps(
                {
                    "run": strategy.run,
                    **strategy_row(strategy),
                    "sharpe": _parts(appraisal),
                    "measured": rows,
                    "equity": points,
                }
            )
        )
        return 0
    genes = ", ".join(f"{name} {value:.6g}" for name, value in named_genes(strategy.genome).items())
    print(f"{strategy.genome.family} ({strategy.outcome.key[:10]}) of run {strategy.run}\n{genes}")
    numbers = ("fold", "sharpe", "growth", "drawdown", "trades", "exposure")
    table("Sharpe ratio annualised, net of costs", rows, right=numbers)
    print(f"equity {curve.min():.3f}..{curve.max():.3f}, mean of the assets\n{sparkline(curve)}")
    return 0


def _thin(market: Market, curve: np.ndarray, most: int = 500) -> list[tuple[int, float]]:
    at = np.unique(np.linspace(0, len(curve) - 1, min(most, len(curve))).astype(np.int64))
    return [(int(market.times[i]), float(curve[i])) for i in at]


def export(options: argparse.Namespace) -> int:
    """``export``: one strategy as JSON that needs no ledger."""
    strategy, record, market = _found(options)
    (appraisal,) = measure_performance(market, record.settings, [strategy.genome])
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
        "sharpe": _parts(appraisal),
    }
    text = json.dumps(document, indent=2) + "\n"
    if options.out is None:
        print(text, end="")
    else:
        _write(options.out, text)
    return 0


def _exported(path: Path) -> Genome:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); export it again") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"{path}: not a strategy of format {FORMAT}; write one with: ga export")
    if document.get("kernel_version") != KERNEL_VERSION:
        raise InputError(
            f"{path}: exported for kernels of version {document.get('kernel_version')}, these are"
            f" {KERNEL_VERSION}: its signals may differ; evolve and export it again"
        )
    family = get_family(str(document.get("family")))
    genes = document.get("genes")
    names = [gene.name for gene in family.genes]
    if not isinstance(genes, dict) or sorted(genes) != sorted(names):
        raise InputError(f"{path}: genes must be {', '.join(names)}; export it again")
    values = []
    for gene in family.genes:
        value = genes[gene.name]
        if not isinstance(value, int | float) or value != gene.clip(float(value)):
            raise InputError(
                f"{path}: gene {gene.name} is {value}, outside {gene.low:g}..{gene.high:g};"
                " export it again"
            )
        values.append(float(value))
    return Genome(family.name, tuple(values))


def signals(options: argparse.Namespace) -> int:
    """``signals``: list the changes of a strategy's target position on any market."""
    path = Path(options.strategy)
    genome = _exported(path) if os.path.exists(path) else _kept(options)[0].genome
    market = spec_of(options).load()
    targets = positions(market, genome)
    before = np.vstack([np.zeros(targets.shape[1]), targets[:-1]])
    rows = [
        {"time": _iso(int(market.times[t])), "asset": market.assets[a], "position": targets[t, a]}
        for t, a in np.argwhere(targets != before).tolist()
    ]
    if options.json:
        now = dict(zip(market.assets, targets[-1].tolist(), strict=True))
        print(json.dumps({"changes": rows, "now": now, "as_of": _iso(int(market.times[-1]))}))
    else:
        _print_csv(rows, sys.stdout)
    return 0


def _print_csv(rows: list[dict[str, object]], file: TextIO) -> None:
    writer = csv.DictWriter(file, ["time", "asset", "position"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"--out {path}: cannot be written ({error.strerror}); give a file in a folder that"
            " exists"
        ) from None


def _iso(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _day(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // 10**9, UTC).strftime("%Y-%m-%d")
