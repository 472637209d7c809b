"""Options and the market that the pytest-benchmark suites share."""

from __future__ import annotations

import pytest

from evolution_gate.benchmarks.samples import Effort
from ga.market import Market
from ga.sources import synthetic


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--quick``: fewer rounds and smaller loads, for a smoke run."""
    parser.addoption("--quick", action="store_true", help="fewer rounds, smaller loads")


@pytest.fixture(scope="session")
def effort(request: pytest.FixtureRequest) -> Effort:
    """The effort of the measurements."""
    return Effort.quick() if request.config.getoption("--quick") else Effort.full()


@pytest.fixture(scope="session")
def market() -> Market:
    """One asset of 10,000 hourly bars, with funding."""
    return synthetic(assets=1, bars=10_000, seed=1)


@pytest.fixture(scope="session")
def plain_market(market: Market) -> Market:
    """The same without funding, which peers do not support."""
    return Market(
        name=market.name,
        assets=market.assets,
        times=market.times,
        open=market.open,
        high=market.high,
        low=market.low,
        close=market.close,
        volume=market.volume,
    )
