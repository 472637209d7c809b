"""Output of the command line: progress on stderr, tables on stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from ga.cli.tables import table
from ga.families import FAMILIES
from ga.ledger import StrategyRecord
from ga.market import Market
from ga.runner import Progress as RunProgress

_FIRST_PAUSE: Final = 5.0
_LONGEST_PAUSE: Final = 300.0
"""Seconds between lines in a log: twice as many each time, up to this."""
_SHOWN_GAPS: Final = 3


class ProgressLine:
    """A bar on a terminal; elsewhere lines of text, at increasing intervals.

    Args:
        clock: seconds that pass; for lines only.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("generation {task.fields[generation]}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[text]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._next, self._pause = float("-inf"), _FIRST_PAUSE

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, progress: RunProgress) -> None:
        """Take the newest state of a run."""
        best = "-" if progress.best is None else f"{progress.best:.4f}"
        left = "?" if progress.seconds_left is None else _duration(progress.seconds_left)
        text = f"best {best}  {progress.evaluations_per_second:,.0f} evaluations/s  {left} left"
        shown = min(progress.generation + 1, progress.generations)
        generation = f"{shown}/{progress.generations}"
        total = progress.generations * progress.population_size
        done = progress.generation * progress.population_size + progress.done
        if self._console.is_terminal:
            if self._task is None:
                self._task = self._bar.add_task("", total=total, generation=generation, text=text)
            self._bar.update(self._task, completed=done, generation=generation, text=text)
        elif (now := self._clock()) >= self._next:
            self._next, self._pause = now + self._pause, min(2 * self._pause, _LONGEST_PAUSE)
            line = f"generation {generation}  {100 * done / total:.0f}%  {text}"
            print(line, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _stamp(nanoseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(nanoseconds // 10**9))


def gap_lines(market: Market) -> Iterator[str]:
    """The market in one line, and its gaps, largest first."""
    report = market.report
    yield (
        f"market {market.name}: {len(market.assets)} assets, {market.bars:,} bars"
        f" {_stamp(int(market.times[0]))} to {_stamp(int(market.times[-1]))} UTC,"
        f" {market.bars_per_year:,.0f} bars a year"
    )
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


def print_strategies(strategies: Sequence[StrategyRecord], *, runs: bool) -> None:
    """Print strategies with their genes; ``runs``: and with their runs."""
    rows = []
    for strategy in strategies:
        genome, outcome, sharpes = strategy.genome, strategy.outcome, strategy.sharpes
        row: dict[str, object] = {"key": outcome.key[:10]}
        if runs:
            row["run"] = strategy.run
        row["family"] = genome.family
        row["in-sample"] = f"{outcome.fitness:.3f}"
        row["out-of-sample"] = _ratio(sharpes.out_of_sample if sharpes else None)
        row["hold-out"] = _ratio(sharpes.holdout if sharpes else None)
        row["drawdown"] = f"{outcome.max_drawdown:.1%}"
        row["trades"] = outcome.trades
        rows.append(row)
    table(
        "Best strategies: annualised net Sharpe ratios, evolved on in-sample data only",
        rows,
        right=("in-sample", "out-of-sample", "hold-out", "drawdown", "trades"),
    )
    for strategy in strategies:
        genes = FAMILIES[strategy.genome.family].genes
        pairs = zip(genes, strategy.genome.genes, strict=True)
        listed = ", ".join(f"{gene.name} {value:.4g}" for gene, value in pairs)
        print(f"{strategy.outcome.key[:10]} {listed}")


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def print_families(counts: Mapping[str, int]) -> None:
    """Print how many individuals of the last generation belong to each family."""
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    print(f"families at the end: {listed or 'none'}")
