"""The series of a run, as Prometheus scrapes them, against what its ledger holds."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from evolution_gate.fixtures.services import datastores
from ga.errors import ClusterError, InputError
from ga.evaluation.evaluate import Batch
from ga.execution.protocol import BatchResult
from ga.genome import Genome
from ga.metrics import MOST_NODES, OTHER_NODES, MetricsServer, Telemetry, depends_on
from ga.result_cache import open_cache
from tests.support.engine import PLAN, Engine
from tests.support.metrics import Series, scrape


def one(series: Series, name: str) -> float:
    return series[name, ()]


FAILING = "poison_raise"
"""A family whose evaluations fail where the dose is high."""


@pytest.fixture
def engine(market, poisonous, tmp_path: Path) -> Engine:
    return Engine(market, poisonous, tmp_path, replace(PLAN, families=("rsi_filter", FAILING)))


def ledger_counts(engine: Engine) -> Series:
    """What the series must be, by the ledger alone."""
    (generations,) = engine.rows("SELECT count(*) FROM generations")
    (totals,) = engine.rows("SELECT sum(attempts), max(fitness) FROM evaluations")
    expected: Series = {
        ("ga_generations_total", ()): generations[0],
        ("ga_attempts_total", ()): totals[0],
        ("ga_best_fitness", ()): totals[1],
    }
    query = "SELECT family, error IS NULL, attempts > 0, count(*) FROM evaluations GROUP BY 1, 2, 3"
    for family, good, tried, count in engine.rows(query):
        what = "failed" if not good else "ok" if tried else "cached"
        expected["ga_evaluations_total", (family, what)] = count
    return expected


def counted(series: Series) -> Series:
    names = {"ga_generations_total", "ga_attempts_total", "ga_best_fitness", "ga_evaluations_total"}
    return {at: value for at, value in series.items() if at[0] in names}


def test_metrics_match_ledger(engine: Engine) -> None:
    run = engine.start("one.db")
    telemetry = Telemetry(run)
    with MetricsServer(telemetry.registry, 0) as server:
        summary = engine.go(run, telemetry=telemetry)
        series = scrape(server.url)
    assert counted(series) == ledger_counts(engine)
    assert series["ga_evaluations_total", (FAILING, "failed")] == summary.failed > 0
    events = [json.loads(line) for line in engine.log.read_text().splitlines()]
    batches = [event for event in events if event["event"] == "batch"]
    assert one(series, "ga_batch_seconds_count") == len(batches)
    assert one(series, "ga_batch_seconds_sum") == pytest.approx(
        sum(b["seconds"] for b in batches), abs=1e-6
    )
    # From hand-out to answer: never less than what the worker took.
    assert all(b["seconds"] >= b["finished_at"] - b["started_at"] for b in batches)
    assert one(series, "ga_in_flight") == 0
    assert one(series, "ga_fallbacks_total") == 0
    assert one(series, "ga_cache_hits_total") == one(series, "ga_cache_misses_total") == 0
    assert series["ga_mode", ("local",)] == 1
    assert series["ga_mode", ("distributed",)] == 0


def test_metrics_match_ledger_with_cache(engine: Engine, tmp_path: Path) -> None:
    redis = datastores.start_redis("test-ga-telemetry", tmp_path)
    try:
        for name in ("first.db", "second.db"):
            run = engine.start(name)
            telemetry = Telemetry(run)
            cache = open_cache(redis.url, warn=pytest.fail)
            assert cache is not None
            with MetricsServer(telemetry.registry, 0) as server:
                summary = engine.go(run, telemetry=telemetry, cache=cache)
                series = scrape(server.url)
            cache.close()
            assert counted(series) == ledger_counts(engine)
            hits, misses = (one(series, f"ga_cache_{n}_total") for n in ("hits", "misses"))
            assert (hits, misses) == (summary.cached, summary.evaluations)
        # The second run had to do again only what had failed.
        assert summary.cached > 0
        assert series["ga_evaluations_total", (FAILING, "failed")] == summary.evaluations
        assert one(series, "ga_cache_damaged_total") == 0
    finally:
        redis.process.kill()
        redis.process.wait()


def test_metrics_never_run_ahead_of_ledger(engine: Engine) -> None:
    run = engine.start("watched.db")
    telemetry = Telemetry(run)
    in_flight, generations = [], []

    def look(_: object) -> None:
        series = scrape(server.url)
        in_flight.append(one(series, "ga_in_flight"))
        # The ledger is read after the scrape: it may have gone on, never back.
        (committed,) = engine.rows("SELECT count(*) FROM generations")
        generations.append(one(series, "ga_generations_total"))
        assert generations[-1] <= committed[0]

    with MetricsServer(telemetry.registry, 0) as server:
        engine.go(run, telemetry=telemetry, on_progress=look, before=look)
    assert generations == sorted(generations)
    assert generations[-1] >= 2
    # The first generation, where no two genomes are equal: dispatched, then answered in batches.
    first = in_flight[: in_flight.index(0) + 1]
    assert first[0] == 40
    assert len(first) > 3
    assert first == sorted(set(first), reverse=True)
    assert in_flight[-1] == 0


def test_failover_is_counted_and_changes_mode(engine: Engine) -> None:
    run = engine.start("lost.db")
    telemetry = Telemetry(run)
    modes = []

    def lose(generation: int) -> None:
        modes.append(scrape(server.url)["ga_mode", ("distributed",)])
        if generation == 2:
            raise ClusterError("planted")

    with MetricsServer(telemetry.registry, 0) as server:
        engine.go(run, telemetry=telemetry, before=lose)
        series = scrape(server.url)
    assert modes == [1, 1, 1]
    assert one(series, "ga_fallbacks_total") == 1
    assert (series["ga_mode", ("local",)], series["ga_mode", ("distributed",)]) == (1, 0)
    assert counted(series) == ledger_counts(engine)


def test_closed_result_stream_resets_in_flight_count() -> None:
    ended = []

    def results():
        try:
            for at in range(9):
                batch = Batch(outcomes=(), cpu_seconds=0.0, started_at=1.0, finished_at=2.0)
                yield BatchResult(indices=(at,), batch=batch, node="n")
        finally:
            ended.append(True)

    telemetry = Telemetry("a")
    for result in telemetry.watch(results(), [Genome(family="rsi_filter", genes=())] * 9):
        if result.indices == (2,):
            assert telemetry.registry.get_sample_value("ga_in_flight", {"run": "a"}) == 6
            break
    assert ended == [True]
    assert telemetry.registry.get_sample_value("ga_in_flight", {"run": "a"}) == 0


def test_answers_are_counted_by_family_and_node() -> None:
    families = ("ema_crossover", "rsi_filter")
    asked = [Genome(family=families[at % 2], genes=()) for at in range(MOST_NODES + 3)]
    batch = Batch(outcomes=(), cpu_seconds=0.0, started_at=1.0, finished_at=2.0)

    def results(nodes: int):
        yield BatchResult(indices=(0, 1, 2), batch=batch, node="n0")
        for at in range(3, nodes + 3):
            yield BatchResult(indices=(at,), batch=batch, node=f"n{at}")

    telemetry = Telemetry("a")
    assert len(list(telemetry.watch(results(MOST_NODES), asked))) == MOST_NODES + 1
    counted = {
        (sample.labels["family"], sample.labels["node"]): sample.value
        for family in telemetry.registry.collect()
        for sample in family.samples
        if sample.name == "ga_answered_total"
    }
    assert (counted["ema_crossover", "n0"], counted["rsi_filter", "n0"]) == (2, 1)
    # A cluster that replaces its nodes forever has no more series than that.
    assert len({node for _, node in counted}) == MOST_NODES + 1
    assert sum(count for (_, node), count in counted.items() if node == OTHER_NODES) == 1
    assert sum(counted.values()) == len(asked)


def test_metrics_of_two_runs_are_separate() -> None:
    first, second = Telemetry("a"), Telemetry("b")
    first.fell_back()
    with MetricsServer(second.registry, 0) as server:
        series = scrape(server.url)
    assert one(series, "ga_fallbacks_total") == 0


def test_metrics_are_served_on_loopback_only() -> None:
    with MetricsServer(Telemetry("a").registry, 0) as server:
        port = int(server.url.split(":")[2].split("/")[0])
        table = Path("/proc/net/tcp").read_text()
        listening = [line.split()[1] for line in table.splitlines()[1:] if line.split()[3] == "0A"]
        assert [at for at in listening if at.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_reachability_is_probed_on_each_scrape() -> None:
    there = socket.create_server(("127.0.0.1", 0))
    port = there.getsockname()[1]
    store = f"postgresql://ga:secret@127.0.0.1:{port}/ga"
    servers = depends_on(store, "redis://:secret@127.0.0.1:1/0")
    with MetricsServer(Telemetry("a", servers).registry, 0) as server:
        before = scrape(server.url)
        there.close()
        after = scrape(server.url)
    assert before["ga_reachable", ("database",)] == 1
    assert after["ga_reachable", ("database",)] == 0
    assert before["ga_reachable", ("cache",)] == after["ga_reachable", ("cache",)] == 0


def test_file_store_has_no_reachability_metric() -> None:
    assert depends_on("ga.db", None) == depends_on("sqlite:///ga.db", None) == {}
    assert depends_on("postgresql://db/ga", "redis://c/0") == {
        "database": ("db", 5432),
        "cache": ("c", 6379),
    }


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid"])
def test_metrics_host_must_be_local(host: str) -> None:
    with pytest.raises(InputError, match=f"--metrics-(host|port) .*{host}"):
        MetricsServer(Telemetry("a").registry, 0, host)


@pytest.mark.parametrize("port", [-1, 65536])
def test_invalid_metrics_port_is_refused(port: int) -> None:
    with pytest.raises(InputError, match=r"--metrics-port must be 0..65535"):
        MetricsServer(Telemetry("a").registry, port)


def test_occupied_metrics_port_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--metrics-port {port}: Address already in use"):
            MetricsServer(Telemetry("a").registry, port)


def test_evolve_serves_metrics_while_running(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    argv = ["evolve", "--market", "synthetic:assets=1,bars=600,seed=1", "--seed", "7"]
    argv += ["--population-size", "40", "--generations", "2000", "--mode", "local"]
    argv += ["--workers", "1", "--store", str(tmp_path / "ledger.db")]
    process = subprocess.Popen(
        [sys.executable, "-m", "ga", *argv, "--metrics-port", "0", "--log", str(log)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stderr is not None
        with process.stderr as err:
            found = next(filter(None, (re.search(r"metrics: (\S+)", line) for line in err)))
            series = scrape(found[1])
    finally:
        process.kill()
        process.wait()
    assert ("ga_build_info", ()) not in series
    assert any(name == "ga_build_info" for name, _ in series)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"event": "metrics", "url": found[1]}.items() <= events[0].items()
    assert len({event["run"] for event in events}) == 1
    assert events[0]["run"]
