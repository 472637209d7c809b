"""Panel: one asset of a market with its indicator banks.

A bank is a table of one indicator over all its integer periods, (P, T). It is built when a family
first needs it, and shared by all later genomes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ga.market import Market

Floats = NDArray[np.float64]

MAX_BANK_BYTES: Final = 1 << 30
"""Limit of the banks of one market, in bytes; above it they are dropped and rebuilt on demand."""
_HOUR: Final = 3600 * 10**9


class Panel:
    """One asset's prices, C-ordered and read-only, and its banks."""

    def __init__(self, market: Market, asset: int) -> None:
        self.open: Floats = _fixed(market.open[asset])
        """(T,), like high, low, close and volume."""
        self.high: Floats = _fixed(market.high[asset])
        self.low: Floats = _fixed(market.low[asset])
        self.close: Floats = _fixed(market.close[asset])
        self.volume: Floats = _fixed(market.volume[asset])
        self.funding: Floats | None = None
        """(T,) fraction of the position's value that longs pay to shorts over the bar."""
        if market.funding is not None:
            self.funding = _fixed(market.funding[asset])
        self.bars_per_year = market.bars_per_year if market.bars > 1 else 1.0
        self.hours_per_bar = market.step / _HOUR if market.bars > 1 else 1.0
        self.bank_bytes = 0
        """Memory of the banks built so far."""
        self._banks: dict[str, Floats] = {}

    @property
    def bars(self) -> int:
        """Number of bars ``T``."""
        return int(self.close.size)

    def bank(self, name: str, build: Callable[[Panel], Floats]) -> Floats:
        """The table called ``name``, built on first use."""
        found = self._banks.get(name)
        if found is None:
            found = self._banks[name] = build(self)
            found.flags.writeable = False
            self.bank_bytes += found.nbytes
        return found

    def forget(self) -> None:
        """Drop all banks; they are rebuilt on demand."""
        self._banks.clear()
        self.bank_bytes = 0


def _fixed(row: Floats) -> Floats:
    """A read-only view. A market from a pickle is writable, one from Ray's store is not, and numba
    would compile kernels for each kind of array.
    """
    view = row.view()
    view.flags.writeable = False
    return view


_panels: WeakKeyDictionary[Market, tuple[Panel, ...]] = WeakKeyDictionary()
"""Panels live as long as their market and are never sent to another process."""


def panels(market: Market) -> tuple[Panel, ...]:
    """The panels of a market, one per asset, made once."""
    found = _panels.get(market)
    if found is None:
        found = _panels[market] = tuple(Panel(market, a) for a in range(len(market.assets)))
    elif sum(panel.bank_bytes for panel in found) > MAX_BANK_BYTES:
        for panel in found:
            panel.forget()
    return found
