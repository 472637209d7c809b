"""One small evolution with every part of it exchangeable, and what its ledger then holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from ga.errors import ClusterError
from ga.evaluation.folds import visible
from ga.evaluation.settings import Settings
from ga.event_log import BatchLog
from ga.evolution import Evolution, Plan
from ga.execution.local import LocalEvaluator
from ga.execution.protocol import BatchResult, Evaluator, NodeReport, UnansweredAttempts
from ga.genome import Genome
from ga.ledger import open_ledger
from ga.market import Market
from ga.metrics import Telemetry
from ga.result_cache import Cache
from ga.runner import Progress, Runner, Summary
from ga.sources import MarketSpec

PLAN = Plan(seed=3, population_size=40, generations=4)


class Disturbed:
    """A local evaluator in small batches, with something done before each generation's work."""

    mode = "distributed"
    workers = 1

    def __init__(self, inner: Evaluator, before: Callable[[int], None]) -> None:
        self._inner, self._before, self._calls = inner, before, 0

    def warm_up(self) -> None:
        pass

    def evaluate(self, genomes: Sequence[Genome]) -> Iterator[BatchResult]:
        self._before(self._calls)
        self._calls += 1
        for at in range(0, len(genomes), 7):
            for result in self._inner.evaluate(genomes[at : at + 7]):
                yield replace(result, indices=tuple(at + i for i in result.indices))

    @property
    def nodes(self) -> Sequence[NodeReport]:
        return self._inner.nodes

    @property
    def unanswered_attempts(self) -> UnansweredAttempts:
        return self._inner.unanswered_attempts

    def close(self) -> None:
        self._inner.close()


class Engine:
    """Evolves a plan on a ledger of its own, in this process."""

    def __init__(self, market: Market, settings: Settings, folder: Path, plan: Plan = PLAN) -> None:
        self._plan = plan
        self._market, self._settings = market, settings
        self._seen = visible(market, settings)
        self._folder = folder
        self.log = folder / "log.jsonl"
        self.store = ""

    def start(self, name: str) -> str:
        """Begin a run on the ledger ``name``; returns its id."""
        self.store = str(self._folder / name)
        with closing(open_ledger(self.store, create=True)) as ledger:
            return ledger.begin(
                market=self._market,
                spec=MarketSpec(spec="planted"),
                plan=self._plan,
                settings=self._settings,
                mode="local",
            )

    def local(self) -> Evaluator:
        return LocalEvaluator(
            market=self._seen, settings=self._settings, families=self._plan.families, workers=1
        )

    def go(
        self,
        run: str,
        *,
        cache: Cache | None = None,
        telemetry: Telemetry | None = None,
        before: Callable[[int], None] | None = None,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> Summary:
        def fall_back(_: ClusterError) -> Evaluator:
            return self.local()

        with (
            closing(open_ledger(self.store, create=False)) as ledger,
            BatchLog(self.log, run) as log,
        ):
            runner = Runner(
                run=run,
                evolution=Evolution(self._plan),
                market=self._seen,
                settings=self._settings,
                ledger=ledger,
                evaluator=self.local() if before is None else Disturbed(self.local(), before),
                fall_back=fall_back,
                log=log,
                on_progress=on_progress,
                cache=cache,
                telemetry=telemetry,
            )
            try:
                return runner.go()
            finally:
                runner.evaluator.close()

    def rows(self, query: str) -> list[tuple]:
        """The rows of a query on the ledger."""
        engine = sa.create_engine(f"sqlite:///{self.store}")
        with engine.connect() as connection:
            rows = [tuple(row) for row in connection.execute(sa.text(query))]
        engine.dispose()
        return rows
