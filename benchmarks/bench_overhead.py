"""Overhead of ledger, log and telemetry: one evolution without and with them, in turn.

The same worker process, warmed up once, evaluates for both; the coordinator runs on another core if
there is one. Time is the wall time of the user. CPU is the overhead on a single core: the
coordinator's additional CPU seconds, over all CPU seconds of the run without them.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from prometheus_client import generate_latest
from pytest_benchmark.fixture import BenchmarkFixture

from evolution_gate.benchmarks.rounds import timed
from evolution_gate.benchmarks.samples import Effort
from evolution_gate.fixtures.services import datastores
from ga.errors import ClusterError
from ga.evaluation.folds import visible
from ga.evaluation.settings import Outcome, Settings
from ga.event_log import BatchLog
from ga.evolution import Evolution, Plan
from ga.execution.local import LocalEvaluator
from ga.execution.protocol import BatchResult
from ga.families import FAMILIES
from ga.genome import Genome
from ga.ledger import Ledger, open_ledger
from ga.metrics import Telemetry
from ga.runner import Runner
from ga.sources import MarketSpec, synthetic
from validation.statistics import geometric_mean, mean

SETTINGS = Settings()
MARKET = synthetic(assets=2, bars=10_000, seed=1)
PLAN = Plan(seed=7, population_size=300, generations=3)
SCRAPE_SECONDS = 1.0


class _NoLedger:
    """A ledger that discards generations."""

    def commit(self, run: str, **_: object) -> None:
        """Do nothing."""


class _Mute(Telemetry):
    """Telemetry that counts nothing."""

    def watch(
        self, results: Iterator[BatchResult], asked: Sequence[Genome]
    ) -> Iterator[BatchResult]:
        """Return the results unchanged."""
        del asked
        return results

    def mode(self, mode: str) -> None:
        """Do nothing."""

    def committed(
        self,
        genomes: Mapping[str, Genome],
        outcomes: Mapping[str, Outcome],
        attempts: Mapping[str, int],
        best: float | None,
    ) -> None:
        """Do nothing."""


@dataclass(frozen=True, kw_only=True)
class _Taken:
    seconds: float
    coordinator: float
    """CPU seconds."""
    evaluations: float
    """CPU seconds."""
    digest: str


def _evolve(evaluator: LocalEvaluator, ledger: Ledger | None, log: Path | None) -> _Taken:
    run = "bare"
    if ledger is not None:
        spec = MarketSpec(spec=MARKET.name)
        run = ledger.begin(market=MARKET, spec=spec, plan=PLAN, settings=SETTINGS, mode="local")
    telemetry = Telemetry(run) if ledger is not None else _Mute(run)
    with BatchLog(log, run) as lines:
        runner = Runner(
            run=run,
            evolution=Evolution(PLAN),
            market=visible(MARKET, SETTINGS),
            settings=SETTINGS,
            ledger=ledger if ledger is not None else cast(Ledger, _NoLedger()),
            evaluator=evaluator,
            fall_back=_no_fall_back,
            log=lines,
            on_progress=lambda _: None,
            telemetry=telemetry,
        )
        runner.warm_up()
        with _scraped(telemetry) if ledger is not None else nullcontext():
            cpu = time.process_time()
            summary = runner.go()
            cpu = time.process_time() - cpu
    return _Taken(
        seconds=summary.seconds,
        coordinator=cpu,
        evaluations=summary.cpu_seconds,
        digest=summary.digest,
    )


@contextmanager
def _scraped(telemetry: Telemetry) -> Iterator[None]:
    """Render the Prometheus response every second."""
    over = threading.Event()

    def scrape() -> None:
        while not over.wait(SCRAPE_SECONDS):
            generate_latest(telemetry.registry)

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _no_fall_back(error: ClusterError) -> LocalEvaluator:
    raise error


@pytest.mark.parametrize("kind", ["SQLite", "PostgreSQL"])
def test_overhead(benchmark: BenchmarkFixture, tmp_path: Path, effort: Effort, kind: str) -> None:
    """Pairs of runs with equal histories; the order alternates."""
    # For root the server runs as nobody, who cannot enter pytest's folder.
    with tempfile.TemporaryDirectory(prefix="ga-benchmark-") as place:
        Path(place).chmod(0o711)
        server = datastores.start_postgres("benchmark", Path(place)) if kind != "SQLite" else None
        store = f"sqlite:///{tmp_path}/ledger.db" if server is None else server.url
        try:
            bare, kept = _pairs(benchmark, store, tmp_path / "log.jsonl", effort)
        finally:
            if server is not None:
                server.process.terminate()
                server.process.wait()
    assert len({one.digest for one in bare + kept}) == 1
    wall = geometric_mean([k.seconds / b.seconds for b, k in zip(bare, kept, strict=True)])
    more = [
        (k.coordinator - b.coordinator) / (b.coordinator + b.evaluations)
        for b, k in zip(bare, kept, strict=True)
    ]
    cpu = mean(more)
    benchmark.extra_info.update(
        suite="overhead",
        label=f"ledger ({kind}), log and telemetry",
        unit="% of time",
        samples=[100.0 * (k.seconds / b.seconds - 1.0) for b, k in zip(bare, kept, strict=True)],
        lower_is_better=True,
        note=f"mean {wall.point - 1.0:+.1%}, at most {wall.upper - 1.0:+.1%} (95 %); CPU"
        f" {cpu.point:+.1%}, at most {cpu.upper:+.1%}; {PLAN.population_size} x"
        f" {PLAN.generations}, 2 x 10,000 bars",
    )


def _pairs(
    benchmark: BenchmarkFixture, store: str, log: Path, effort: Effort
) -> tuple[list[_Taken], list[_Taken]]:
    seen = visible(MARKET, SETTINGS)
    families = tuple(FAMILIES)
    evaluator = LocalEvaluator(market=seen, settings=SETTINGS, families=families, workers=1)
    bare: list[_Taken] = []
    kept: list[_Taken] = []
    with closing(evaluator), closing(open_ledger(store, create=True)) as ledger:

        def pair() -> None:
            def without() -> None:
                bare.append(_evolve(evaluator, None, None))

            def with_it() -> None:
                kept.append(_evolve(evaluator, ledger, log))

            for arm in (without, with_it) if len(bare) % 2 else (with_it, without):
                arm()

        timed(benchmark, pair, rounds=effort.whole_rounds + 1, warm_up=1)
    return bare[1:], kept[1:]
