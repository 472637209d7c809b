"""Portable functions compared with NumPy's, in pairs: ratio of our time to NumPy's, below 1 is
faster.

NumPy's own speed depends on the processor. Its exp and log have kernels for AVX-512, and elsewhere
call the C library for each value.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from evolution_gate.benchmarks.rounds import timed
from evolution_gate.benchmarks.samples import Effort
from ga import numerics
from validation.statistics import geometric_mean

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Work = Callable[[], object]
COUNT = 100_000
_RNG = np.random.default_rng(3)
_VALUES = _RNG.uniform(-5.0, 5.0, COUNT)
_POSITIVE = np.exp(_VALUES)
_ROWS = _RNG.standard_normal((300, 15))
_MATRIX = _ROWS.T @ _ROWS


def _market_of(normal: Callable[[int], Floats], exp: Callable[[Floats], Floats]) -> Floats:
    """The expensive part of a synthetic market: a walk, and four more series of its length."""
    close = exp(np.cumsum(0.004 * normal(COUNT)))
    for _ in range(4):
        close = close * exp(0.0004 * normal(COUNT))
    return close


def _pairs() -> dict[str, tuple[Work, Work]]:
    stream, rng = numerics.Stream(key=(1, 2)), np.random.Generator(np.random.Philox(1))
    return {
        "exp": (lambda: numerics.exp(_VALUES), lambda: np.exp(_VALUES)),
        "log": (lambda: numerics.log(_POSITIVE), lambda: np.log(_POSITIVE)),
        "normal numbers": (lambda: stream.normal(COUNT), lambda: rng.standard_normal(COUNT)),
        "uniform numbers": (lambda: stream.random(COUNT), lambda: rng.random(COUNT)),
        "synthetic market": (
            lambda: _market_of(stream.normal, numerics.exp),
            lambda: _market_of(rng.standard_normal, np.exp),
        ),
        "components of 300 x 15": (
            lambda: numerics.eigenvectors(numerics.scatter_matrix(_ROWS)),
            lambda: np.linalg.eigh(_ROWS.T @ _ROWS),
        ),
        "quantiles of 300": (
            lambda: numerics.quantiles(_ROWS[:, 0], _LEVELS),
            lambda: np.quantile(_ROWS[:, 0], _LEVELS),
        ),
    }


_LEVELS = np.array([0.1, 0.5, 0.9])
_PAIRS = _pairs()


def _seconds(work: Work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@pytest.mark.parametrize("name", _PAIRS)
def test_ratio(benchmark: BenchmarkFixture, effort: Effort, name: str) -> None:
    """Rounds of both in pairs; the order alternates."""
    ours, theirs = _PAIRS[name]
    ratios: list[float] = []

    def pair() -> None:
        order = (ours, theirs) if len(ratios) % 2 == 0 else (theirs, ours)
        taken = {work: _seconds(work) for work in order}
        ratios.append(taken[ours] / taken[theirs])

    timed(benchmark, pair, rounds=max(20, effort.rounds), warm_up=4)
    found = geometric_mean(ratios[4:])
    benchmark.extra_info.update(
        suite="numerics",
        label=name,
        unit="x NumPy's time",
        samples=ratios[4:],
        lower_is_better=True,
        note=f"{found.point:.2f}, at most {found.upper:.2f} (95 %)",
    )
