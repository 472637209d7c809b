"""The command line of the engine: ``python -m ga evolve|resume|...``; see ``--help``."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, fields

from ga import workflow
from ga.appraisal import Result
from ga.backtest.simulation import Costs
from ga.cli import cluster, data, prune, runs, serve, signals, strategies
from ga.cli import compile as compilation
from ga.cli import ledger as ledger_commands
from ga.cli import plan as capacity
from ga.cli.exit_status import status_of
from ga.cli.parser import DEFAULT_STORE, default_store, make_parser
from ga.cli.render import print_families, print_listing
from ga.cli.runs import spec_of
from ga.cli.tables import paragraph
from ga.cli.waiting import announced_if_large
from ga.errors import InputError
from ga.evaluation.settings import Settings
from ga.evolution import Plan
from ga.execution import numerics_check
from ga.families import FAMILIES
from ga.ledger import Ledger
from ga.ledger.connection import explained_database_errors
from ga.market import Market
from ga.ops import preflight
from ga.presentation import benchmark_rows, listed_row
from ga.progress import ProgressLine
from ga.redaction import refuse_passwords
from ga.runner import Progress, Summary


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status (see ``ga.cli.exit_status``)."""
    handlers = {
        "evolve": _evolve,
        "resume": _resume,
        "runs": runs.runs,
        "strategies": strategies.strategies,
        "families": runs.families,
        "show": strategies.show,
        "export": strategies.export,
        "signals": signals.signals,
        **ledger_commands.COMMANDS,
        "prune": prune.command,
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
        with explained_database_errors(getattr(options, "store", DEFAULT_STORE)):
            return handlers[options.command](options)

    return status_of(work, hint=lambda: _resume_hint(options))


def _resume_hint(options: argparse.Namespace) -> str:
    """The command that continues the run; empty if no run has begun."""
    run = getattr(options, "begun", None)
    if run is None:
        return ""
    stored = [] if options.store == default_store() else ["--store", options.store]
    return shlex.join(["python", "-m", "ga", "resume", run, *stored])


class _Terminal:
    """The listener of a command: information and progress on stderr."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options

    def say(self, text: str) -> None:
        """Print one line."""
        print(text, file=sys.stderr)

    def begun(self, run: str) -> None:
        """Keep the run for the hint on how to continue it."""
        self._options.begun = run

    def reading(self, ledger: Ledger) -> AbstractContextManager[None]:
        """Say so while a large ledger is read."""
        return announced_if_large(ledger)

    @contextmanager
    def watching(self) -> Iterator[Callable[[Progress], None]]:
        """A bar or lines."""
        with ProgressLine() as line:
            yield line.show


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

    spec = spec_of(options)

    def load() -> Market:
        market = spec.load()
        if options.max_cells is not None and market.bars * len(market.assets) > options.max_cells:
            raise InputError(
                f"--market {options.market}: {market.bars:,} bars of {len(market.assets)} assets"
                f" are over the limit of {options.max_cells:,}; select fewer"
            )
        return market

    done = workflow.evolve(
        load,
        pin=spec.pinned,
        plan=plan,
        families=named,
        settings=settings,
        options=_options(options),
        listener=_Terminal(options),
        run=options.run_id,
    )
    return _print_result(options, *done)


def _resume(options: argparse.Namespace) -> int:
    done = workflow.resume(options.run, options=_options(options), listener=_Terminal(options))
    return _print_result(options, *done)


def _options(options: argparse.Namespace) -> workflow.Options:
    names = [field.name for field in fields(workflow.Options)]
    return workflow.Options(**{name: getattr(options, name) for name in names})


def _print_result(options: argparse.Namespace, summary: Summary, result: Result) -> int:
    if options.json:
        print(json.dumps(_json(summary, result)))
        return 0
    edge = result.edge
    if summary.generations < result.plan.generations:
        print(f"to go on: {_resume_hint(options)}", file=sys.stderr)
    print_listing(result.listing, title="Best strategies")
    print_families(result.families_at_end)
    paragraph(edge.statement if edge else "no strategy has a fitness: nothing to appraise")
    paragraph(
        f"run {result.run}: {summary.evaluations:,} evaluations in {summary.seconds:.1f} s"
        f" ({summary.evaluations_per_second:,.0f}/s, {summary.mode}, {summary.workers} workers)"
        + (f"; {summary.cached:,} more from the cache" if summary.cached else "")
    )
    print(f"history digest {summary.digest}")
    return 0


def _json(summary: Summary, result: Result) -> dict[str, object]:
    market, edge = result.market, result.edge
    # The key keeps the name of version 0.1, because scripts read it.
    counts = {"takebacks" if k == "failbacks" else k: v for k, v in asdict(summary).items()}
    return {
        **counts,
        "evaluations_per_second": summary.evaluations_per_second,
        "market": {
            "name": market.name,
            "hash": market.hash,
            "assets": list(market.assets),
            "bars": market.bars,
            "gaps": len(market.report.gaps),
            "missing_bars": market.report.missing,
        },
        "best": [listed_row(s) for s in result.listing.strategies],
        "benchmarks": benchmark_rows(result.listing.benchmarks),
        "families": dict(result.families_at_end),
        "edge": None if edge is None else {**asdict(edge), "shown": edge.shown},
    }
