"""Markets and strategies as lines and rows: what the command line, the service and the Python API
show.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Final

from ga.analysis.benchmark import Benchmark
from ga.analysis.statistics import Statistics
from ga.families import get_family
from ga.genome import Genome
from ga.ledger import Sharpes, StrategyRecord
from ga.listing import Listed
from ga.market import Market

SHORT_KEY: Final = 10
"""Characters of a strategy's key that are shown."""
SHARPE_COLUMNS: Final = ("in-sample", "out-of-sample", "hold-out")
"""Columns of Sharpe ratios, one for each part of the history."""
STATISTICS_COLUMNS: Final = ("CAGR", "volatility", "drawdown", "turnover", "exposure", "trades")
"""Columns of other statistics, all of one part."""
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


def part_rows(parts: Mapping[str, Statistics]) -> dict[str, dict[str, float | int]]:
    """Statistics by part, as a JSON object: all are net of costs, on the portfolio."""
    return {
        part: {name: value for name, value in asdict(one).items() if name != "part"}
        for part, one in parts.items()
    }


def listed_row(listed: Listed) -> dict[str, object]:
    """A strategy of a list as a JSON object."""
    record = listed.record
    return {**strategy_row(record), **sharpe_row(record), "statistics": part_rows(listed.parts)}


def benchmark_rows(benchmarks: Iterable[Benchmark]) -> list[dict[str, object]]:
    """Benchmarks as JSON objects."""
    return [
        {"name": b.name, "position": b.position, "statistics": part_rows(b.report.parts)}
        for b in benchmarks
    ]


def sharpe_columns(parts: Mapping[str, Statistics]) -> dict[str, float | None]:
    """Annualised net Sharpe ratios by part; None for a part that the market lacks."""
    return {name: parts[name].sharpe if name in parts else None for name in SHARPE_COLUMNS}


def statistics_columns(one: Statistics | None) -> dict[str, float | int | None]:
    """Statistics of one part: ``STATISTICS_COLUMNS`` -> value; fractions, not per cent."""
    if one is None:
        return dict.fromkeys(STATISTICS_COLUMNS)
    values = (
        one.cagr, one.volatility, one.max_drawdown, one.turnover, one.exposure, one.trades
    )  # fmt: skip
    return dict(zip(STATISTICS_COLUMNS, values, strict=True))


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
