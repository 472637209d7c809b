"""Runs from a plan to appraised strategies: what the command line and the Python API share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from ga.appraisal import Result, appraised, check_top, load_again, result_of
from ga.errors import ClusterError, InputError
from ga.evaluation.folds import visible
from ga.evaluation.settings import Settings
from ga.event_log import BatchLog
from ga.evolution import Evolution, Plan
from ga.execution.auto import Choice, make_evaluator
from ga.execution.local import LocalEvaluator
from ga.execution.numerics_check import require_coordinator
from ga.execution.protocol import Evaluator
from ga.execution.ray.reconnect import Reconnector
from ga.families import usable_families
from ga.ledger import Ledger, open_ledger
from ga.market import Market
from ga.metrics import LOOPBACK, MetricsServer, Telemetry, check_port, depends_on
from ga.presentation import gap_lines
from ga.redaction import redact
from ga.result_cache import Cache, check_cache, open_cache
from ga.resumption import resumed
from ga.runner import Progress, Runner, Summary
from ga.sources import MarketSpec
from ga.stopping import Stopping, check_limits

MODES: Final = ("auto", "local", "distributed")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where a run is evaluated and stored; its history depends on none of this."""

    store: str
    """File or URL of the ledger."""
    mode: str = "auto"
    workers: int | None = None
    address: str | None = None
    top: int = 5
    """Number of strategies to appraise."""
    all_alike: bool = False
    """List the best strategies even if they are alike; see ``ga.listing``."""
    log: Path | None = None
    cache: str | None = None
    metrics_port: int | None = None
    metrics_host: str = LOOPBACK
    time_budget: float | None = None
    """Seconds after which the run ends, between two generations."""
    stop_after: int | None = None
    """Generations without a better fitness after which it ends."""

    def check(self) -> None:
        """Check what can be checked before a market is read.

        Raises:
            InputError: the message names the option.
        """
        check_top(self.top)
        check_limits(self.time_budget, self.stop_after)
        if self.mode not in MODES:
            raise InputError(f"--mode {self.mode}: give one of {', '.join(MODES)}")

    def check_services(self) -> None:
        """Check that log, cache and metrics can be used.

        Raises:
            InputError: one cannot.
        """
        with BatchLog(self.log):
            pass
        if self.cache:
            check_cache(self.cache)
        if self.metrics_port is not None:
            check_port(self.metrics_port, self.metrics_host)


class Listener(Protocol):
    """The user's side of a run."""

    def say(self, text: str) -> None:
        """Take one line of information."""

    def begun(self, run: str) -> None:
        """The run is in the ledger: it can be resumed from now on."""

    def reading(self, ledger: Ledger) -> AbstractContextManager[None]:
        """A stored run is read while the context lasts."""

    def watching(self) -> AbstractContextManager[Callable[[Progress], None]]:
        """A function that takes the progress, while the context lasts."""


def _check_run_id(run: str | None) -> None:
    """Check an id that the user chose.

    Raises:
        InputError: it is no id.
    """
    if run is not None and not re.fullmatch("[0-9a-f]{12}", run):
        raise InputError(f"--run-id {run}: must be 12 hexadecimal digits (0-9a-f); or omit it")


def evolve(
    load: Callable[[], Market],
    *,
    pin: Callable[[Market], MarketSpec],
    plan: Plan,
    families: Sequence[str] | None,
    settings: Settings,
    options: Options,
    listener: Listener,
    run: str | None = None,
) -> tuple[Summary, Result]:
    """Evolve strategies on a market to the end, store the run, and appraise the best.

    Args:
        load: gives the market; called after all checks that need none.
        pin: from where the market can be loaded again; called when the run begins.
        families: names of the families; None: all that the market has the data for.
        run: id of the run; None: a random one.

    Raises:
        InputError: bad input; the store is untouched.
    """
    options.check()
    _check_run_id(run)
    require_coordinator()
    market = load()
    seen = visible(market, settings)
    usable, left_out = usable_families(seen, None if families is None else tuple(families))
    plan = replace(plan, families=usable)
    # The store is opened last of all that can be refused, so that bad input leaves it untouched;
    # and only then is anything said, so that a refusal is one line.
    options.check_services()
    choice = _choose(options, seen, settings, plan)
    with closing(choice.evaluator), closing(open_ledger(options.store, create=True)) as ledger:
        for line in (*gap_lines(market), *left_out):
            listener.say(line)
        listener.say(f"mode: {choice.reason}; seed {plan.seed}")
        begun = ledger.begin(
            market=market,
            spec=pin(market),
            plan=plan,
            settings=settings,
            mode=choice.evaluator.mode,
            run=run,
        )
        listener.begun(begun)
        with ledger.acquire(begun):
            return _drive(
                options,
                listener,
                ledger,
                begun,
                Evolution(plan),
                market,
                settings,
                choice,
                left_out,
            )


def resume(run: str, *, options: Options, listener: Listener) -> tuple[Summary, Result]:
    """Continue a run to its end; one that has ended is appraised again.

    Raises:
        InputError: there is no such run, or its market has changed.
    """
    options.check()
    options.check_services()
    with closing(open_ledger(options.store, create=False)) as ledger:
        ledger.require_sound("runs")
        record = ledger.run(run)
        record.check_version()
        require_coordinator()
        market = load_again(record)
        # Take ownership before reading: a previous owner can no longer commit.
        listener.begun(record.run)
        with ledger.acquire(record.run):
            with listener.reading(ledger):
                evolution = resumed(ledger, record, visible(market, record.settings).hash)
            choice = _choose(
                options, visible(market, record.settings), record.settings, record.plan
            )
            listener.say(
                f"resuming run {record.run} at generation {evolution.generation + 1} of"
                f" {record.plan.generations}; mode: {choice.reason}"
            )
            with closing(choice.evaluator):
                return _drive(
                    options,
                    listener,
                    ledger,
                    record.run,
                    evolution,
                    market,
                    record.settings,
                    choice,
                )


def _choose(options: Options, seen: Market, settings: Settings, plan: Plan) -> Choice:
    return make_evaluator(
        options.mode,
        market=seen,
        settings=settings,
        plan=plan,
        workers=options.workers,
        address=options.address,
    )


def _drive(
    options: Options,
    listener: Listener,
    ledger: Ledger,
    run: str,
    evolution: Evolution,
    market: Market,
    settings: Settings,
    choice: Choice,
    left_out: Sequence[str] = (),
) -> tuple[Summary, Result]:
    """Evolve to the end, then appraise what was found."""
    plan, seen = evolution.plan, visible(market, settings)
    stopping = Stopping(time_budget=options.time_budget, stop_after=options.stop_after)

    def fall_back(error: ClusterError) -> Evaluator:
        listener.say(f"ga: {error}; continuing on this machine")
        return LocalEvaluator(
            market=seen,
            settings=settings,
            families=plan.families,
            workers=options.workers or os.cpu_count() or 1,
        )

    def connect() -> Evaluator:
        return _choose(replace(options, mode="distributed"), seen, settings, plan).evaluator

    with (
        listener.watching() as show,
        BatchLog(options.log, run) as log,
        _services(options, listener, run, log) as (cache, telemetry),
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
            market=seen,
            settings=settings,
            ledger=ledger,
            evaluator=choice.evaluator,
            fall_back=fall_back,
            log=log,
            on_progress=show,
            known=ledger.evaluated(run),
            cache=cache,
            telemetry=telemetry,
            stand_by=lambda: Reconnector(connect),
            enough=stopping.enough,
        )
        try:
            summary = runner.go()
        finally:
            runner.evaluator.close()
    if stopping.reason:
        listener.say(
            f"ended after generation {summary.generations} of {plan.generations}: {stopping.reason}"
        )
    # The learned families take seconds, and at the first run some kernels are compiled.
    listener.say("measuring the best strategies on all parts of the history")
    # What is stored does not depend on how strategies are listed.
    ledger.keep(run, appraised(ledger.strategies(run, options.top), market, settings))
    return summary, result_of(
        ledger,
        run,
        summary.digest,
        plan,
        settings,
        market,
        top=options.top,
        all_alike=options.all_alike,
    )


@contextmanager
def _services(
    options: Options, listener: Listener, run: str, log: BatchLog
) -> Iterator[tuple[Cache | None, Telemetry]]:
    """The result cache and the metrics of a run, as the options request them."""
    telemetry = Telemetry(run, depends_on(options.store, options.cache))
    with ExitStack() as opened:
        if options.metrics_port is not None:
            server = MetricsServer(telemetry.registry, options.metrics_port, options.metrics_host)
            opened.enter_context(server)
            log.write("metrics", url=server.url)
            listener.say(f"metrics: {server.url}")
        cache = open_cache(options.cache, warn=lambda text: log.warn("cache", text))
        if cache is not None:
            opened.callback(cache.close)
        yield cache, telemetry
