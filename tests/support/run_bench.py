"""One run of the engine on evaluators that fail as they are told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from ga.errors import ClusterError
from ga.evaluation.evaluate import evaluate, evaluate_batch
from ga.evaluation.folds import visible
from ga.evaluation.settings import Settings
from ga.event_log import BatchLog
from ga.evolution import Evolution, Plan
from ga.execution.protocol import BatchResult, NodeReport, UnansweredAttempts
from ga.genome import Genome
from ga.ledger import open_ledger
from ga.market import Market
from ga.runner import Runner
from ga.sources import MarketSpec

PLAN = Plan(seed=9, population_size=40, generations=4)


class Fake:
    """An evaluator in this process: shuffles batches, and can be told to fail."""

    def __init__(self, market, settings, *, mode="distributed", seed=0, lose_after=None, **faults):
        self._market, self._settings, self._mode = market, settings, mode
        self._rng = np.random.default_rng(seed)
        self._left = lose_after
        self._faults = faults
        self.closed = False
        self._calls = 0
        self.asked: list[Genome] = []

    @property
    def mode(self) -> str:
        return self._mode

    @property
    def workers(self) -> int:
        return 3

    @property
    def nodes(self) -> Sequence[NodeReport]:
        return self._faults.get("nodes", ())

    @property
    def unanswered_attempts(self) -> UnansweredAttempts:
        return self._faults.get("unanswered", {})

    def warm_up(self) -> None:
        if self._faults.get("never_starts"):
            raise ClusterError("planted: never started")

    def evaluate(self, genomes: Sequence[Genome]) -> Iterator[BatchResult]:
        self.asked += genomes
        self._calls += 1
        if self._calls > 40:
            pytest.fail("asked again and again")
        order = np.arange(len(genomes))
        if self._faults.get("shuffles", True):
            self._rng.shuffle(order)
        batches = [tuple(int(i) for i in order[at : at + 7]) for at in range(0, len(order), 7)]
        if self._faults.get("drops_a_batch"):
            batches = batches[1:]
        if self._faults.get("doubles_a_batch"):
            batches = [*batches, *batches[:2]]
        for indices in batches:
            if self._left is not None:
                self._left -= 1
                if self._left < 0:
                    raise self._faults.get("error", ClusterError("planted: lost"))
            batch = evaluate_batch(self._market, self._settings, [genomes[i] for i in indices])
            yield BatchResult(
                indices=indices, batch=batch, node="fake", tried=self._faults.get("tried", ())
            )

    def close(self) -> None:
        self.closed = True


class Bench:
    """Runs ``PLAN`` on a ledger of its own."""

    fallbacks: list[str]
    locals: list[Fake]

    def __init__(self, market: Market, settings: Settings, folder: Path) -> None:
        self._market, self._settings = market, settings
        self.seen = visible(market, settings)
        self.store = str(folder / "ledger.db")

    def fake(self, **faults) -> Fake:
        return Fake(self.seen, self._settings, **faults)

    def start(self, ledger) -> str:
        return ledger.begin(
            market=self._market,
            spec=MarketSpec(spec="planted"),
            plan=PLAN,
            settings=self._settings,
            mode="local",
        )

    def go(
        self,
        evaluator,
        *,
        ledger=None,
        run=None,
        evolution=None,
        log=None,
        on=None,
        stand_by=None,
    ):
        self.fallbacks, self.locals = [], []

        def fall_back(error: ClusterError) -> Fake:
            self.fallbacks.append(str(error))
            if len(self.fallbacks) > 3:
                pytest.fail("fell back again and again")
            self.locals.append(self.fake(mode="local", seed=99))
            return self.locals[-1]

        with (
            closing(ledger or open_ledger(self.store, create=True)) as opened,
            BatchLog(log) as batches,
        ):
            run = run or self.start(opened)
            runner = Runner(
                run=run,
                evolution=evolution or Evolution(PLAN),
                market=self.seen,
                settings=self._settings,
                ledger=opened,
                evaluator=evaluator,
                fall_back=fall_back,
                log=batches,
                on_progress=on or (lambda _: None),
                known=opened.evaluated(run),
                stand_by=stand_by,
            )
            return runner.go()

    def counts(self) -> dict[str, int]:
        engine = sa.create_engine(f"sqlite:///{self.store}")
        names = ("runs", "generations", "evaluations", "individuals")
        with engine.connect() as connection:
            found = {
                n: connection.execute(sa.text(f"SELECT count(*) FROM {n}")).scalar_one()
                for n in names
            }
        engine.dispose()
        return found


def undisturbed_digest(market: Market, settings: Settings) -> str:
    """The undisturbed history, without runner or ledger."""
    evolution, seen = Evolution(PLAN), visible(market, settings)
    while not evolution.done:
        evolution.tell(evaluate(seen, settings, evolution.ask()))
    return evolution.digest
