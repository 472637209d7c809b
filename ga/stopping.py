"""Ends a run before its plan does: a time budget, or generations without improvement.

A run ends between two generations, so its history is that of the whole plan up to there, and
``resume`` continues it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from ga.errors import InputError


def check_limits(time_budget: float | None, stop_after: int | None) -> None:
    """Check limits that a user gave.

    Raises:
        InputError: the message names the option.
    """
    if time_budget is not None and not (math.isfinite(time_budget) and time_budget > 0.0):
        raise InputError(f"--time-budget must be a number of seconds above 0, not {time_budget:g}")
    if stop_after is not None and not 1 <= stop_after <= 1_000_000:
        raise InputError(f"--stop-after must be 1..1,000,000 generations, not {stop_after}")


class Stopping:
    """Decides between two generations whether a run goes on. Time counts from here on.

    Args:
        time_budget: seconds; None: no limit. At least one generation is evaluated.
        stop_after: generations without a better fitness than before; None: no limit. A resumed run
            counts from where it is resumed.
        clock: gives seconds.
    """

    def __init__(
        self,
        *,
        time_budget: float | None = None,
        stop_after: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget, self._patience, self._clock = time_budget, stop_after, clock
        self._began = clock()
        self._first: int | None = None
        self._rose, self._best = 0, -math.inf
        self.reason = ""
        """Why the run ended; empty if it did not."""

    def enough(self, generation: int, best: float | None) -> bool:
        """Whether to end here.

        Args:
            generation: number of evaluated generations. best: the best fitness so far.
        """
        if self._first is None:
            self._first = self._rose = generation
        if best is not None and best > self._best:
            self._rose, self._best = generation, best
        if generation == self._first:
            return False
        if self._budget is not None and self._clock() - self._began >= self._budget:
            self.reason = f"the time budget of {self._budget:g} s is over"
        elif self._patience is not None and generation - self._rose >= self._patience:
            self.reason = f"{self._patience} generations without a better fitness"
        return bool(self.reason)
