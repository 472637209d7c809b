"""What a family is: named genes with bounds, and signals for many genomes at once."""

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
    """When the target position of each of ``L`` lanes changes, and to what.

    A target is a fraction of equity in [-1, 1], decided at the close of a bar from that bar and
    those before it. It is 0 until the first change.
    """

    bars: NDArray[np.int32]
    """(L, T), the first ``counts`` of a row filled and increasing: the bar that decided it."""
    targets: Floats
    """(L, T), likewise: the new target."""
    counts: Ints
    """(L,)"""

    @classmethod
    def empty(cls, lanes: int, bars: int) -> Changes:
        """Room for ``lanes`` over ``bars``, nothing filled."""
        return cls(
            bars=np.empty((lanes, bars), np.int32),
            targets=np.empty((lanes, bars)),
            counts=np.zeros(lanes, np.int64),
        )

    def first(self, lanes: int) -> Changes:
        """The first ``lanes`` of this room."""
        return Changes(
            bars=self.bars[:lanes], targets=self.targets[:lanes], counts=self.counts[:lanes]
        )

    def put(self, lane: int, positions: Floats) -> None:
        """Fill a lane from its target (T,) at the close of every bar."""
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
    """A 63-bit seed for a learned family's draws, from family and genes alone: a strategy says the
    same on new data as in the run that found it."""
    digest = hashlib.sha256(family.encode() + genes.tobytes()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


Signals = Callable[[Panel, Floats, Changes], None]
"""(panel, genes (L, G), room for L lanes) -> fills the room. Lane l depends on genes[l] alone."""


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
    signals: Signals
    history: int
    """Bars before the longest-reaching genes can give a signal."""
    needs_funding: bool = False
    learned: bool = False
    """Fits a model on a rolling window: milliseconds an evaluation, not microseconds."""
