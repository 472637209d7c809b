"""Lists of strategies with their statistics, next to the benchmarks of their market.

The choice is made when a list is read: the ledger stores the same strategies whatever is listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ga.analysis.accounts import accounts_of
from ga.analysis.benchmark import Benchmark, benchmarks, report_of
from ga.analysis.distinct import distinct
from ga.analysis.holdout import PARTS
from ga.analysis.statistics import Statistics
from ga.evaluation.folds import visible
from ga.evaluation.settings import Settings
from ga.ledger import Ledger, Sharpes, StrategyRecord
from ga.ledger.soundness import require_genomes, require_key
from ga.ledger.strategies import candidates
from ga.market import Market

CANDIDATES: Final = 20
"""Strategies of each family, the best by fitness, that a distinct list is chosen from."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A strategy of a list."""

    record: StrategyRecord
    """With its Sharpe ratios on all parts."""
    parts: Mapping[str, Statistics]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Strategies of one market, best first by fitness."""

    strategies: tuple[Listed, ...]
    benchmarks: tuple[Benchmark, ...]


def list_strategies(
    ledger: Ledger,
    runs: Sequence[str],
    market: Market,
    settings: Settings,
    *,
    limit: int,
    all_alike: bool = False,
) -> Listing:
    """The best strategies of runs on one market, with the same settings.

    By default they are distinct (see ``ga.analysis.distinct``): of the ``CANDIDATES`` best of each
    family, those with correlated returns on the bars before the hold-out form clusters, and the
    best of each cluster is listed, at most two of a family.

    Args:
        market: the whole market. all_alike: list the best, no matter how much they are alike.

    Raises:
        LedgerError: the database is unavailable, or its values are damaged.
    """
    found = [
        one
        for run in runs
        for one in (
            ledger.strategies(run, limit)
            if all_alike
            else candidates(ledger.engine, run, CANDIDATES)
        )
    ]
    require_genomes(found)
    # A strategy that several runs found is the same one: it has one key.
    unique = list({one.outcome.key: one for one in reversed(found)}.values())
    ordered = sorted(unique, key=lambda one: (-(one.outcome.fitness or 0.0), one.outcome.key))
    chosen = ordered[:limit] if all_alike else _distinct(ordered, market, settings, limit)
    # A damaged gene would show statistics of another strategy.
    seen = visible(market, settings).hash
    for one in chosen:
        require_key(one, seen, settings)
    return Listing(
        strategies=tuple(_listed(one, market, settings) for one in chosen),
        benchmarks=benchmarks(market, settings),
    )


def _distinct(
    ordered: Sequence[StrategyRecord], market: Market, settings: Settings, limit: int
) -> list[StrategyRecord]:
    if not ordered or not limit:
        return []
    seen = visible(market, settings)
    rows = [accounts_of(seen, settings, one.genome).returns for one in ordered]
    families = [one.genome.family for one in ordered]
    return [ordered[i] for i in distinct(np.array(rows), families, limit=limit)]


def _listed(record: StrategyRecord, market: Market, settings: Settings) -> Listed:
    parts = report_of(market, settings, record.genome).parts
    in_sample, out_of_sample, holdout = (
        parts[part].sharpe if part in parts else None for part in PARTS
    )
    sharpes = Sharpes(in_sample=in_sample, out_of_sample=out_of_sample, holdout=holdout)
    return Listed(record=replace(record, sharpes=sharpes), parts=parts)
