"""Output of the command line: tables on stdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ga.cli.tables import table
from ga.ledger import StrategyRecord
from ga.presentation import SHORT_KEY, named_genes, table_row


def print_strategies(strategies: Sequence[StrategyRecord], *, runs: bool) -> None:
    """Print strategies with their genes; ``runs``: and with their runs."""
    rows = []
    for strategy in strategies:
        row = table_row(strategy)
        shown: dict[str, object] = {"key": row["key"]}
        if runs:
            shown["run"] = strategy.run
        shown["family"] = row["family"]
        shown |= {name: _ratio(row[name]) for name in ("in-sample", "out-of-sample", "hold-out")}
        shown["drawdown"] = f"{row['drawdown']:.1%}"
        shown["trades"] = row["trades"]
        rows.append(shown)
    table(
        "Best strategies: annualised net Sharpe ratios, evolved on in-sample data only",
        rows,
        right=("in-sample", "out-of-sample", "hold-out", "drawdown", "trades"),
    )
    for strategy in strategies:
        genes = named_genes(strategy.genome)
        listed = ", ".join(f"{name} {value:.4g}" for name, value in genes.items())
        print(f"{strategy.outcome.key[:SHORT_KEY]} {listed}")


def _ratio(value: str | float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def print_families(counts: Mapping[str, int]) -> None:
    """Print how many individuals of the last generation belong to each family."""
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    print(f"families at the end: {listed or 'none'}")
