"""Whole evolutions in local mode: the command on hourly EUR/USD, and 10,000 backtests of five
assets, compared with a DEAP loop around vectorbt.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from evolution_gate.benchmarks.rounds import timed
from evolution_gate.benchmarks.samples import Effort
from ga.backtest.panel import panels
from ga.errors import ClusterError
from ga.evaluation import evaluate
from ga.evaluation.folds import visible
from ga.evaluation.settings import Outcome, Settings, evaluation_keys
from ga.event_log import BatchLog
from ga.evolution import Evolution, Plan
from ga.execution.local import LocalEvaluator
from ga.families import FAMILIES
from ga.ledger import open_ledger
from ga.market import Market
from ga.runner import Runner, Summary
from ga.sources import MarketSpec, synthetic

POPULATION = 200


@pytest.mark.parametrize("workers", sorted({1, os.cpu_count() or 1}))
def test_evolve(benchmark: BenchmarkFixture, tmp_path: Path, effort: Effort, workers: int) -> None:
    """Evaluations per second from the first evaluation to the last commit, without start-up."""
    argv = [sys.executable, "-m", "ga", "evolve", "--market", "eurusd", "--seed", "7", "--json"]
    argv += ["--mode", "local", "--workers", str(workers)]
    argv += ["--population-size", str(POPULATION), "--generations", str(effort.generations)]
    argv += ["--store", str(tmp_path / "ledger.db")]
    results = []

    def evolve() -> None:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout))

    timed(benchmark, evolve, rounds=effort.whole_rounds, warm_up=1)
    measured = results[1:]
    assert len({r["digest"] for r in results}) == 1
    start = min(r["startup_seconds"] for r in measured)
    benchmark.extra_info.update(
        suite="evolution",
        label=f"evolve, {workers} worker{'s' if workers > 1 else ''}",
        unit="evaluations/s",
        samples=[r["evaluations_per_second"] for r in measured],
        note=f"{POPULATION} x {effort.generations} on 5,000 bars; without {start:.1f} s of "
        "start-up",
    )


ASSETS, BARS, INDIVIDUALS, GENERATIONS = 5, 5760, 500, 20
RULES = tuple(name for name, family in FAMILIES.items() if not family.learned)


def test_start(benchmark: BenchmarkFixture, tmp_path: Path, effort: Effort) -> None:
    """Time from process start to the first evaluation, with compiled kernels."""
    argv = [sys.executable, "-m", "ga", "evolve", "--market", "eurusd", "--workers", "1", "--json"]
    argv += ["--population-size", "1", "--generations", "1", "--top", "0"]
    argv += ["--families", "ema_crossover", "--store", str(tmp_path / "ledger.db")]
    starts: list[float] = []

    def begin() -> None:
        began = time.time()
        log = tmp_path / f"log{len(starts)}"
        done = subprocess.run([*argv, "--log", str(log)], capture_output=True, check=False)
        assert done.returncode == 0
        ready = [json.loads(line) for line in log.read_text().splitlines()]
        starts.append(next(line["at"] for line in ready if line["event"] == "ready") - began)

    timed(benchmark, begin, rounds=effort.whole_rounds, warm_up=1)
    benchmark.extra_info.update(
        suite="evolution", label="start, second process", unit="s", scale=1.0
    )
    benchmark.extra_info["seconds"] = starts[1:]
    benchmark.extra_info["note"] = f"to the first evaluation: {median(starts[1:]):.2f} s"


def test_ten_thousand(benchmark: BenchmarkFixture, tmp_path: Path, effort: Effort) -> None:
    """500 x 20 on 5 assets x 5,760 visible bars, rule families, with a ledger. One worker process,
    the coordinator and the ledger share one core.
    """
    market = synthetic(assets=ASSETS, bars=BARS * 5 // 4, seed=3)
    settings = Settings()
    seen = visible(market, settings)
    assert seen.bars == BARS
    plan = Plan(seed=1, population_size=INDIVIDUALS, generations=GENERATIONS, families=RULES)
    summaries: list[Summary] = []

    def evolve() -> None:
        ledger = open_ledger(f"sqlite:///{tmp_path}/{len(summaries)}.db", create=True)
        evaluator = LocalEvaluator(market=seen, settings=settings, families=RULES, workers=1)
        spec = MarketSpec(spec=market.name)
        run = ledger.begin(market=market, spec=spec, plan=plan, settings=settings, mode="local")
        runner = Runner(
            run=run,
            evolution=Evolution(plan),
            market=seen,
            settings=settings,
            ledger=ledger,
            evaluator=evaluator,
            fall_back=_no_fall_back,
            log=BatchLog(None),
            on_progress=lambda _: None,
        )
        with closing(ledger), closing(evaluator), _one_core():
            summaries.append(runner.go())

    timed(benchmark, evolve, rounds=effort.whole_rounds, warm_up=1)
    measured = summaries[1:]
    assert len({s.digest for s in summaries}) == 1
    inside, banks = _kernels(seen, settings, plan)
    # Workers build the banks during the warm-up, before the clock starts.
    shares = [(inside * s.cpu_seconds + banks) / (s.seconds + banks) for s in measured]
    benchmark.extra_info.update(
        suite="ten thousand backtests",
        label="this engine",
        unit="evaluations/s",
        samples=[s.evaluations / s.seconds for s in measured],
        note=f"{INDIVIDUALS} x {GENERATIONS}, {ASSETS} x {BARS} bars, SQLite, one core;"
        f" {median(shares):.0%} of the time in kernels, {banks:.2f} s of it for indicator banks",
    )


@contextmanager
def _one_core() -> Iterator[None]:
    """Pin this process and its current workers to one core."""
    before = os.sched_getaffinity(0)
    for pid in (0, *(process.pid for process in multiprocessing.active_children())):
        os.sched_setaffinity(pid or 0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _kernels(seen: Market, settings: Settings, plan: Plan) -> tuple[float, float]:
    """Share of the evaluations' CPU time in kernels, over all evaluations of the run, and the CPU
    seconds of building all indicator banks once.
    """
    spent, cold = [0.0], []

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*args: Any) -> Any:
            began = time.thread_time()
            found = real(*args)
            spent[0] += time.thread_time() - began
            return found

        return inner

    with pytest.MonkeyPatch.context() as patch:
        for name in ("measure", "score"):
            patch.setattr(evaluate, name, watched(getattr(evaluate, name)))
        for again in range(10):
            if again % 2 == 0:
                for panel in panels(seen):
                    panel.forget()
            before = spent[0]
            evaluate.evaluate_batch(seen, settings, Evolution(plan).ask())
            cold.append(spent[0] - before)
        evolution, known, whole = Evolution(plan), dict[str, Outcome](), 0.0
        spent[0] = 0.0
        while not evolution.done:
            population = evolution.ask()
            keys = evaluation_keys(population, seen.hash, settings)
            new = {k: g for k, g in zip(keys, population, strict=True) if k not in known}
            batch = evaluate.evaluate_batch(seen, settings, list(new.values()))
            whole += batch.cpu_seconds
            known |= zip(new, batch.outcomes, strict=True)
            evolution.tell([known[key] for key in keys])
    return spent[0] / whole, median(a - b for a, b in zip(cold[::2], cold[1::2], strict=True))


def _no_fall_back(error: ClusterError) -> LocalEvaluator:
    raise error


@pytest.mark.filterwarnings("ignore")
def test_deap_around_vectorbt(benchmark: BenchmarkFixture, effort: Effort) -> None:
    """A straightforward alternative: DEAP's eaSimple, each individual an EMA crossover in
    vectorbt.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from deap import algorithms, base, creator, tools

        from evolution_gate.benchmarks.bench_peers import with_vectorbt
    market = visible(synthetic(assets=ASSETS, bars=BARS * 5 // 4, seed=3), Settings())
    parts = [one_asset(market, a) for a in range(ASSETS)]
    random.seed(1)
    if not hasattr(creator, "Pair"):
        creator.create("Up", base.Fitness, weights=(1.0,))
        creator.create("Pair", list, fitness=creator.Up)
    box = base.Toolbox()
    box.register("fast", random.randint, 5, 15)
    box.register("slow", random.randint, 18, 34)
    box.register("individual", tools.initCycle, creator.Pair, (box.fast, box.slow), 1)
    box.register("population", tools.initRepeat, list, box.individual)
    box.register("mate", tools.cxUniform, indpb=0.5)
    box.register("mutate", tools.mutUniformInt, low=[5, 18], up=[15, 34], indpb=0.5)
    box.register("select", tools.selTournament, tournsize=3)
    done = [0]

    def score(pair: list[int]) -> tuple[float]:
        done[0] += 1
        ratios = [
            float(np.squeeze(with_vectorbt(part, [(pair[0], pair[1])]).sharpe_ratio()))
            for part in parts
        ]
        return (sum(ratios) / len(ratios),)

    box.register("evaluate", score)
    rates: list[float] = []

    def evolve() -> None:
        done[0] = 0
        began = time.perf_counter()
        algorithms.eaSimple(box.population(8), box, cxpb=0.9, mutpb=0.5, ngen=2, verbose=False)
        rates.append(done[0] / (time.perf_counter() - began))

    timed(benchmark, evolve, rounds=max(2, effort.whole_rounds // 2), warm_up=1)
    benchmark.extra_info.update(
        suite="ten thousand backtests",
        label="DEAP around vectorbt",
        unit="evaluations/s",
        samples=rates[1:],
        note="measured on 8 x 2 individuals, one EMA crossover on each of the 5 assets",
    )


def one_asset(market: Market, asset: int) -> Market:
    """One asset of a market, without funding."""
    part = slice(asset, asset + 1)
    names = ("open", "high", "low", "close", "volume")
    arrays = {name: getattr(market, name)[part].copy() for name in names}
    return Market(name=market.name, assets=market.assets[part], times=market.times.copy(), **arrays)
