"""The result of a finished run: its best strategies on all parts of the history, and its edge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

from ga.analysis.holdout import PARTS, Performance, measure_performance, test_for_edge
from ga.analysis.overfitting import Edge
from ga.errors import InputError
from ga.evaluation.settings import Settings
from ga.evolution import Plan
from ga.ledger import Ledger, RunRecord, Sharpes, StrategyRecord, open_ledger
from ga.listing import Listing, list_strategies
from ga.market import Market
from ga.sources import MarketSpec

TRIED_SAMPLE: Final = 64
"""Number of tried strategies that the probability of overfitting is computed from."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished run."""

    run: str
    market: Market
    """The whole market, with the hold-out."""
    plan: Plan
    settings: Settings
    digest: str
    listing: Listing
    """The best strategies with their statistics, best first, and the benchmarks."""
    edge: Edge | None
    """None if no strategy has a fitness."""
    families_at_end: Mapping[str, int]
    """Individuals of the last generation in each family."""


def check_top(top: int) -> None:
    """Check the number of strategies to appraise.

    Raises:
        InputError: it is out of range.
    """
    if not 0 <= top <= 1000:
        raise InputError(f"--top must be 0..1000, not {top}")


def load_again(record: RunRecord) -> Market:
    """The market of a stored run.

    Raises:
        InputError: it is not there, or has other bars.
    """
    market = record.market.load()
    if market.hash != record.market_hash:
        raise InputError(
            f"run {record.run}: market {record.market.spec} has changed since the run began;"
            " restore the data it was started on"
        )
    return market


def stored(store: str, run: str, *, top: int, all_alike: bool = False) -> tuple[MarketSpec, Result]:
    """The result of a run in a ledger, and the source of its market.

    Args:
        run: the start of its id. top: number of strategies to appraise. all_alike: see
            ``list_strategies``.

    Raises:
        InputError: there is no such run, it is not finished, its market has changed, or this
            engine evaluates differently.
    """
    check_top(top)
    with closing(open_ledger(store, create=False)) as ledger:
        record = ledger.run(run)
        record.check_kernels()
        if record.committed < record.plan.generations:
            raise InputError(
                f"run {record.run}: {record.committed} of {record.plan.generations} generations"
                f" are done; finish it with: python -m ga resume {record.run}"
            )
        market = load_again(record)
        return record.market, result_of(
            ledger,
            record.run,
            record.digest,
            record.plan,
            record.settings,
            market,
            top=top,
            all_alike=all_alike,
        )


def result_of(
    ledger: Ledger,
    run: str,
    digest: str,
    plan: Plan,
    settings: Settings,
    market: Market,
    *,
    top: int,
    all_alike: bool = False,
) -> Result:
    """The result of a finished run, with its ``top`` best strategies on a *whole* market."""
    return Result(
        run=run,
        market=market,
        plan=plan,
        settings=settings,
        digest=digest,
        listing=list_strategies(ledger, [run], market, settings, limit=top, all_alike=all_alike),
        edge=_edge(ledger, run, market, settings),
        families_at_end=ledger.family_counts(run),
    )


def _edge(ledger: Ledger, run: str, market: Market, settings: Settings) -> Edge | None:
    best = ledger.strategies(run, 1)
    if not best:
        return None
    trials, sample = ledger.trials(run, TRIED_SAMPLE)
    return test_for_edge(market, settings, best[0].genome, sample, trials)


def appraised(
    strategies: Sequence[StrategyRecord], market: Market, settings: Settings
) -> list[StrategyRecord]:
    """Strategies with their Sharpe ratios on all parts of a *whole* market."""
    appraisals = measure_performance(market, settings, [s.genome for s in strategies])
    return [
        replace(strategy, sharpes=_sharpes(appraisal))
        for strategy, appraisal in zip(strategies, appraisals, strict=True)
    ]


def _sharpes(appraisal: Performance) -> Sharpes:
    in_sample, out_of_sample, holdout = map(appraisal.sharpe, PARTS)
    return Sharpes(in_sample=in_sample, out_of_sample=out_of_sample, holdout=holdout)
