"""Typed wrapper of pytest-benchmark."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from pytest_benchmark.fixture import BenchmarkFixture

T = TypeVar("T")


def timed(
    benchmark: BenchmarkFixture,
    work: Callable[..., T],
    *args: object,
    rounds: int,
    warm_up: int,
) -> T:
    """Time ``work(*args)`` once per round, after ``warm_up`` rounds; returns the last result."""
    done = benchmark.pedantic(  # type: ignore[no-untyped-call]
        work, args=args, rounds=rounds, iterations=1, warmup_rounds=warm_up
    )
    return cast(T, done)
