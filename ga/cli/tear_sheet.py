"""The tear sheet of a strategy: one offline HTML page, next to its benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ga.analysis.benchmark import BEST_CONSTANT, BUY_AND_HOLD, Benchmark, Report
from ga.analysis.holdout import PARTS, ranges
from ga.analysis.periods import monthly_returns, rolling_sharpe, rolling_window
from ga.analysis.statistics import drawdowns
from ga.cli.equity_page import STYLE, Line, chart, html_table
from ga.cli.render import benchmark_name, ratio, shown
from ga.evaluation.settings import Settings
from ga.ledger import StrategyRecord
from ga.market import Market
from ga.presentation import SHORT_KEY, market_line, named_genes

_KINDS: Final = ("strategy", "first", "second")
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip
_MORE: Final = """
figure { margin: 0 } path.first { stroke: #d29922 } path.second { stroke: #8250df }
rect.shaded { fill: var(--line); opacity: .1 } h2 { margin: 1.5rem 0 .25rem }
.key { display: inline-block; width: 1.2em; height: .25em; margin: 0 .4em .2em 1em }
.key.strategy { background: var(--line) } .key.first { background: #d29922 }
.key.second { background: #8250df } .right td { text-align: right }
.loss { color: #cf222e } td, th { padding: .15rem .5rem }
"""

Curve = NDArray[np.float64]


def page(
    strategy: StrategyRecord,
    market: Market,
    settings: Settings,
    report: Report,
    compared: Sequence[Benchmark],
    rows: Sequence[Mapping[str, object]],
) -> str:
    """Equity, drawdown, rolling Sharpe ratio, months, statistics by part and fold, and genes.

    Args:
        rows: by part, fold and asset.
    """
    family, key = strategy.genome.family, strategy.outcome.key[:SHORT_KEY]
    title = f"{family} on {market.name}"
    named = [(family, report.accounts)]
    for benchmark in compared:
        if benchmark.name != BEST_CONSTANT or benchmark.position != 1.0:
            named.append((benchmark_name(benchmark), benchmark.report.accounts))
        else:
            # The two benchmarks are one: their lines would hide each other.
            named[-1] = (f"{BUY_AND_HOLD}, also the best constant position", named[-1][1])
    held_out = next(
        ((a, b) for part, _, a, b in ranges(market, settings) if part == PARTS[2]), None
    )
    window = rolling_window(market.bars, market.bars_per_year)

    def drawn(label: str, curves: Sequence[Curve], unit: str = "") -> str:
        lines = [
            Line(name=name, values=values, kind=kind)
            for (name, _), values, kind in zip(named, curves, _KINDS, strict=False)
        ]
        return chart(label, market.times, lines, unit=unit, shaded=held_out)

    sharpes = [
        rolling_sharpe(accounts.returns, window, market.bars_per_year) for _, accounts in named
    ]
    genes = [{"gene": k, "value": f"{v:.6g}"} for k, v in named_genes(strategy.genome).items()]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}{_MORE}</style>'
        f"<h1>{escape(title)}</h1><p>Strategy {key} of run {strategy.run}; fitness"
        f" {strategy.outcome.fitness or 0.0:.3f}; {escape(market_line(market))}. Net of fee"
        f" {settings.costs.fee:.3%} and slippage {settings.costs.slippage:.3%} of the traded value,"
        " and of funding. The hold-out is shaded.</p>"
        f"<h2>Equity</h2>{drawn('Equity over time', [a.curve for _, a in named])}"
        f"<h2>Drawdown</h2>"
        f"{drawn('Drawdown over time', [0.0 - drawdowns(a.curve) for _, a in named], '%')}"
        f"<h2>Rolling Sharpe ratio, annualised, of the last {window:,} bars</h2>"
        f"{drawn('Rolling Sharpe ratio over time', sharpes)}"
        f"<h2>Return by month, of the strategy</h2>"
        f"{_months(monthly_returns(market.times, report.accounts.curve))}"
        f"<h2>Statistics by part</h2>{html_table(_statistics(family, report, compared))}"
        f"<h2>By fold and asset, of the strategy</h2>{html_table(rows)}"
        f"<h2>Genes</h2>{html_table(genes)}</html>\n"
    )


def _statistics(
    family: str, report: Report, compared: Sequence[Benchmark]
) -> list[dict[str, object]]:
    """A row for each part, of the strategy and of each benchmark."""
    named = [(family, report), *((benchmark_name(b), b.report) for b in compared)]
    return [
        {"part": part, "of": name, "Sharpe": ratio(one.parts[part].sharpe)} | shown(one.parts[part])
        for part in report.parts
        for name, one in named
    ]


def _months(returns: Mapping[tuple[int, int], float]) -> str:
    """A row for each year, a column for each month, and the year's return."""
    head = "".join(f"<th>{name}</th>" for name in ("year", *_MONTHS, "all"))
    body = []
    for year in sorted({year for year, _ in returns}):
        whole = 1.0
        cells = []
        for month in range(1, 13):
            value = returns.get((year, month))
            whole *= 1.0 if value is None else 1.0 + value
            cells.append(_percent(value))
        body.append(f"<tr><th>{year}</th>{''.join(cells)}{_percent(whole - 1.0)}</tr>")
    return f'<div class="wide right"><table><tr>{head}</tr>{"".join(body)}</table></div>'


def _percent(value: float | None) -> str:
    if value is None:
        return "<td></td>"
    loss = ' class="loss"' if value < 0.0 else ""
    return f"<td{loss}>{100.0 * value:.1f}</td>"
