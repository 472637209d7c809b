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

from ga.analysis.holdout import test_for_edge
from ga.analysis.overfitting import Edge
from ga.backtest.simulation import Costs
from ga.cli import cluster, data, runs, serve
from ga.cli import compile as compilation
from ga.cli import ledger as upkeep
from ga.cli import plan as capacity
from ga.cli.exit_status import status_of
from ga.cli.parser import _SAMPLE, DEFAULT_STORE, default_store, make_parser
from ga.cli.render import (
    ProgressLine,
    gap_lines,
    print_families,
    print_strategies,
)
from ga.cli.runs import appraised, sharpe_row, spec_of, strategy_row
from ga.errors import ClusterError, InputError
from ga.evaluation.folds import visible
from ga.evaluation.settings import Settings
from ga.event_log import BatchLog
from ga.evolution import Evolution, Plan
from ga.execution import numerics_check
from ga.execution.auto import Choice, make_evaluator
from ga.execution.local import LocalEvaluator
from ga.execution.numerics_check import require_coordinator
from ga.execution.protocol import Evaluator
from ga.execution.ray.reconnect import Reconnector
from ga.families import FAMILIES, usable_families
from ga.ledger import Ledger, StrategyRecord, open_ledger
from ga.ledger.connection import told_of_database
from ga.market import Market
from ga.metrics import MetricsServer, Telemetry, check_port, depends_on
from ga.ops import preflight
from ga.redaction import redact, refuse_passwords
from ga.result_cache import Cache, check_cache, open_cache
from ga.resumption import resumed
from ga.runner import Runner, Summary


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
        "cluster": cluster.command,
        "data": data.command,
        "preflight": preflight.command,
    }
    options = argparse.Namespace()

    def work() -> int:
        refuse_passwords(sys.argv[1:] if argv is None else argv)
        make_parser().parse_args(argv, options)
        with told_of_database(getattr(options, "store", DEFAULT_STORE)):
            return handlers[options.command](options)

    return status_of(work, hint=lambda: _how_to_go_on(options))


def _how_to_go_on(options: argparse.Namespace) -> str:
    """The command that continues the run; empty if no run has begun."""
    run = getattr(options, "begun", None)
    if run is None:
        return ""
    stored = [] if options.store == default_store() else ["--store", options.store]
    return shlex.join(["python", "-m", "ga", "resume", run, *stored])


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
    with closing(open_ledger(options.store, create=False)) as ledger:
        ledger.require_sound("runs")
        record = ledger.run(options.run)
        record.check_version()
        require_coordinator()
        market = record.market.load()
        if market.hash != record.market_hash:
            raise InputError(
                f"run {record.run}: market {record.market.spec} has changed since the run began;"
                " restore the data it was started on"
            )
        # Take ownership before reading: a previous owner can no longer commit.
        options.begun = record.run
        with ledger.own(record.run):
            evolution = resumed(ledger, record, visible(market, record.settings).hash)
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
                return _drive(
                    options, ledger, record.run, evolution, market, record.settings, choice
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
    """Evolve to the end, then appraise what was found and print it."""
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
            stand_by=lambda: Reconnector(connect),
        )
        try:
            summary = runner.go()
        finally:
            runner.evaluator.close()
    _appraise(options, ledger, run, market, settings, summary)
    return 0


def _appraise(
    options: argparse.Namespace,
    ledger: Ledger,
    run: str,
    market: Market,
    settings: Settings,
    summary: Summary,
) -> None:
    """Measure the best strategies on the hold-out, store that, and print the result of the run."""
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


@contextmanager
def _services(
    options: argparse.Namespace, run: str, log: BatchLog
) -> Iterator[tuple[Cache | None, Telemetry]]:
    """The result cache and the metrics of a run, as the options request them."""
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
    return test_for_edge(market, settings, best[0].genome, sample, trials)


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
        raise InputError(f"--run-id {run}: must be 12 hexadecimal digits (0-9a-f); or omit it")


def _check_services(options: argparse.Namespace) -> None:
    if options.cache:
        check_cache(options.cache)
    if options.metrics_port is not None:
        check_port(options.metrics_port, options.metrics_host)


def _check_log(path: Path | None) -> None:
    with BatchLog(path):
        return
