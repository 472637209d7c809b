"""Lists of distinct strategies for the service, each computed once for a generation of a run."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from ga.appraisal import load_again
from ga.errors import InputError
from ga.ledger import Ledger
from ga.ledger.columns import DamagedError
from ga.listing import list_strategies
from ga.presentation import benchmark_rows, listed_row
from ga.service.models import Strategies
from ga.service.problem_details import ProblemError

MOST: Final = 100
"""Strategies of a list."""
_KEPT: Final = 64
"""Lists in memory."""


class Listings:
    """Distinct strategies of runs, next to the benchmarks of their markets."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], Strategies] = OrderedDict()

    def get(self, run: str) -> Strategies:
        """The distinct strategies of a run so far, at most ``MOST``; none before its first
        generation.

        Raises:
            DamagedError: the run has strategies, but no row of its own.
            ProblemError: 409, the market cannot be loaded again, or another engine began the run.
        """
        # One list at a time, because it takes seconds on a large market.
        with self._lock:
            try:
                record = self._ledger.run(run)
            except InputError as error:
                if self._ledger.strategies(run, 1):
                    raise DamagedError("runs", "run", str(error), run) from None
                # It is queued, and not yet begun.
                return Strategies(strategies=[])
            if not record.committed:
                return Strategies(strategies=[])
            key = run, record.committed
            if key not in self._kept:
                try:
                    record.check_kernels()
                    market = load_again(record)
                    listing = list_strategies(
                        self._ledger, [run], market, record.settings, limit=MOST
                    )
                except InputError as error:
                    raise ProblemError(
                        409, f"{error}; list what is stored with the parameter all=true"
                    ) from None
                self._kept[key] = Strategies.model_validate(
                    {
                        "strategies": [listed_row(one) for one in listing.strategies],
                        "benchmarks": benchmark_rows(listing.benchmarks),
                    }
                )
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return self._kept[key]
