"""How much evidence a campaign gathers, and with which evolutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much evidence one campaign gathers."""

    pairs: int
    recoveries: int
    speedup: tuple[int, int]
    """Population size and generations of a speed-up workload."""
    evolution: tuple[int, int]
    """Population size and generations of the evolution that is broken and repeated."""


FULL: Final = Scale(
    pairs=3,
    recoveries=4,
    speedup=(500, 6),
    evolution=(700, 24),
)


SHORT: Final = Scale(
    pairs=3,
    recoveries=4,
    speedup=(500, 6),
    evolution=(700, 20),
)


REAL_MARKET: Final = "eurusd"


SPEEDUP_FAMILIES: Final = "pca_tree_quantile"
"""The family whose evaluations take tens of milliseconds. Those of rule families take tens of
microseconds: one node finishes a generation before it could be sent to four.
"""


RULES: Final = "atr_stop_loss,bollinger_bands,donchian_breakout,ema_crossover,rsi_filter"


REPEATS: Final = 2
"""How often a stage tries again to inject faults whose receipts are not confirmed."""
POPULATIONS: Final = ((500, 4), (2_000, 2), (10_000, 1))
"""Individuals and generations."""
