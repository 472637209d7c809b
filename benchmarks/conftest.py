"""Options and the market that the pytest-benchmark suites share."""

from __future__ import annotations

import pytest

from benchmarks.samples import Effort
from ga.market import Market
from ga.sources import synthetic


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--quick``: fewer rounds and smaller loads, for a look rather than for a record."""
    parser.addoption("--quick", action="store_true", help="fewer rounds, smaller loads")


@pytest.fixture(scope="session")
def effort(request: pytest.FixtureRequest) -> Effort:
    """How much to measure."""
    return Effort.quick() if request.config.getoption("--quick") else Effort.full()


@pytest.fixture(scope="session")
def market() -> Market:
    """One asset of 10,000 hourly bars, without funding (peers have none)."""
    made = synthetic(assets=1, bars=10_000, seed=1)
    return Market(
        name=made.name,
        assets=made.assets,
        times=made.times,
        open=made.open,
        high=made.high,
        low=made.low,
        close=made.close,
        volume=made.volume,
    )
