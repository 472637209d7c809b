"""What a family is: named genes with bounds, and a signal kernel over many genomes at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Kernel = Callable[[Floats, Floats, Floats, Floats, Floats, Floats], Floats]
"""(open, high, low, close, volume: (T,), genes: (L, G)) -> target positions (T, L).

A position is a fraction of equity in [-1, 1], decided at the close of bar t from bars 0..t only,
and 0 until the rule has enough history. Lane l depends on genes[l] alone.
"""


@dataclass(frozen=True, kw_only=True)
class Gene:
    """One parameter of a family and its closed bounds."""

    name: str
    low: float
    high: float
    integer: bool = False

    def clip(self, value: float) -> float:
        """The nearest legal value."""
        if self.integer:
            value = float(round(value))
        return float(min(max(value, self.low), self.high))


@dataclass(frozen=True, kw_only=True)
class Family:
    """One of the genetic seeds."""

    name: str
    kind: str
    """``momentum``, ``breakout``, ``mean reversion``, ``volatility`` ..."""
    rule: str
    genes: tuple[Gene, ...]
    kernel: Kernel
