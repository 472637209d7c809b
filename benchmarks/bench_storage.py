"""Storage: commits to the ledger, and the cache; also batch sizes and memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from evolution_gate.benchmarks.bench_kernels import RULES, genes_of
from evolution_gate.benchmarks.rounds import timed
from evolution_gate.benchmarks.samples import Effort
from evolution_gate.fixtures.services import datastores
from ga.evaluation.folds import visible
from ga.evaluation.settings import Outcome, Settings, evaluation_key
from ga.evolution import Evolution, Plan
from ga.execution.pool import Pool
from ga.genome import Genome
from ga.ledger import open_ledger
from ga.result_cache import open_cache
from ga.sources import MarketSpec, synthetic

SETTINGS = Settings()
MARKET = visible(synthetic(assets=1, bars=2500, seed=1), SETTINGS)
POPULATION = 2_000
BATCHED = 1_200


def _generations(count: int) -> Iterator[tuple[list[Genome], list[Outcome], str]]:
    evolution = Evolution(Plan(seed=1, population_size=POPULATION, generations=count + 1))
    for _ in range(count):
        population = list(evolution.ask())
        outcomes = [
            Outcome(key=evaluation_key(genome, MARKET.hash, SETTINGS), fitness=float(number))
            for number, genome in enumerate(population)
        ]
        evolution.tell(outcomes)
        yield population, outcomes, evolution.digest


@pytest.mark.parametrize("kind", ["SQLite", "PostgreSQL"])
def test_ledger(benchmark: BenchmarkFixture, tmp_path: Path, effort: Effort, kind: str) -> None:
    """Committed individuals per second, one generation per transaction, all of them new."""
    if kind == "SQLite":
        _commits(benchmark, f"sqlite:///{tmp_path}/ledger.db", effort, kind)
        return
    # Not below pytest's folder: for root the server runs as nobody, who cannot enter it.
    with tempfile.TemporaryDirectory(prefix="ga-benchmark-") as place:
        Path(place).chmod(0o711)
        postgres = datastores.start_postgres("benchmark", Path(place))
        try:
            _commits(benchmark, postgres.url, effort, kind)
        finally:
            postgres.process.terminate()
            postgres.process.wait()


def _commits(benchmark: BenchmarkFixture, store: str, effort: Effort, kind: str) -> None:
    rounds = effort.whole_rounds + 2
    plan = Plan(seed=1, population_size=POPULATION, generations=rounds + 1)
    seconds: list[float] = []
    with closing(open_ledger(store, create=True)) as ledger:
        run = ledger.begin(
            market=MARKET,
            spec=MarketSpec(spec=MARKET.name),
            plan=plan,
            settings=SETTINGS,
            mode="local",
        )
        work = iter(enumerate(_generations(rounds)))
        known: set[str] = set()

        def commit() -> None:
            number, (population, outcomes, digest) = next(work)
            fresh = {o.key: 1 for o in outcomes if o.key not in known}
            known.update(fresh)
            began = time.perf_counter()
            ledger.commit(
                run,
                generation=number,
                population=population,
                outcomes=outcomes,
                fresh=fresh,
                digest=digest,
                seconds=1.0,
                mode="local",
                last=False,
            )
            seconds.append(time.perf_counter() - began)

        timed(benchmark, commit, rounds=rounds - 1, warm_up=1)
    benchmark.extra_info.update(
        suite="ledger and cache",
        label=f"ledger, {kind}",
        unit="individuals/s",
        samples=[POPULATION / taken for taken in seconds[1:]],
        note=f"generations of {POPULATION:,}, one transaction each",
    )


@pytest.mark.parametrize("what", ["asked", "given"])
def test_cache(benchmark: BenchmarkFixture, tmp_path: Path, effort: Effort, what: str) -> None:
    """Outcomes per second from and to Valkey, one generation at once."""
    valkey = datastores.start_redis("benchmark", tmp_path)
    (_, outcomes, _), *_ = _generations(1)
    keys = [outcome.key for outcome in outcomes]
    seconds: list[float] = []
    try:
        cache = open_cache(valkey.url, warn=pytest.fail)
        assert cache is not None
        cache.put_many(outcomes)
        deadline = time.monotonic() + 30
        while len(cache.get_many(keys)) < len(keys):
            assert time.monotonic() < deadline, "the cache was not filled"
            time.sleep(0.01)

        def ask() -> None:
            began = time.perf_counter()
            assert len(cache.get_many(keys)) == len(keys)
            seconds.append(time.perf_counter() - began)

        def give() -> None:
            # Another thread writes; closing waits for it.
            began = time.perf_counter()
            own = open_cache(valkey.url, warn=pytest.fail)
            assert own is not None
            own.put_many(outcomes)
            own.close()
            seconds.append(time.perf_counter() - began)

        timed(
            benchmark, ask if what == "asked" else give, rounds=effort.whole_rounds + 1, warm_up=1
        )
        cache.close()
    finally:
        valkey.process.terminate()
        valkey.process.wait()
    benchmark.extra_info.update(
        suite="ledger and cache",
        label=f"cache, {what}",
        unit="outcomes/s",
        samples=[len(keys) / taken for taken in seconds[1:]],
        note="one round trip" if what == "asked" else "with opening and closing it",
    )


@pytest.mark.parametrize("size", [1, 4, 16, 64, 256])
def test_batch_size(benchmark: BenchmarkFixture, effort: Effort, size: int) -> None:
    """Rule families' evaluations per second through one worker process, by genomes per batch."""
    genomes = [
        Genome(name, tuple(row))
        for name in RULES
        for row in genes_of(name, BATCHED // len(RULES)).tolist()
    ]
    batches = [
        tuple(range(at, min(at + size, len(genomes)))) for at in range(0, len(genomes), size)
    ]
    rates: list[float] = []
    with closing(Pool(market=MARKET, settings=SETTINGS, workers=1)) as pool:
        pool.wait_up()

        def once() -> None:
            began = time.perf_counter()
            assert sum(len(r.indices) for r in pool.run(genomes, batches)) == len(genomes)
            rates.append(len(genomes) / (time.perf_counter() - began))

        timed(benchmark, once, rounds=effort.whole_rounds + 1, warm_up=1)
    benchmark.extra_info.update(
        suite="batch size",
        label=f"{size} a batch",
        unit="evaluations/s",
        samples=rates[1:],
        note=f"{len(batches)} batches; the engine sizes its own by time, 30 to 200 ms",
    )


_PEAK = """
import json, sys
from ga.cli.main import main
code = main(sys.argv[1:])
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(json.dumps({"code": code, "peak_kib": peak}), file=sys.stderr)
"""
"""The kernel's high-water mark, because ru_maxrss includes the process that forked it."""


@pytest.mark.parametrize("population", [500, 2_000, 10_000])
def test_memory(
    benchmark: BenchmarkFixture, tmp_path: Path, effort: Effort, population: int
) -> None:
    """Peak memory of a coordinator in two generations with a ledger."""
    found: list[float] = []

    def evolve() -> None:
        argv = [sys.executable, "-c", _PEAK, "evolve", "--market", "synthetic:assets=1,bars=2500"]
        argv += ["--population-size", str(population), "--generations", "2", "--top", "1"]
        argv += ["--families", ",".join(RULES), "--mode", "local", "--workers", "1", "--json"]
        argv += ["--store", str(tmp_path / f"{len(found)}.db")]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        said = json.loads(done.stderr.strip().splitlines()[-1])
        assert said["code"] == 0, done.stderr
        found.append(said["peak_kib"] / 1024)

    timed(benchmark, evolve, rounds=max(2, effort.whole_rounds // 2), warm_up=0)
    benchmark.extra_info.update(
        suite="memory",
        label=f"population of {population:,}",
        unit="MiB peak",
        samples=found,
        note="the coordinator; two generations, one asset of 2,000 visible bars",
    )
