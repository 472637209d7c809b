"""Lists of distinct strategies for the service, each computed once for a generation of a run."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from ga.appraisal import load_again
from ga.errors import InputError
from ga.ledger import Ledger, RunRecord
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
        self._kept: OrderedDict[str, tuple[int, Strategies]] = OrderedDict()
        """Run -> number of generations, and the list after them."""

    def get(self, run: str) -> Strategies:
        """The distinct strategies of a run so far, at most ``MOST``; none before its first
        generation. While a list is computed, other requests get that of an earlier generation, if
        there is one.

        Raises:
            DamagedError: the run has strategies, but no row of its own.
            ProblemError: 409, the market cannot be loaded again, or another engine began the run.
        """
        record = self._record(run)
        if record is None or not record.committed:
            return Strategies(strategies=[])
        known = self._kept.get(run)
        # One list at a time, because it takes seconds on a large market.
        if known is not None and (known[0] == record.committed or self._lock.locked()):
            return known[1]
        with self._lock:
            known = self._kept.get(run)
            if known is None or known[0] != record.committed:
                known = record.committed, self._made(record)
                self._kept[run] = known
            self._kept.move_to_end(run)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return known[1]

    def _record(self, run: str) -> RunRecord | None:
        try:
            return self._ledger.run(run)
        except InputError as error:
            if self._ledger.strategies(run, 1):
                raise DamagedError("runs", "run", str(error), run) from None
            # It is queued, and not yet begun.
            return None

    def _made(self, record: RunRecord) -> Strategies:
        try:
            record.check_kernels()
            market = load_again(record)
            found = list_strategies(self._ledger, [record.run], market, record.settings, limit=MOST)
        except InputError as error:
            raise ProblemError(
                409, f"{error}; list what is stored with the parameter all=true"
            ) from None
        return Strategies.model_validate(
            {
                "strategies": [listed_row(one) for one in found.strategies],
                "benchmarks": benchmark_rows(found.benchmarks),
            }
        )
