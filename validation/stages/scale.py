"""How much evidence a campaign gathers, and with which evolutions."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    market: str = "eurusd"
    """What every workload evolves on: a name or a path, as ``python -m ga evolve --market``."""
    families: str = ""
    """Families that the user chose, with commas; empty: those of each measurement."""
    by_user: bool = False
    """Whether a user chose the workload."""

    def chosen(
        self,
        *,
        market: str | None = None,
        families: str | None = None,
        population_size: int | None = None,
        generations: int | None = None,
    ) -> Scale:
        """The same amount of evidence from the workload that a user chose.

        With families, the speed-up is measured on that very workload.

        Raises:
            ValueError: the size is one that a measurement of the gate has for other families: two
                workloads of equal size and market must have equal histories.
        """
        size = (population_size or self.evolution[0], generations or self.evolution[1])
        if not families and size in (self.speedup, *POPULATIONS):
            raise ValueError(
                f"the gate evolves other families with --population-size {size[0]} --generations"
                f" {size[1]}: choose another number of generations, or --families"
            )
        return replace(
            self,
            evolution=size,
            speedup=size if families else self.speedup,
            market=market or self.market,
            families=families or self.families,
            by_user=True,
        )

    @property
    def workload(self) -> str:
        """The evolution that is broken and repeated, in words; ``default`` is the gate's own."""
        if not self.by_user:
            return "default"
        size, generations = self.evolution
        families = self.families or "all families"
        return f"{size} individuals × {generations} generations of {families} on {self.market}"


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


SPEEDUP_FAMILIES: Final = "pca_tree_quantile"
"""The family whose evaluations take tens of milliseconds. Those of rule families take tens of
microseconds: one node finishes a generation before it could be sent to four.
"""


RULES: Final = "atr_stop_loss,bollinger_bands,donchian_breakout,ema_crossover,rsi_filter"


REPEATS: Final = 2
"""How often a stage tries again to inject faults whose receipts are not confirmed."""
POPULATIONS: Final = ((500, 4), (2_000, 2), (10_000, 1))
"""Individuals and generations."""
