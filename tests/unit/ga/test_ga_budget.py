"""The number of spot workers that a budget pays, against a search and the deployed file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from ga.capacity import budget
from ga.capacity.prices import EXTRAS, NODE

CLUSTER = Path(__file__).parents[3] / "deploy" / "aws" / "cluster.yaml"
PRICES = st.floats(0.001, 5.0)


@given(dollars=st.floats(0.0, 500.0), spot=PRICES, on_demand=PRICES, disk=st.floats(0.0, 500.0))
def test_most_workers_is_the_last_that_costs_less(
    dollars: float, spot: float, on_demand: float, disk: float
) -> None:
    price = replace(NODE, on_demand=on_demand)
    extras = replace(EXTRAS, spot_cap=spot, disk_gb=disk)
    found = budget.most_workers(dollars, price=price, extras=extras)
    count = 0
    while budget.day(count + 1, price=price, extras=extras).total < dollars:
        count += 1
    assert found == count


def test_exact_budget_is_not_enough() -> None:
    exact = budget.day(4).total
    assert budget.most_workers(exact) == 3
    assert budget.most_workers(exact + 1e-9) == 4
    assert budget.most_workers(0.0) == 0


def test_day_is_the_sum_of_the_plan() -> None:
    found = budget.day(4)
    assert found.head == pytest.approx(24 * 0.34)
    assert found.workers == pytest.approx(4 * 24 * 0.20)
    assert found.addresses == pytest.approx(5 * 24 * 0.005)
    assert found.disks == pytest.approx(5 * 50 * 0.08 * 12 / 365)
    assert found.traffic == pytest.approx(10 * 0.02)
    assert found.total == pytest.approx(28.82, abs=0.005)
    # The plan's eight instances do not fit.
    assert budget.day(8).total > 45


def test_deployed_maximum_is_what_the_budget_pays() -> None:
    text = CLUSTER.read_text()
    assert budget.configured_workers(text) == budget.most_workers() == 4


def test_maximum_is_read_from_the_top_level_only() -> None:
    assert budget.configured_workers("max_workers: 12  # many\n") == 12
    assert budget.configured_workers("a:\n  max_workers: 12\n") is None
    assert budget.configured_workers("") is None
