"""The command line of the engine: ``python -m ga evolve|resume|runs|strategies|families``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from ga.backtest import Costs
from ga.choose import make_evaluator
from ga.console import ProgressLine, gap_lines, print_strategies, table
from ga.errors import ClusterError, InputError
from ga.evaluators import Evaluator, LocalEvaluator
from ga.evolution import Evolution, Plan
from ga.families import FAMILIES
from ga.fitness import Settings, holdout_sharpe, in_sample
from ga.ledger import Ledger, RunRecord, StrategyRecord, open_ledger
from ga.market import Market
from ga.run import BatchLog, Runner, Summary
from ga.sources import load_market

DEFAULT_STORE = "sqlite:///ga.db"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Refuse like all other bad input: in one line, without the usage before it."""
        raise InputError(f"{message}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m ga", description="Evolve trading strategies.")
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--json", action="store_true", help="print one JSON value on stdout")
        return command

    def execution(command: argparse.ArgumentParser) -> None:
        command.add_argument("--mode", choices=["auto", "local", "distributed"], default="auto")
        command.add_argument(
            "--workers", type=int, help="processes, or slots to use (default: all there are)"
        )
        command.add_argument("--address", help="HOST:PORT of a Ray cluster")
        command.add_argument("--top", type=int, default=5, help="strategies to show (default: 5)")
        command.add_argument("--log", type=Path, help="append a JSON line for every batch here")

    def store(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--store",
            default=os.environ.get("GA_STORE", DEFAULT_STORE),
            help="history: a file, sqlite:///FILE or postgresql://...; a URL with a password"
            f" belongs in the variable GA_STORE (default: that, else {DEFAULT_STORE})",
        )

    evolve = add("evolve", "Evolve strategies on a market.")
    evolve.add_argument(
        "--market",
        required=True,
        help="eurusd, goog, synthetic[:assets=2,bars=5000,seed=0], a file, or a folder of files",
    )
    evolve.add_argument("--population-size", type=int, default=200)
    evolve.add_argument("--generations", type=int, default=20)
    evolve.add_argument("--seed", type=int, default=0, help="fixes the history (default: 0)")
    evolve.add_argument("--families", help="comma-separated (default: all)")
    evolve.add_argument("--folds", type=int, default=4, help="walk-forward folds (default: 4)")
    evolve.add_argument("--fee", type=float, default=Costs().fee, help="fraction of traded value")
    evolve.add_argument("--slippage", type=float, default=Costs().slippage)
    execution(evolve)
    store(evolve)

    resume = add("resume", "Continue a run that was cut short.")
    resume.add_argument("run")
    execution(resume)
    store(resume)

    store(add("runs", "List the runs of a store."))
    strategies = add("strategies", "List the best strategies of a run, or of all.")
    strategies.add_argument("run", nargs="?")
    strategies.add_argument("--limit", type=int, default=20)
    store(strategies)
    add("families", "List the parameter families and their genes.")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit status: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    handlers = {
        "evolve": _evolve,
        "resume": _resume,
        "runs": _runs,
        "strategies": _strategies,
        "families": _families,
    }
    try:
        options = _parser().parse_args(argv)
        return handlers[options.command](options)
    except InputError as error:
        # One line, whatever a file name, a column or a driver's message brought in.
        print("ga:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except ClusterError as error:
        print(f"ga: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ga: interrupted; go on with: python -m ga resume RUN", file=sys.stderr)
        return 130


def _evolve(options: argparse.Namespace) -> int:
    families = tuple(options.families.split(",")) if options.families else tuple(FAMILIES)
    plan = Plan(
        seed=options.seed,
        population_size=options.population_size,
        generations=options.generations,
        families=families,
    )
    settings = Settings(
        costs=Costs(fee=options.fee, slippage=options.slippage), folds=options.folds
    )
    _check_top(options.top)
    market = load_market(options.market)
    seen = in_sample(market, settings)
    # The store is opened last of all that can be refused, so that bad input leaves it untouched;
    # and only then is anything printed, so that a refusal is one line.
    _check_log(options.log)
    choice = make_evaluator(
        options.mode,
        market=seen,
        settings=settings,
        plan=plan,
        workers=options.workers,
        address=options.address,
    )
    try:
        ledger = open_ledger(options.store, create=True)
    except InputError:
        choice.evaluator.close()
        raise
    for line in gap_lines(market):
        print(line, file=sys.stderr)
    print(f"mode: {choice.reason}; seed {plan.seed}", file=sys.stderr)
    run = ledger.begin(
        market=market,
        spec=_portable(options.market),
        plan=plan,
        settings=settings,
        mode=choice.evaluator.mode,
    )
    return _drive(options, ledger, run, Evolution(plan), market, settings, choice.evaluator)


def _resume(options: argparse.Namespace) -> int:
    _check_top(options.top)
    _check_log(options.log)
    ledger = open_ledger(options.store, create=False)
    record = ledger.run(options.run)
    market = load_market(record.market)
    if market.hash != record.market_hash:
        raise InputError(
            f"run {record.run}: market {record.market} has changed since the run began;"
            " restore the data it was started on"
        )
    evolution = _restore(ledger, record)
    choice = make_evaluator(
        options.mode,
        market=in_sample(market, record.settings),
        settings=record.settings,
        plan=record.plan,
        workers=options.workers,
        address=options.address,
    )
    print(
        f"resuming run {record.run} at generation {evolution.generation + 1} of"
        f" {record.plan.generations}; mode: {choice.reason}",
        file=sys.stderr,
    )
    return _drive(options, ledger, record.run, evolution, market, record.settings, choice.evaluator)


def _restore(ledger: Ledger, record: RunRecord) -> Evolution:
    last = ledger.last(record.run)
    if last is None:
        return Evolution(record.plan)
    return Evolution.resumed(
        record.plan,
        generation=last.generation,
        digest_before=last.digest_before,
        population=last.population,
        outcomes=last.outcomes,
    )


def _drive(
    options: argparse.Namespace,
    ledger: Ledger,
    run: str,
    evolution: Evolution,
    market: Market,
    settings: Settings,
    evaluator: Evaluator,
) -> int:
    families = evolution.plan.families

    def fall_back(error: ClusterError) -> Evaluator:
        print(f"ga: {error}; continuing on this machine", file=sys.stderr)
        return LocalEvaluator(
            market=in_sample(market, settings),
            settings=settings,
            families=families,
            workers=options.workers or os.cpu_count() or 1,
        )

    with ProgressLine() as progress, BatchLog(options.log) as log:
        runner = Runner(
            run=run,
            evolution=evolution,
            market=in_sample(market, settings),
            settings=settings,
            ledger=ledger,
            evaluator=evaluator,
            fall_back=fall_back,
            log=log,
            on_progress=progress.show,
            known=ledger.evaluated(run),
        )
        try:
            summary = runner.go()
        finally:
            runner.evaluator.close()
    best = ledger.strategies(run, options.top)
    ledger.close()
    holdouts = [holdout_sharpe(market, settings, s.genome) for s in best]
    if options.json:
        print(json.dumps(_json(summary, market, best, holdouts)))
    else:
        print_strategies(best, holdouts)
        print(
            f"run {run}: {summary.evaluations:,} evaluations in {summary.seconds:.1f} s"
            f" ({summary.evaluations_per_second:,.0f}/s, {summary.mode}, {summary.workers} workers)"
        )
        print(f"history digest {summary.digest}")
    return 0


def _strategy(strategy: StrategyRecord) -> dict[str, object]:
    names = [gene.name for gene in FAMILIES[strategy.genome.family].genes]
    return {
        "family": strategy.genome.family,
        "genes": dict(zip(names, strategy.genome.genes, strict=True)),
        "fitness": strategy.outcome.fitness,
        "trades": strategy.outcome.trades,
        "max_drawdown": strategy.outcome.max_drawdown,
        "generation": strategy.generation,
    }


def _json(
    summary: Summary,
    market: Market,
    best: Sequence[StrategyRecord],
    holdouts: Sequence[float | None],
) -> dict[str, object]:
    return {
        **asdict(summary),
        "evaluations_per_second": summary.evaluations_per_second,
        "market": {
            "name": market.name,
            "hash": market.hash,
            "assets": list(market.assets),
            "bars": market.bars,
            "gaps": len(market.report.gaps),
            "missing_bars": market.report.missing,
        },
        "best": [
            {**_strategy(s), "holdout_sharpe": h} for s, h in zip(best, holdouts, strict=True)
        ],
    }


def _check_top(top: int) -> None:
    if not 0 <= top <= 1000:
        raise InputError(f"--top must be 0..1000, not {top}")


def _check_log(path: Path | None) -> None:
    with BatchLog(path):
        return


def _portable(spec: str) -> str:
    """A market spec that still means the same from another folder."""
    path = Path(spec)
    return str(path.resolve()) if path.exists() else spec


def _runs(options: argparse.Namespace) -> int:
    ledger = open_ledger(options.store, create=False)
    records = ledger.runs()
    ledger.close()
    rows = [
        {
            "run": r.run,
            "created": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(r.created_at)),
            "market": r.market,
            "seed": r.plan.seed,
            "population": r.plan.population_size,
            "generations": f"{r.committed}/{r.plan.generations}",
            "state": "done" if r.finished_at else "unfinished",
            "digest": r.digest if options.json else r.digest[:12],
        }
        for r in records
    ]
    if options.json:
        print(json.dumps(rows))
    else:
        table("Runs", rows)
    return 0


def _strategies(options: argparse.Namespace) -> int:
    if not 1 <= options.limit <= 100_000:
        raise InputError(f"--limit must be 1..100000, not {options.limit}")
    ledger = open_ledger(options.store, create=False)
    run = ledger.run(options.run).run if options.run else None
    found = ledger.strategies(run, options.limit)
    ledger.close()
    if options.json:
        print(json.dumps([{"run": s.run, **_strategy(s)} for s in found]))
    else:
        print_strategies(found, [])
    return 0


def _families(options: argparse.Namespace) -> int:
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
