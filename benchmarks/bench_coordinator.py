"""The coordinator's CPU time per individual and per batch, beside that of other code.

Both run in turn in one process, so that a busy machine slows both; the note gives the ratio. The
previous code is in ``object_evolution``, ``recounting_dispatcher`` and here. The CPU time of a
database server is not included.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
import pytest
import sqlalchemy as sa
from pytest_benchmark.fixture import BenchmarkFixture

from evolution_gate.benchmarks.object_evolution import ObjectEvolution
from evolution_gate.benchmarks.recounting_dispatcher import RecountingDispatcher
from evolution_gate.benchmarks.rounds import timed
from evolution_gate.benchmarks.samples import Effort
from evolution_gate.fixtures.services import datastores
from ga.evaluation.evaluate import Batch
from ga.evaluation.settings import Outcome, Settings, evaluation_keys
from ga.evolution import Evolution, Plan
from ga.execution.protocol import BatchResult, CostModel, warmup_genomes
from ga.execution.ray.dispatcher import Dispatcher
from ga.genome import Genome
from ga.ledger import Ledger, open_ledger
from ga.ledger.bulk_insert import insert, text
from ga.operators import Purpose, keyed
from ga.population import Fitnesses, hex_keys
from ga.sources import MarketSpec, synthetic

SETTINGS: Final = Settings()
MARKET: Final = synthetic(assets=1, bars=2500, seed=1)
POPULATION: Final = 20_000
SLOTS: Final = 8
BATCHES: Final = 200

Pairs = list[tuple[float, float]]
"""Microseconds of (the previous code, the present code)."""


def _report(
    benchmark: BenchmarkFixture, label: str, pairs: Pairs, note: str, *, other: str = "before"
) -> None:
    ratio = median(before / now for before, now in pairs)
    benchmark.extra_info.update(
        suite="coordinator",
        label=label,
        unit="us",
        lower_is_better=True,
        samples=[now for _, now in pairs],
        note=f"{other} {median(b for b, _ in pairs):.3g} us, {ratio:.2f} times as much; {note}",
    )


def _cpu_us(work: Callable[[], object], count: int) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) / count * 1e6


def test_breeding(benchmark: BenchmarkFixture, effort: Effort) -> None:
    """Keys, digest and breeding of one generation, per individual."""
    rounds = effort.rounds
    plan = Plan(seed=1, population_size=POPULATION, generations=rounds + 2)
    before, now = ObjectEvolution(plan), Evolution(plan)
    dice = keyed(1, Purpose.AUDIT, 1)
    pairs: Pairs = []

    def both() -> None:
        values = dice.random(POPULATION)
        outcomes: list[Outcome] = []

        def keys() -> None:
            found = evaluation_keys(before.ask(), MARKET.hash, SETTINGS)
            outcomes.extend(map(Outcome, found, values.tolist()))

        def arrays() -> None:
            packed = now.population.keys(MARKET.hash, SETTINGS)
            failed = np.zeros(POPULATION, np.bool_)
            now.tell_arrays(Fitnesses(keys=packed, values=values, failed=failed))

        # Results arrive as outcomes, which are counted for neither.
        fitnesses, names = values.tolist(), ["0" * 64] * POPULATION
        made = _cpu_us(lambda: list(map(Outcome, names, fitnesses)), POPULATION)
        old = _cpu_us(keys, POPULATION) - made
        old += _cpu_us(lambda: before.tell(outcomes), POPULATION)
        pairs.append((old, _cpu_us(arrays, POPULATION)))
        assert now.digest == before.digest

    timed(benchmark, both, rounds=rounds, warm_up=1)
    # The search itself has changed, so that this is the present one without arrays.
    _report(benchmark, "keys, digest and breeding", pairs[1:], "per individual", other="by objects")


class _InstantFleet:
    """Nodes that answer at once, one batch at a time, so that only the dispatcher works."""

    def __init__(self, nodes: int) -> None:
        self._nodes = {f"n{number}": SLOTS for number in range(nodes)}
        self._sizes: dict[int, int] = {}
        self.launched = 0

    def nodes(self) -> Mapping[str, int]:
        return self._nodes

    def address(self, node: str) -> str:
        return node

    def launch(self, genomes: Sequence[Genome], node: str, *, apart: bool) -> int:
        del node, apart
        self.launched += 1
        self._sizes[self.launched] = len(genomes)
        return self.launched

    def wait(self, handles: Collection[int], seconds: float) -> Sequence[int]:
        del handles, seconds
        return [next(iter(self._sizes))]

    def result(self, handle: int) -> Sequence[BatchResult]:
        size = self._sizes.pop(handle)
        outcomes = (Outcome(key="0", fitness=0.0),) * size
        batch = Batch(outcomes=outcomes, cpu_seconds=1.0, started_at=0.0, finished_at=0.0)
        return [BatchResult(indices=tuple(range(size)), batch=batch, node="n0")]

    def cancel(self, handle: int, *, force: bool) -> None:
        del handle, force


class _OneEach(CostModel):
    """Every genome fills a batch."""

    def estimate(self, family: str) -> float:
        del family
        return 1.0


def _batches(
    kind: type[Dispatcher[int]] | type[RecountingDispatcher[int]], nodes: int, rounds: int
) -> Iterator[float]:
    """Microseconds per batch while every slot has two batches, round by round."""
    fleet, full = _InstantFleet(nodes), 2 * SLOTS * nodes
    results = kind(
        fleet=fleet,
        costs=_OneEach(),
        genomes=warmup_genomes(["ema_crossover"]) * (full + BATCHES * (rounds + 2)),
        key=lambda genome: genome.hash,
        patience=60.0,
        beat=lambda: None,
        on_dispatch=lambda _indices, _node: None,
    ).run()
    next(results)
    for _ in range(rounds):
        yield _cpu_us(lambda: [next(results) for _ in range(BATCHES)], BATCHES)


@pytest.mark.parametrize("nodes", [1, 16, 64])
def test_dispatch(benchmark: BenchmarkFixture, effort: Effort, nodes: int) -> None:
    """Handing out one batch, taking its result, and deciding what comes next."""
    rounds = effort.rounds
    before, now = (
        _batches(kind, nodes, rounds + 1) for kind in (RecountingDispatcher[int], Dispatcher[int])
    )
    pairs: Pairs = []
    timed(benchmark, lambda: pairs.append((next(before), next(now))), rounds=rounds, warm_up=1)
    _report(benchmark, _label(nodes), pairs[1:], "without Ray")


def test_dispatch_to_a_thousand_nodes(benchmark: BenchmarkFixture, effort: Effort) -> None:
    """The same, where the previous code would take minutes until every slot has its batches."""
    now, found = _batches(Dispatcher[int], 1000, effort.rounds + 1), list[float]()
    timed(benchmark, lambda: found.append(next(now)), rounds=effort.rounds, warm_up=1)
    benchmark.extra_info.update(
        suite="coordinator",
        label=_label(1000),
        unit="us",
        lower_is_better=True,
        samples=found[1:],
        note="without Ray",
    )


def _label(nodes: int) -> str:
    return f"a batch, {2 * SLOTS * nodes:,} in flight on {nodes:,} nodes"


def _rows_before(
    run: str,
    generation: int,
    population: Sequence[Genome],
    outcomes: Sequence[Outcome],
    fresh: Mapping[str, int],
) -> list[tuple[object, ...]]:
    new: dict[str, tuple[object, ...]] = {}
    for (family, genes), outcome in zip(population, outcomes, strict=True):
        key, fitness, trades, drawdown, error = outcome
        if key in fresh:
            values = repr([*genes]), fitness, trades, drawdown, text(error)
            new[key] = (run, key, family, *values, generation, fresh[key])
    return list(new.values())


def _insert_before(
    connection: sa.Connection, table: sa.Table, rows: Sequence[tuple[object, ...]]
) -> None:
    if not rows or connection.dialect.name == "postgresql":
        insert(connection, table, rows)
        return
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    marks = ", ".join("?" * len(table.columns))
    cursor = connection.connection.cursor()
    cursor.executemany(f'INSERT INTO "{table.name}" ({columns}) VALUES ({marks})', rows)
    cursor.close()


@contextmanager
def _previous_commit() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ga.ledger.store.evaluation_rows", _rows_before)
        patch.setattr("ga.ledger.store.insert", _insert_before)
        yield


@pytest.mark.parametrize("kind", ["SQLite", "PostgreSQL"])
def test_commit(benchmark: BenchmarkFixture, tmp_path: Path, effort: Effort, kind: str) -> None:
    """A generation of new individuals in one transaction, per individual."""
    if kind == "SQLite":
        stores = [f"sqlite:///{tmp_path}/{name}.db" for name in ("before", "now")]
        _commits(benchmark, stores, effort, kind)
        return
    # Not below pytest's folder: for root the server runs as nobody, who cannot enter it.
    with tempfile.TemporaryDirectory(prefix="ga-benchmark-") as place:
        Path(place).chmod(0o711)
        postgres = datastores.start_postgres("benchmark", Path(place))
        try:
            _commits(benchmark, [postgres.url] * 2, effort, kind)
        finally:
            postgres.process.terminate()
            postgres.process.wait()


def _commits(benchmark: BenchmarkFixture, stores: Sequence[str], effort: Effort, kind: str) -> None:
    rounds = max(effort.whole_rounds + 2, 5)
    plan = Plan(seed=1, population_size=POPULATION, generations=rounds + 2)
    evolution, dice = Evolution(plan), keyed(1, Purpose.AUDIT, 1)
    pairs: Pairs = []
    known: set[str] = set()
    with (
        closing(open_ledger(stores[0], create=True)) as first,
        closing(open_ledger(stores[1], create=True)) as second,
    ):
        spec = MarketSpec(spec=MARKET.name)
        ledgers: list[tuple[Ledger, str]] = []
        for ledger in (first, second):
            run = ledger.begin(market=MARKET, spec=spec, plan=plan, settings=SETTINGS, mode="local")
            ledgers.append((ledger, run))

        def both() -> None:
            generation, population = evolution.generation, evolution.ask()
            keys = hex_keys(evolution.population.keys(MARKET.hash, SETTINGS))
            values = dice.random(POPULATION).tolist()
            outcomes = [Outcome(k, v, 17, v / 3) for k, v in zip(keys, values, strict=True)]
            evolution.tell(outcomes)
            fresh = {key: 1 for key in keys if key not in known}
            known.update(fresh)

            def commit(ledger: Ledger, run: str) -> None:
                ledger.commit(
                    run,
                    generation=generation,
                    population=population,
                    outcomes=outcomes,
                    fresh=fresh,
                    digest=evolution.digest,
                    seconds=1.0,
                    mode="local",
                    last=False,
                )

            with _previous_commit():
                old = _cpu_us(lambda: commit(*ledgers[0]), POPULATION)
            pairs.append((old, _cpu_us(lambda: commit(*ledgers[1]), POPULATION)))

        timed(benchmark, both, rounds=rounds, warm_up=1)
    _report(
        benchmark, f"commit, {kind}", pairs[1:], f"per individual of {POPULATION:,} in a generation"
    )
