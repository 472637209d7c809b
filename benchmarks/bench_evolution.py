"""One whole ``python -m ga evolve`` on hourly EUR/USD in local mode, with one worker and all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.rounds import timed
from benchmarks.samples import Effort

POPULATION = 200


@pytest.mark.parametrize("workers", sorted({1, os.cpu_count() or 1}))
def test_evolve(benchmark: BenchmarkFixture, tmp_path: Path, effort: Effort, workers: int) -> None:
    """Evaluations a second from the first evaluation to the last commit; start-up is not in it."""
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
        note=f"{POPULATION} x {effort.generations} on 5,000 bars; start-up {start:.1f} s not in it",
    )
