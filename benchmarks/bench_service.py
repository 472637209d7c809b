"""The HTTP service: response times of single requests, and with many users."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from evolution_gate.benchmarks.rounds import timed
from evolution_gate.benchmarks.samples import Effort
from validation.stages.service_load import Service, load
from validation.statistics import quantile_bounds

TOKEN = secrets.token_urlsafe(32)
ONE_AT_A_TIME = 40
"""Requests per round of a kernel."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """The service on SQLite, with one worker."""
    found = Service(tmp_path / "service.db", TOKEN)
    try:
        assert found.url, "the service did not start"
        yield found
    finally:
        found.end(signal.SIGTERM)


def _info(benchmark: BenchmarkFixture, label: str, seconds: list[float], note: str) -> None:
    p95, p99 = (quantile_bounds(seconds, share).point for share in (0.95, 0.99))
    benchmark.extra_info.update(
        suite="service latency",
        label=label,
        unit="ms",
        samples=[1e3 * one for one in seconds],
        lower_is_better=True,
        note=f"p95 {1e3 * p95:.1f} ms, p99 {1e3 * p99:.1f} ms; {note}",
    )


def test_alone(benchmark: BenchmarkFixture, effort: Effort, service: Service) -> None:
    """Reads by one user without other requests."""
    seconds: list[float] = []

    def read() -> None:
        began = time.perf_counter()
        assert service.get("/v1/evolutions").status_code == 200
        seconds.append(time.perf_counter() - began)

    timed(benchmark, read, rounds=ONE_AT_A_TIME * effort.rounds, warm_up=1)
    _info(benchmark, "reads, one at a time", seconds[1:], "no evolution running")


def test_users(benchmark: BenchmarkFixture, tmp_path: Path, service: Service) -> None:
    """Reads and submissions by locust's users, with running evolutions."""
    seen, accepted = timed(benchmark, load, service, tmp_path, TOKEN, rounds=1, warm_up=0)
    assert not seen.errors, seen.errors
    submits = quantile_bounds(seen.submits, 0.95).point
    _info(
        benchmark,
        f"reads, {seen.users} users",
        list(seen.reads),
        f"submissions' p95 {1e3 * submits:.1f} ms, {len(accepted)} evolutions accepted; the"
        f" generator used {seen.generator_share:.0%} of a core, other work {seen.others_cores:.1f}",
    )
