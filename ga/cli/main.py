"""The command line of the engine: ``python -m ga evolve|resume|...``; see ``--help``."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import NoReturn

from ga.analysis.holdout import find_edge
from ga.analysis.overfitting import Edge
from ga.backtest.simulation import Costs
from ga.cli import compile as compilation
from ga.cli import ledger as upkeep
from ga.cli import plan as capacity
from ga.cli import runs, serve
from ga.cli.exit_status import status_of
from ga.cli.render import (
    ProgressLine,
    gap_lines,
    print_families,
    print_strategies,
)
from ga.cli.runs import appraised, sharpe_row, spec_of, strategy_row
from ga.environment import setting
from ga.errors import ClusterError, InputError
from ga.evaluation.folds import visible
from ga.evaluation.settings import Settings
from ga.evolution import Evolution, Plan
from ga.execution import numerics_check
from ga.execution.auto import Choice, make_evaluator
from ga.execution.local import LocalEvaluator
from ga.execution.numerics_check import require_coordinator
from ga.execution.protocol import Evaluator
from ga.execution.ray.reconnect import Standby
from ga.families import FAMILIES, usable_families
from ga.ledger import Ledger, RunRecord, StrategyRecord, open_ledger
from ga.ledger.connection import told_of_database
from ga.market import Market
from ga.metrics import LOOPBACK, MetricsServer, Telemetry, check_port, depends_on
from ga.ops import compose, preflight
from ga.redaction import redact, refuse_passwords
from ga.result_cache import Cache, check_cache, open_cache
from ga.runner import BatchLog, Runner, Summary

DEFAULT_STORE = "sqlite:///ga.db"
_SAMPLE = 64
"""Strategies drawn from all that were tried, for the probability of overfitting."""


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
            "--workers",
            type=int,
            help="processes, or slots to use, which a cluster that autoscales is asked for"
            " (default: all there are)",
        )
        command.add_argument("--address", help="HOST:PORT of a Ray cluster")
        command.add_argument("--top", type=int, default=5, help="strategies to show (default: 5)")
        command.add_argument("--log", type=Path, help="append a JSON line for every batch here")
        command.add_argument(
            "--cache",
            default=setting("GA_CACHE_URL"),
            help="outcomes of earlier runs: redis://HOST:PORT/DB; a URL with a password belongs in"
            " the variable GA_CACHE_URL, or the password in a file that GA_CACHE_PASSWORD_FILE"
            " names (default: that variable, else none)",
        )
        command.add_argument(
            "--metrics-port",
            type=int,
            help="serve Prometheus series on this port; 0: on any free one (default: none)",
        )
        command.add_argument(
            "--metrics-host",
            default=LOOPBACK,
            help="address to serve them on; 0.0.0.0 lets others ask (default: %(default)s)",
        )

    def store(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--store",
            default=_default_store(),
            help="history: a file, sqlite:///FILE or postgresql://...; a URL with a password"
            f" belongs in the variable GA_STORE (default: that, else {DEFAULT_STORE})",
        )

    def market(command: argparse.ArgumentParser, *, required: bool) -> None:
        command.add_argument(
            "--market",
            required=required,
            help="eurusd, goog, synthetic[:assets=2,bars=5000,seed=0], hyperliquid:BTC+ETH, a file"
            " (.csv, .parquet, .feather), or a folder of files",
        )
        command.add_argument("--assets", help="comma-separated (default: all that it has)")
        command.add_argument("--start", help="first bar, ISO 8601, UTC if it has no offset")
        command.add_argument("--end", help="bars before this time only")
        command.add_argument("--timeframe", help="coarser bars made of the market's: 4h, 1d")

    evolve = add("evolve", "Evolve strategies on a market.")
    market(evolve, required=True)
    evolve.add_argument("--population-size", type=int, default=200)
    evolve.add_argument("--generations", type=int, default=20)
    evolve.add_argument("--seed", type=int, default=0, help="fixes the history (default: 0)")
    evolve.add_argument(
        "--families", help="comma-separated (default: all that the market has the data for)"
    )
    evolve.add_argument("--folds", type=int, default=4, help="walk-forward folds (default: 4)")
    evolve.add_argument("--fee", type=float, default=Costs().fee, help="fraction of traded value")
    evolve.add_argument("--slippage", type=float, default=Costs().slippage)
    evolve.add_argument("--run-id", help="id of the run, 12 of 0-9a-f (default: a random one)")
    evolve.add_argument("--max-cells", type=int, help="refuse a market of more bars x assets")
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
    show = add("show", "Show one strategy by part, fold and asset, with its equity curve.")
    show.add_argument("strategy", help="the start of its key, as `strategies` lists it")
    show.add_argument("--out", type=Path, help="write a page with the curve here (.html)")
    store(show)
    export = add("export", "Write one strategy as JSON that needs no ledger.")
    export.add_argument("strategy")
    export.add_argument("--out", type=Path, help="file (default: stdout)")
    store(export)
    signals = add("signals", "When a strategy changes its target position, on any market.")
    signals.add_argument("strategy", help="the start of its key, or a file that `export` wrote")
    market(signals, required=True)
    store(signals)
    upkeep.register(add, store)
    capacity.add_parser(add)
    serve.register(add, store)
    add("compile", "Compile all kernels now, instead of at their first use.")
    numerics = add("numerics", "Check that this machine computes what all others compute.")
    numerics.add_argument("--digests", action="store_true", help="print the digests as a table")
    compose.add_parser(commands)
    preflight.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status (see ``ga.cli.exit_status``)."""
    handlers = {
        "evolve": _evolve,
        "resume": _resume,
        "runs": runs.runs,
        "strategies": runs.strategies,
        "families": runs.families,
        "show": runs.show,
        "export": runs.export,
        "signals": runs.signals,
        **upkeep.COMMANDS,
        "plan": capacity.command,
        "serve": serve.command,
        "compile": compilation.command,
        "numerics": numerics_check.command,
        "cluster": compose.command,
        "preflight": preflight.command,
    }
    options = argparse.Namespace()

    def work() -> int:
        refuse_passwords(sys.argv[1:] if argv is None else argv)
        _parser().parse_args(argv, options)
        with told_of_database(getattr(options, "store", DEFAULT_STORE)):
            return handlers[options.command](options)

    return status_of(work, hint=lambda: _how_to_go_on(options))


def _how_to_go_on(options: argparse.Namespace) -> str:
    """The command that continues the run that was begun; empty if none was."""
    run = getattr(options, "begun", None)
    if run is None:
        return ""
    stored = [] if options.store == _default_store() else ["--store", options.store]
    return shlex.join(["python", "-m", "ga", "resume", run, *stored])


def _default_store() -> str:
    return setting("GA_STORE") or DEFAULT_STORE


def _evolve(options: argparse.Namespace) -> int:
    named = tuple(options.families.split(",")) if options.families else None
    # Refused before a market is read, if a number or a name is wrong already.
    plan = Plan(
        seed=options.seed,
        population_size=options.population_size,
        generations=options.generations,
        families=named or tuple(FAMILIES),
    )
    settings = Settings(
        costs=Costs(fee=options.fee, slippage=options.slippage), folds=options.folds
    )
    _check_top(options.top)
    _check_run_id(options.run_id)
    require_coordinator()
    spec = spec_of(options)
    market = spec.load()
    if options.max_cells is not None and market.bars * len(market.assets) > options.max_cells:
        raise InputError(
            f"--market {options.market}: {market.bars:,} bars of {len(market.assets)} assets are"
            f" over the limit of {options.max_cells:,}; select fewer"
        )
    seen = visible(market, settings)
    usable, left_out = usable_families(seen, named)
    plan = replace(plan, families=usable)
    # The store is opened last of all that can be refused, so that bad input leaves it untouched;
    # and only then is anything printed, so that a refusal is one line.
    _check_log(options.log)
    _check_services(options)
    choice = make_evaluator(
        options.mode,
        market=seen,
        settings=settings,
        plan=plan,
        workers=options.workers,
        address=options.address,
    )
    with closing(choice.evaluator), closing(open_ledger(options.store, create=True)) as ledger:
        for line in (*gap_lines(market), *left_out):
            print(line, file=sys.stderr)
        print(f"mode: {choice.reason}; seed {plan.seed}", file=sys.stderr)
        run = options.begun = ledger.begin(
            market=market,
            spec=spec.pinned(market),
            plan=plan,
            settings=settings,
            mode=choice.evaluator.mode,
            run=options.run_id,
        )
        with ledger.own(run):
            return _drive(options, ledger, run, Evolution(plan), market, settings, choice, left_out)


def _resume(options: argparse.Namespace) -> int:
    _check_top(options.top)
    _check_log(options.log)
    _check_services(options)
    ledger = open_ledger(options.store, create=False)
    record = ledger.run(options.run)
    record.check_version()
    require_coordinator()
    market = record.market.load()
    if market.hash != record.market_hash:
        raise InputError(
            f"run {record.run}: market {record.market.spec} has changed since the run began;"
            " restore the data it was started on"
        )
    # Owned before it is read: whoever had it before commits no more.
    options.begun = record.run
    with closing(ledger), ledger.own(record.run):
        evolution = _restore(ledger, record)
        choice = make_evaluator(
            options.mode,
            market=visible(market, record.settings),
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
        with closing(choice.evaluator):
            return _drive(options, ledger, record.run, evolution, market, record.settings, choice)


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
        earlier=last.best,
    )


def _drive(
    options: argparse.Namespace,
    ledger: Ledger,
    run: str,
    evolution: Evolution,
    market: Market,
    settings: Settings,
    choice: Choice,
    left_out: Sequence[str] = (),
) -> int:
    families = evolution.plan.families

    def fall_back(error: ClusterError) -> Evaluator:
        print(f"ga: {error}; continuing on this machine", file=sys.stderr)
        return LocalEvaluator(
            market=visible(market, settings),
            settings=settings,
            families=families,
            workers=options.workers or os.cpu_count() or 1,
        )

    def connect() -> Evaluator:
        return make_evaluator(
            "distributed",
            market=visible(market, settings),
            settings=settings,
            plan=evolution.plan,
            workers=options.workers,
            address=options.address,
        ).evaluator

    with (
        ProgressLine() as progress,
        BatchLog(options.log, run) as log,
        _services(options, run, log) as (cache, telemetry),
    ):
        log.write(
            "choice",
            mode=choice.evaluator.mode,
            reason=redact(choice.reason),
            costs={mode: asdict(cost) for mode, cost in choice.costs.items()},
        )
        for line in left_out:
            log.write("left_out", level="warning", text=line)
        runner = Runner(
            run=run,
            evolution=evolution,
            market=visible(market, settings),
            settings=settings,
            ledger=ledger,
            evaluator=choice.evaluator,
            fall_back=fall_back,
            log=log,
            on_progress=progress.show,
            known=ledger.evaluated(run),
            cache=cache,
            telemetry=telemetry,
            stand_by=lambda: Standby(connect),
        )
        try:
            summary = runner.go()
        finally:
            runner.evaluator.close()
    best = appraised(ledger.strategies(run, options.top), market, settings)
    ledger.keep(run, best)
    edge = _edge(ledger, run, market, settings)
    families_at_end = ledger.family_counts(run)
    ledger.close()
    if options.json:
        print(json.dumps(_json(summary, market, best, edge, families_at_end)))
    else:
        print_strategies(best, runs=False)
        print_families(families_at_end)
        print(f"{edge.statement}" if edge else "no strategy has a fitness: nothing to appraise")
        print(
            f"run {run}: {summary.evaluations:,} evaluations in {summary.seconds:.1f} s"
            f" ({summary.evaluations_per_second:,.0f}/s, {summary.mode}, {summary.workers} workers)"
            + (f"; {summary.cached:,} more from the cache" if summary.cached else "")
        )
        print(f"history digest {summary.digest}")
    return 0


@contextmanager
def _services(
    options: argparse.Namespace, run: str, log: BatchLog
) -> Iterator[tuple[Cache | None, Telemetry]]:
    """The cache and the series of a run, as the options ask for them."""
    telemetry = Telemetry(run, depends_on(options.store, options.cache))
    with ExitStack() as opened:
        if options.metrics_port is not None:
            server = MetricsServer(telemetry.registry, options.metrics_port, options.metrics_host)
            opened.enter_context(server)
            log.write("metrics", url=server.url)
            print(f"metrics: {server.url}", file=sys.stderr)
        cache = open_cache(options.cache, warn=lambda text: log.warn("cache", text))
        if cache is not None:
            opened.callback(cache.close)
        yield cache, telemetry


def _edge(ledger: Ledger, run: str, market: Market, settings: Settings) -> Edge | None:
    best = ledger.strategies(run, 1)
    if not best:
        return None
    trials, sample = ledger.trials(run, _SAMPLE)
    return find_edge(market, settings, best[0].genome, sample, trials)


def _json(
    summary: Summary,
    market: Market,
    best: Sequence[StrategyRecord],
    edge: Edge | None,
    families_at_end: Mapping[str, int],
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
        "best": [{**strategy_row(s), **sharpe_row(s)} for s in best],
        "families": dict(families_at_end),
        "edge": None if edge is None else {**asdict(edge), "shown": edge.shown},
    }


def _check_top(top: int) -> None:
    if not 0 <= top <= 1000:
        raise InputError(f"--top must be 0..1000, not {top}")


def _check_run_id(run: str | None) -> None:
    if run is not None and not re.fullmatch("[0-9a-f]{12}", run):
        raise InputError(f"--run-id {run}: must be 12 of the letters 0-9a-f; or leave it out")


def _check_services(options: argparse.Namespace) -> None:
    if options.cache:
        check_cache(options.cache)
    if options.metrics_port is not None:
        check_port(options.metrics_port, options.metrics_host)


def _check_log(path: Path | None) -> None:
    with BatchLog(path):
        return
