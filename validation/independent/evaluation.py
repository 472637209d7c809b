"""Evaluates genomes on the independent path, and compares with what the engine stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from validation.independent import accounts
from validation.independent.prices import Prices
from validation.independent.rules import RULES

TOLERANCE: Final = 1e-8
"""Largest difference of a fitness, Sharpe ratio or drawdown, absolute or relative.

The engine sums in another order and multiplies by inverse prices: over 2,000 random genomes of all
rule families and three markets the largest difference was 8e-12. One other decision on one bar
changes a fitness by 1e-5 and more.
"""
_SHAKE: Final = 1e-12
"""Relative change of all prices, some thousand times the rounding of a product."""
_SHAKES: Final = 4
_APART: Final = 10.0
"""A stored value that is further away than this many times the effect of a shake is wrong: rounding
does not explain it."""

Genome = tuple[str, Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class Market:
    """The assets of a market: the bars before the hold-out, and all."""

    visible: tuple[Prices, ...]
    whole: tuple[Prices, ...]


def has_path(family: str) -> bool:
    """Whether a family can be evaluated here."""
    return family in RULES


def outcome_differs(
    market: Market,
    settings: Mapping[str, Any],
    genome: Genome,
    stored: tuple[float | None, int, float],
) -> str | None:
    """How a stored outcome (fitness, trades, drawdown) differs; empty: it does not. None: the
    genome decides by less than rounding somewhere, so nothing can be said.
    """

    def found(assets: Sequence[Prices]) -> tuple[float, int, float]:
        one = accounts.result(assets, _targets(assets, genome), settings)
        return one.fitness, one.trades, one.drawdown

    return _compared(market.visible, found, stored)


def sharpes_differ(
    market: Market,
    settings: Mapping[str, Any],
    genome: Genome,
    stored: tuple[float | None, float | None, float | None],
) -> str | None:
    """The same for the Sharpe ratios of a final strategy: in-sample, out-of-sample, hold-out."""
    return _compared(
        market.whole,
        lambda assets: accounts.sharpes(assets, _targets(assets, genome), settings),
        stored,
    )


def _targets(assets: Sequence[Prices], genome: Genome) -> list[Any]:
    family, genes = genome
    return [RULES[family](prices, genes) for prices in assets]


def _compared(assets: Sequence[Prices], found: Any, stored: Sequence[float | None]) -> str | None:
    expected = found(assets)
    if _equal(expected, stored):
        return ""
    shaken = [found([p.shaken(_SHAKE, seed) for p in assets]) for seed in range(_SHAKES)]
    for at, (mine, theirs) in enumerate(zip(expected, stored, strict=True)):
        effect = max((abs(one[at] - mine) for one in shaken if mine is not None), default=0.0)
        if not _near(mine, theirs, _APART * effect):
            return f"stored {list(stored)}, independently {list(expected)}"
    return None


def _equal(one: Sequence[float | None], other: Sequence[float | None]) -> bool:
    return all(_near(a, b) for a, b in zip(one, other, strict=True))


def _near(a: float | None, b: float | None, more: float = 0.0) -> bool:
    if a is None or b is None:
        return a is b
    if isinstance(a, int) and isinstance(b, int):
        return abs(a - b) <= more
    return abs(a - b) <= TOLERANCE * max(1.0, abs(a), abs(b)) + more
