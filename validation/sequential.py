"""Sampling until a bound decides: several looks at the same growing sample, one error rate for all.

A test that looks at interim results with a 95 % bound, and stops at the first that decides, errs
more often than 5 %. Here the error probability is split over the looks (Bonferroni, as in Dunn,
JASA 56, 1961): each bound is taken at 1 - 0.05 / looks, so that all together err in at most 5 % of
runs, whatever the dependence between looks. A group-sequential plan (O'Brien and Fleming,
Biometrics 35, 1979) needs fewer samples, but its exact boundaries assume normal increments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Protocol

from validation.statistics import CONFIDENCE, Estimate


class Outcome(StrEnum):
    """What the bounds say about a target."""

    ABOVE = "above"
    BELOW = "below"
    OPEN = "open"


class Bounds(Protocol):
    """One-sided bounds of values at a confidence, for example ``statistics.geometric_mean``."""

    def __call__(self, values: Sequence[float], /, *, confidence: float) -> Estimate:
        """Estimate and bounds of the values so far."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """When to look, and against which target.

    Raises:
        ValueError: the sizes do not grow, or there is none.
    """

    sizes: tuple[int, ...]
    """Number of values at each look; the last one is the budget."""
    target: float
    """In the unit of the values; a bound that equals it lies above."""
    confidence: float = CONFIDENCE
    """Of the whole test: each of the two errors is at most 1 minus this."""

    def __post_init__(self) -> None:
        if not self.sizes or any(b <= a for a, b in pairwise((0, *self.sizes))):
            raise ValueError(f"the sizes of looks must grow, and there must be one: {self.sizes}")

    @property
    def each(self) -> float:
        """Confidence of the bounds at one look."""
        return 1 - (1 - self.confidence) / len(self.sizes)

    def outcome(self, values: Sequence[float], bounds: Bounds) -> Outcome:
        """What a look at these values says. Values beyond a planned look do not count."""
        size = max((one for one in self.sizes if one <= len(values)), default=0)
        if not size:
            return Outcome.OPEN
        found = bounds(values[:size], confidence=self.each)
        if found.lower >= self.target:
            return Outcome.ABOVE
        return Outcome.BELOW if found.upper < self.target else Outcome.OPEN

    def first(self, values: Sequence[float], bounds: Bounds) -> Outcome:
        """The outcome of the first look that decides; ``OPEN`` when none does."""
        for size in self.sizes:
            if size > len(values):
                break
            if (found := self.outcome(values[:size], bounds)) is not Outcome.OPEN:
                return found
        return Outcome.OPEN


def sample(
    plan: Plan, draw: Callable[[int], Iterable[float]], bounds: Bounds
) -> tuple[list[float], Outcome]:
    """Draw values until a look decides or the budget ends.

    Args:
        draw: Gives this number of further values. Fewer end the sampling.
        bounds: Of the values.
    """
    values: list[float] = []
    for size in plan.sizes:
        values += draw(size - len(values))
        if len(values) < size:
            break
        if (found := plan.outcome(values, bounds)) is not Outcome.OPEN:
            return values, found
    return values, Outcome.OPEN
