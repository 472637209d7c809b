"""Sampling until a bound decides keeps its error rate over all looks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

import pytest

from validation import statistics
from validation.sequential import Outcome, Plan, sample
from validation.statistics import Estimate, proportion

PLAN = Plan(sizes=(4, 8, 16), target=2.0)
RUNS = 1500


def drawn(dice: random.Random, mean: float, count: int) -> list[float]:
    return [dice.gauss(mean, 0.3) for _ in range(count)]


def rate(mean: float, wrong: Outcome, seed: int) -> tuple[int, int]:
    """How often the plan says something wrong, and how often it decides."""
    dice = random.Random(seed)
    found = [sample(PLAN, partial(drawn, dice, mean), statistics.mean)[1] for _ in range(RUNS)]
    return found.count(wrong), RUNS - found.count(Outcome.OPEN)


@pytest.mark.parametrize("wrong", [Outcome.ABOVE, Outcome.BELOW])
def test_error_at_the_target_is_within_bound(wrong: Outcome) -> None:
    errors, _ = rate(2.0, wrong, seed=5)
    # Seeded: the count is always the same. On the target both errors are largest.
    assert proportion(errors, RUNS).lower <= 0.05


def test_unsplit_error_would_be_too_large() -> None:
    """The plan needs its split: three looks at 95 % err more often."""
    greedy = Plan(sizes=PLAN.sizes, target=2.0, confidence=1 - 3 * 0.05)
    assert greedy.each == pytest.approx(0.95)
    dice = random.Random(5)
    runs = [sample(greedy, partial(drawn, dice, 2.0), statistics.mean)[1] for _ in range(RUNS)]
    assert proportion(runs.count(Outcome.ABOVE), RUNS).lower > 0.05


def test_clear_system_is_decided_early() -> None:
    values, found = sample(PLAN, lambda count: [3.0, 3.1, 2.9, 3.05][:count], statistics.mean)
    assert found is Outcome.ABOVE
    assert len(values) == PLAN.sizes[0]


def test_close_system_gets_more_samples() -> None:
    asked: list[int] = []

    def draw(count: int) -> Sequence[float]:
        asked.append(count)
        return [1.9, 2.2] * (count // 2)

    values, found = sample(PLAN, draw, statistics.mean)
    assert asked == [4, 4, 8]
    assert len(values) == PLAN.sizes[-1]
    assert found is Outcome.OPEN


def test_values_between_looks_do_not_count() -> None:
    assert PLAN.outcome([9.0] * 3, statistics.mean) is Outcome.OPEN
    seen: list[int] = []

    def bounds(values: Sequence[float], /, *, confidence: float) -> Estimate:
        seen.append(len(values))
        assert confidence == pytest.approx(1 - 0.05 / 3)
        return Estimate(point=2.0, lower=1.0, upper=3.0)

    PLAN.outcome([2.0] * 7, bounds)
    PLAN.first([2.0] * 9, bounds)
    assert seen == [4, 4, 8]


def test_draw_that_ends_early_stays_open() -> None:
    values, found = sample(PLAN, lambda count: [5.0] * min(count, 2), statistics.mean)
    assert (len(values), found) == (2, Outcome.OPEN)


@pytest.mark.parametrize("sizes", [(), (0, 4), (4, 4), (8, 4)])
def test_plan_refuses_sizes_that_do_not_grow(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must grow"):
        Plan(sizes=sizes, target=1.0)
