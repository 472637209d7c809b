"""Markets and strategies as lines and rows: what the command line, the service and the Python API
show.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

from ga.families import get_family
from ga.genome import Genome
from ga.ledger import Sharpes, StrategyRecord
from ga.market import Market

SHORT_KEY: Final = 10
"""Characters of a strategy's key that are shown."""
TABLE_COLUMNS: Final = (
    "key",
    "family",
    "in-sample",
    "out-of-sample",
    "hold-out",
    "drawdown",
    "trades",
)
_SHOWN_GAPS: Final = 3


def shown_bytes(count: int) -> str:
    """A number of bytes in words: 1.5 GiB."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} bytes"


def strategy_row(strategy: StrategyRecord) -> dict[str, object]:
    """A strategy as a JSON object."""
    return {
        "key": strategy.outcome.key,
        "family": strategy.genome.family,
        "genes": named_genes(strategy.genome),
        "fitness": strategy.outcome.fitness,
        "trades": strategy.outcome.trades,
        "max_drawdown": strategy.outcome.max_drawdown,
        "generation": strategy.generation,
    }


def sharpe_row(strategy: StrategyRecord) -> dict[str, float | None]:
    """Sharpe ratios of a strategy at the end of its run, as a JSON object."""
    return {f"{part}_sharpe": value for part, value in asdict(sharpes_of(strategy)).items()}


def sharpes_of(strategy: StrategyRecord) -> Sharpes:
    """Sharpe ratios of a strategy at the end of its run; None where they were not measured."""
    return strategy.sharpes or Sharpes(in_sample=None, out_of_sample=None, holdout=None)


def table_row(strategy: StrategyRecord) -> dict[str, str | float | int | None]:
    """A strategy as a row of the table of the best: ``TABLE_COLUMNS`` -> value."""
    outcome, sharpes = strategy.outcome, sharpes_of(strategy)
    values = (
        outcome.key[:SHORT_KEY],
        strategy.genome.family,
        outcome.fitness,
        sharpes.out_of_sample,
        sharpes.holdout,
        outcome.max_drawdown,
        outcome.trades,
    )
    return dict(zip(TABLE_COLUMNS, values, strict=True))


def named_genes(genome: Genome) -> dict[str, float]:
    """Gene -> value."""
    names = [gene.name for gene in get_family(genome.family).genes]
    return dict(zip(names, genome.genes, strict=True))


def market_line(market: Market) -> str:
    """The market in one line."""
    return (
        f"market {market.name}: {len(market.assets)} assets, {market.bars:,} bars"
        f" {_stamp(int(market.times[0]))} to {_stamp(int(market.times[-1]))} UTC,"
        f" {market.bars_per_year:,.0f} bars a year"
    )


def gap_lines(market: Market) -> Iterator[str]:
    """The market in one line, and its gaps, largest first."""
    report = market.report
    yield market_line(market)
    if report.closures:
        yield f"  {report.closures} weekend closures (not gaps)"
    if report.unshared:
        yield f"  {report.unshared} bars left out: not every asset has them"
    yield from (f"  {line}" for line in report.left_out)
    yield from (f"  warning: {note}" for note in report.notes)
    if report.gaps:
        yield f"  {len(report.gaps)} gaps, {report.missing} bars missing"
    for gap in sorted(report.gaps, key=lambda g: -g.missing)[:_SHOWN_GAPS]:
        span = f"{_stamp(gap.after)} and {_stamp(gap.before)}"
        yield f"    {gap.asset}: {gap.missing} bars between {span}"


def _stamp(nanoseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(nanoseconds // 10**9))
