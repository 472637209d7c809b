"""Output of the command line: tables of strategies on stdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ga.analysis.benchmark import BUY_AND_HOLD, Benchmark, Report
from ga.analysis.holdout import PARTS
from ga.analysis.statistics import Statistics
from ga.cli.tables import paragraph, table
from ga.ledger import StrategyRecord
from ga.listing import Listing
from ga.presentation import (
    SHARPE_COLUMNS,
    SHORT_KEY,
    STATISTICS_COLUMNS,
    named_genes,
    sharpe_columns,
    sharpes_of,
    statistics_columns,
)

_SHARPES: Final = "annualised net Sharpe ratios"


def print_listing(listing: Listing, *, title: str, runs: bool = False) -> None:
    """Print strategies and benchmarks with Sharpe ratios by part, statistics, and genes.

    Args:
        runs: name the run of each strategy.
    """
    if not listing.strategies:
        print(f"{title}: none")
        return
    names = [
        *((s.record.outcome.key[:SHORT_KEY], s.record.genome.family) for s in listing.strategies),
        *(("-", benchmark_name(b)) for b in listing.benchmarks),
    ]
    parts = [*(s.parts for s in listing.strategies), *(b.report.parts for b in listing.benchmarks)]
    fitness = [
        *(s.record.outcome.fitness for s in listing.strategies),
        *(None for _ in listing.benchmarks),
    ]
    rows = [
        {"key": key, "family": family, "fitness": ratio(value)}
        | {name: ratio(v) for name, v in sharpe_columns(by_part).items()}
        for (key, family), value, by_part in zip(names, fitness, parts, strict=True)
    ]
    table(f"{title}: {_SHARPES}", rows, right=("fitness", *SHARPE_COLUMNS))
    print()
    # The last part that the market has: the hold-out, unless the settings have none.
    last = next(part for part in reversed(PARTS) if any(part in by_part for by_part in parts))
    table(
        f"On the {last} part, of the portfolio, net of costs",
        [
            {"strategy": family if key == "-" else key} | shown(by_part.get(last))
            for (key, family), by_part in zip(names, parts, strict=True)
        ],
        right=STATISTICS_COLUMNS,
    )
    print()
    _print_genes([s.record for s in listing.strategies], runs=runs)


def print_records(strategies: Sequence[StrategyRecord]) -> None:
    """Print strategies as the ledger has them; ratios that were not measured are ``-``."""
    rows = []
    for strategy in strategies:
        sharpes = sharpes_of(strategy)
        ratios = (sharpes.in_sample, sharpes.out_of_sample, sharpes.holdout)
        rows.append(
            {
                "key": strategy.outcome.key[:SHORT_KEY],
                "family": strategy.genome.family,
                "fitness": ratio(strategy.outcome.fitness),
            }
            | {name: ratio(v) for name, v in zip(SHARPE_COLUMNS, ratios, strict=True)}
        )
    table(f"All strategies: {_SHARPES}", rows, right=("fitness", *SHARPE_COLUMNS))
    if rows:
        print()
        _print_genes(strategies, runs=True)


def print_report(
    strategy: StrategyRecord,
    report: Report,
    compared: Sequence[Benchmark],
    rows: Sequence[Mapping[str, object]],
) -> None:
    """Print one strategy by part, next to its benchmarks, and by fold and asset.

    Args:
        rows: by part, fold and asset, as in JSON.
    """
    key, family = strategy.outcome.key[:SHORT_KEY], strategy.genome.family
    genes = named_genes(strategy.genome).items()
    print(f"{family} ({key}) of run {strategy.run}")
    paragraph(", ".join(f"{name} {value:.6g}" for name, value in genes))
    print()
    rows_by_part = statistics_rows(key, report, compared)
    numbers = tuple(name for name in rows_by_part[0] if name not in ("part", "statistic"))
    table("By part, net of costs; Sharpe ratios annualised", rows_by_part, right=numbers)
    print()
    by_fold = [
        {
            "part": f"{row['part']} {row['fold']}",
            "asset": row["asset"],
            "from": row["from"],
            "Sharpe": row["sharpe"],
            "growth": row["growth"],
            "drawdown": row["drawdown"],
            "trades": row["trades"],
        }
        for row in rows
    ]
    right = ("Sharpe", "growth", "drawdown", "trades")
    table("By fold and asset, of the strategy", by_fold, right=right)


def statistics_rows(
    name: str, report: Report, compared: Sequence[Benchmark]
) -> list[dict[str, object]]:
    """A row for each part and statistic, a column for the strategy and each benchmark."""
    columns = [(name, report), *((benchmark_name(b), b.report) for b in compared)]
    found = []
    for part in report.parts:
        texts = {
            column: {"Sharpe": ratio(one.parts[part].sharpe)} | shown(one.parts[part])
            for column, one in columns
        }
        found += [
            {"part": part, "statistic": statistic}
            | {column: text[statistic] for column, text in texts.items()}
            for statistic in ("Sharpe", *STATISTICS_COLUMNS)
        ]
    return found


def benchmark_name(benchmark: Benchmark) -> str:
    """The name of a benchmark in a table; that of a constant position has the position."""
    if benchmark.name == BUY_AND_HOLD:
        return benchmark.name
    return f"constant {benchmark.position:+.1f}"


def shown(one: Statistics | None) -> dict[str, object]:
    """Statistics of a part as text: fractions in per cent, turnover as a number a year."""
    columns = statistics_columns(one)
    return {
        name: "-"
        if value is None
        else str(value)
        if name == "trades"
        else f"{value:.1f}"
        if name == "turnover"
        else f"{value:.1%}"
        for name, value in columns.items()
    }


def ratio(value: float | None) -> str:
    """A Sharpe ratio or fitness as text."""
    return "-" if value is None else f"{value:.3f}"


def _print_genes(strategies: Sequence[StrategyRecord], *, runs: bool) -> None:
    for strategy in strategies:
        genes = named_genes(strategy.genome)
        listed = ", ".join(f"{name} {value:.4g}" for name, value in genes.items())
        run = f" (run {strategy.run})" if runs else ""
        paragraph(f"{strategy.outcome.key[:SHORT_KEY]}{run} {listed}")


def print_families(counts: Mapping[str, int]) -> None:
    """Print how many individuals of the last generation belong to each family."""
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    paragraph(f"families at the end: {listed or 'none'}")
