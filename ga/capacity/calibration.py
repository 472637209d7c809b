"""``plan --measure``: measures evaluations, the coordinator and batches on this machine."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np

from ga.capacity.calibration_file import Baseline, FamilyCost, this_machine
from ga.evaluation.evaluate import Batch, evaluate
from ga.evaluation.folds import visible
from ga.evaluation.settings import Outcome, Settings
from ga.evolution import Evolution, Plan
from ga.execution.pool import Pool
from ga.execution.protocol import BatchResult, CostModel, warmup_genomes
from ga.execution.ray.dispatcher import Dispatcher
from ga.families import FAMILIES
from ga.genome import Genome
from ga.ledger import open_ledger
from ga.market import Market
from ga.operators import Purpose, keyed, scatter
from ga.population import Fitnesses, hex_keys
from ga.sources import MarketSpec, synthetic

REPEATS: Final = 7
MARKETS: Final = ((1, 2_500), (2, 20_000))
"""Assets and bars of the small and of the large market."""
POPULATIONS: Final = (250, 2_000)
NODES: Final = (1, 16, 128)
"""Numbers of nodes with 8 slots for which dispatching is measured."""
SLOTS: Final = 8
_RULE_GENOMES: Final = 64
_LEARNED_GENOMES: Final = 8
_BATCHES: Final = 200


def measure(
    say: Callable[[str], None],
    *,
    repeats: int = REPEATS,
    families: Sequence[str] = tuple(FAMILIES),
) -> Baseline:
    """Measure everything; under a minute on one core, without the compilation of kernels."""
    settings = Settings()
    markets = [visible(synthetic(assets=a, bars=n, seed=1), settings) for a, n in MARKETS]
    cells = [len(market.assets) * market.bars for market in markets]
    found = {}
    for name in families:
        say(f"evaluations of {name}")
        found[name] = _family(name, markets, settings, repeats)
    say("breeding and commits")
    breeding, commits = [], []
    for size in POPULATIONS:
        bred, committed = _coordinator(size, markets[0], settings, repeats)
        breeding.append(bred)
        commits.append(committed)
    say("handing out")
    dispatch = tuple(_dispatch(nodes, repeats) for nodes in NODES)
    return Baseline(
        machine=this_machine(),
        measured_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        cells=(cells[0], cells[1]),
        families=found,
        populations=POPULATIONS,
        breeding=(breeding[0], breeding[1]),
        commit=(commits[0], commits[1]),
        in_flight=tuple(2 * SLOTS * nodes for nodes in NODES),
        dispatch=dispatch,
        task=_task(markets[0], settings, repeats),
    )


def _family(name: str, markets: Sequence[Market], settings: Settings, repeats: int) -> FamilyCost:
    """Each repeat uses other random genomes, the same on both markets."""
    family = FAMILIES[name]
    count = _LEARNED_GENOMES if family.learned else _RULE_GENOMES
    rows = scatter(family, keyed(1, Purpose.AUDIT, 0).random((count * repeats, len(family.genes))))
    found: list[list[float]] = []
    for market in markets:
        evaluate(
            market, settings, warmup_genomes([name])
        )  # Indicator banks and kernels are ready now.
        times = []
        for part in np.split(rows, repeats):
            genomes = [Genome(name, tuple(row)) for row in part.tolist()]
            began = time.thread_time()
            evaluate(market, settings, genomes)
            times.append((time.thread_time() - began) / count)
        found.append(times)
    return FamilyCost(small=tuple(found[0]), large=tuple(found[1]))


def _coordinator(
    size: int, market: Market, settings: Settings, repeats: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Seconds for a generation's keys, digest and breeding, and for its commit."""
    plan = Plan(seed=1, population_size=size, generations=repeats + 1)
    evolution = Evolution(plan)
    dice = keyed(1, Purpose.AUDIT, 1)
    bred, committed = [], []
    with tempfile.TemporaryDirectory(prefix="ga-plan-") as place:
        ledger = open_ledger(str(Path(place) / "ledger.db"), create=True)
        with closing(ledger):
            run = ledger.begin(
                market=market,
                spec=MarketSpec(spec=market.name),
                plan=plan,
                settings=settings,
                mode="local",
            )
            known: set[str] = set()
            for generation in range(repeats):
                began = time.perf_counter()
                population, values = evolution.population, dice.random(size)
                packed = population.keys(market.hash, settings)
                failed = np.zeros(size, np.bool_)
                evolution.tell_arrays(Fitnesses(keys=packed, values=values, failed=failed))
                bred.append(time.perf_counter() - began)
                keys = hex_keys(packed)
                outcomes = [
                    Outcome(key=key, fitness=fitness)
                    for key, fitness in zip(keys, values.tolist(), strict=True)
                ]
                fresh = {key: 1 for key in keys if key not in known}
                known.update(keys)
                began = time.perf_counter()
                ledger.commit(
                    run,
                    generation=generation,
                    population=population.genomes,
                    outcomes=outcomes,
                    fresh=fresh,
                    digest=evolution.digest,
                    seconds=1.0,
                    mode="local",
                    last=False,
                )
                committed.append(time.perf_counter() - began)
    return tuple(bred), tuple(committed)


class _InstantFleet:
    """Nodes that answer at once, one batch at a time, so that only the dispatcher's own work is
    measured.
    """

    def __init__(self, nodes: int) -> None:
        self._nodes = {f"n{number}": SLOTS for number in range(nodes)}
        self._sizes: dict[int, int] = {}
        self.launched_at: list[float] = []

    def nodes(self) -> Mapping[str, int]:
        return self._nodes

    def address(self, node: str) -> str:
        return node

    def launch(self, genomes: Sequence[Genome], node: str, *, apart: bool) -> int:
        del node, apart
        handle = len(self.launched_at)
        self.launched_at.append(time.perf_counter())
        self._sizes[handle] = len(genomes)
        return handle

    def wait(self, handles: Collection[int], seconds: float) -> Sequence[int]:
        del handles, seconds
        return [next(iter(self._sizes))]

    def result(self, handle: int) -> Sequence[BatchResult]:
        size = self._sizes.pop(handle)
        outcomes = tuple(Outcome(key="0", fitness=0.0) for _ in range(size))
        batch = Batch(outcomes=outcomes, cpu_seconds=1.0, started_at=0.0, finished_at=0.0)
        return [BatchResult(indices=tuple(range(size)), batch=batch, node="n0")]

    def cancel(self, handle: int, *, force: bool) -> None:
        del handle, force


class _OneEach(CostModel):
    """Every genome fills a batch."""

    def estimate(self, family: str) -> float:
        del family
        return 1.0


def _dispatch(nodes: int, repeats: int) -> tuple[float, ...]:
    """The dispatcher's seconds per batch when every slot has two batches."""
    fleet, full = _InstantFleet(nodes), 2 * SLOTS * nodes
    genome = warmup_genomes(["ema_crossover"])[0]
    dispatcher = Dispatcher(
        fleet=fleet,
        costs=_OneEach(),
        genomes=[genome] * (full + _BATCHES * repeats + 1),
        key=lambda one: one.hash,
        patience=60.0,
        beat=lambda: None,
        on_dispatch=lambda _indices, _node: None,
    )
    for _ in dispatcher.run():
        if len(fleet.launched_at) > full + _BATCHES * repeats:
            break
    marks = np.array(fleet.launched_at[full : full + _BATCHES * repeats + 1])[::_BATCHES]
    return tuple((np.diff(marks) / _BATCHES).tolist())


def _task(market: Market, settings: Settings, repeats: int) -> tuple[float, ...]:
    """Wall seconds of a round trip of one genome to a worker process, without its evaluation."""
    genome = warmup_genomes(["ema_crossover"])
    found = []
    with closing(Pool(market=market, settings=settings, workers=1)) as pool:
        pool.wait_up()
        list(pool.run(genome, [(0,)] * _BATCHES))
        for _ in range(repeats):
            began = time.perf_counter()
            spent = sum(r.batch.cpu_seconds for r in pool.run(genome, [(0,)] * _BATCHES))
            found.append(max(time.perf_counter() - began - spent, 1e-9) / _BATCHES)
    return tuple(found)
