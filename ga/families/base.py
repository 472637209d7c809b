"""Definition of a family: named genes with bounds, and signals for many genomes at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ga.backtest.panel import Panel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Changes of the target position of each of ``L`` lanes.

    A target is a fraction of equity in [-1, 1], decided at the close of a bar from that bar and
    those before it. It is 0 until the first change.
    """

    bars: NDArray[np.int32]
    """(L, T), the deciding bars; the first ``counts`` of a row are filled and increasing."""
    targets: Floats
    """(L, T), the new targets, filled likewise."""
    counts: Ints
    """(L,)"""

    @classmethod
    def empty(cls, lanes: int, bars: int) -> Changes:
        """Arrays for ``lanes`` over ``bars``, not filled."""
        return cls(
            bars=np.empty((lanes, bars), np.int32),
            targets=np.empty((lanes, bars)),
            counts=np.zeros(lanes, np.int64),
        )

    def first(self, lanes: int) -> Changes:
        """The first ``lanes`` of these arrays."""
        return Changes(
            bars=self.bars[:lanes], targets=self.targets[:lanes], counts=self.counts[:lanes]
        )

    def put(self, lane: int, positions: Floats) -> None:
        """Fill a lane from its targets (T,) at the close of every bar."""
        at = np.flatnonzero(np.diff(positions, prepend=0.0))
        self.bars[lane, : at.size] = at
        self.targets[lane, : at.size] = positions[at]
        self.counts[lane] = at.size

    def positions(self, bars: int) -> Floats:
        """(bars, L) target at the close of every bar."""
        out = np.zeros((bars, self.counts.size))
        for lane, count in enumerate(self.counts):
            edges = [*self.bars[lane, :count], bars]
            for i in range(count):
                out[edges[i] : edges[i + 1], lane] = self.targets[lane, i]
        return out


def seed_of(family: str, genes: Floats) -> int:
    """A 63-bit seed for a learned family's draws, from family and genes only, so that a strategy
    gives the same signals on new data as in its run.
    """
    digest = hashlib.sha256(family.encode() + genes.tobytes()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


Signals = Callable[[Panel, Floats, Changes], None]
"""(panel, genes (L, G), arrays for L lanes) -> fills the arrays. Lane l depends only on
genes[l].
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
    """A strategy template with its genes."""

    name: str
    kind: str
    """``momentum``, ``breakout``, ``mean reversion``, ``volatility`` ..."""
    rule: str
    genes: tuple[Gene, ...]
    signals: Signals
    history: int
    """Bars until the genes with the longest periods can give a signal."""
    needs_funding: bool = False
    learned: bool = False
    """Fits a model on a rolling window: an evaluation takes milliseconds, not microseconds."""
