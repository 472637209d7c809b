"""A finished run of the Python API, and its strategies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import pandas as pd

from ga.analysis.accounts import accounts_of, constant
from ga.analysis.holdout import PARTS, positions, ranges
from ga.analysis.overfitting import Edge
from ga.appraisal import Result
from ga.errors import InputError
from ga.evaluation.settings import Settings
from ga.evolution import Plan
from ga.genome import Genome
from ga.ledger import StrategyRecord
from ga.listing import Listing
from ga.market import Market
from ga.presentation import (
    SHARPE_COLUMNS,
    SHORT_KEY,
    STATISTICS_COLUMNS,
    named_genes,
    sharpe_columns,
    sharpes_of,
    statistics_columns,
)
from ga.series import UNMEASURED, Named, series_frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """One evolved strategy. Ratios are annualised, net of costs, and means over the assets."""

    key: str
    """Its identity, 64 hexadecimal digits; commands take the start of it."""
    family: str
    genes: Mapping[str, float]
    fitness: float
    """What the search maximised: the mean in-sample Sharpe ratio, less if it trades too rarely."""
    trades: int
    """Fills in-sample over all assets and folds."""
    max_drawdown: float
    """Largest in-sample drawdown of any asset and fold, as a fraction."""
    generation: int
    """Where it was found first, from 0."""
    in_sample: float | None
    """Sharpe ratio in-sample; None if there is none."""
    out_of_sample: float | None
    """Sharpe ratio on the parts that the search never used."""
    holdout: float | None
    """Sharpe ratio on the last bars, measured once at the end."""

    @property
    def name(self) -> str:
        """The family and the start of the key."""
        return f"{self.family} {self.key[:SHORT_KEY]}"

    def signals(self, market: Market) -> pd.DataFrame:
        """Target positions on any market.

        Returns:
            (bars, assets): the position as a fraction of equity from -1 (short) to 1 (long),
            decided at the close of the bar of that opening time and filled at the next open.
            Index: opening times in UTC; columns: assets.

        Raises:
            InputError: the market is too short for the family.
        """
        genome = Genome(self.family, tuple(self.genes.values()))
        targets = positions(market, genome)
        return pd.DataFrame(targets, index=_times(market), columns=list(market.assets))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Run:
    """A finished run."""

    id: str
    """12 hexadecimal digits; commands take the start of it."""
    store: str | None
    """The ledger that has the run; None if it was not kept."""
    digest: str
    """Over every individual and every bit of its fitness; equal for equal seeds."""
    market: Market
    """The whole market, with the hold-out."""
    plan: Plan
    """Seed, population size, generations and families."""
    settings: Settings
    """Costs, folds and hold-out."""
    ranking: tuple[Strategy, ...]
    """The best strategies, best first; distinct ones unless ``distinct=False`` was given."""
    edge: Edge | None
    """Evidence of an edge after correction for the number of trials: ``str(run.edge)`` is one
    line, ``run.edge.shown`` the conclusion. None if no strategy has a fitness."""
    families_at_end: Mapping[str, int]
    """Individuals of the last generation in each family."""
    _listing: Listing

    @property
    def best(self) -> Strategy:
        """The strategy with the best fitness.

        Raises:
            InputError: no strategy has a fitness.
        """
        if not self.ranking:
            raise InputError(
                f"run {self.id}: it kept no strategy with a fitness; evolve with top=1 or more, a"
                " larger population, or a longer market"
            )
        return self.ranking[0]

    @property
    def strategies(self) -> pd.DataFrame:
        """The best strategies, one a row, with the numbers of the command line.

        ``key`` (its start), ``family``, ``fitness``; the annualised net Sharpe ratios
        ``in-sample``, ``out-of-sample`` and ``hold-out``; and on the hold-out, of the portfolio,
        net of costs: ``CAGR``, ``volatility``, ``drawdown`` and ``exposure`` (fractions),
        ``turnover`` (a year) and ``trades``. ``statistics`` has them for all parts.
        """
        rows = [
            {
                "key": one.record.outcome.key[:SHORT_KEY],
                "family": one.record.genome.family,
                "fitness": one.record.outcome.fitness,
                **sharpe_columns(one.parts),
                **statistics_columns(one.parts.get(PARTS[2])),
            }
            for one in self._listing.strategies
        ]
        columns = ["key", "family", "fitness", *SHARPE_COLUMNS, *STATISTICS_COLUMNS]
        return pd.DataFrame(rows, columns=columns)

    @property
    def benchmarks(self) -> pd.DataFrame:
        """Buying and holding, and the best constant position, on the same market and costs.

        The columns of ``strategies`` with ``name`` and ``position`` (fraction of equity, -1 to 1)
        instead of the first three. The best constant position has the highest in-sample Sharpe
        ratio of the multiples of 0.1 from -1 to 1.
        """
        rows = [
            {
                "name": one.name,
                "position": one.position,
                **sharpe_columns(one.report.parts),
                **statistics_columns(one.report.parts.get(PARTS[2])),
            }
            for one in self._listing.benchmarks
        ]
        return pd.DataFrame(rows)

    @property
    def statistics(self) -> pd.DataFrame:
        """All statistics of strategies and benchmarks by part, one part a row.

        Columns: ``name`` (the start of the key, or the benchmark), ``part``, ``bars``,
        ``sharpe``, ``cagr``, ``volatility``, ``max_drawdown``, ``turnover``, ``exposure``,
        ``trades``; ``ga.analysis.statistics.Statistics`` defines them.
        """
        named = [
            *((s.record.outcome.key[:SHORT_KEY], s.parts) for s in self._listing.strategies),
            *((b.name, b.report.parts) for b in self._listing.benchmarks),
        ]
        rows = [{"name": name, **asdict(one)} for name, parts in named for one in parts.values()]
        return pd.DataFrame(rows)

    @cached_property
    def equity(self) -> pd.DataFrame:
        """Equity of the best strategy at the close of every bar, and of buying and holding.

        Returns:
            (bars, 3): ``strategy`` and ``buy and hold``, net of costs, means over one account for
            each asset that begins with 1; ``part``: ``in-sample``, ``out-of-sample``,
            ``hold-out`` or ``unmeasured``. Index: opening times in UTC.

        Raises:
            InputError: no strategy has a fitness.
        """
        best, market = self.best, self.market
        genome = Genome(best.family, tuple(best.genes.values()))
        parts = [UNMEASURED] * market.bars
        for part, _, start, stop in ranges(market, self.settings):
            parts[start:stop] = [part] * (stop - start)
        return pd.DataFrame(
            {
                "strategy": accounts_of(market, self.settings, genome).curve,
                "buy and hold": constant(market, self.settings, 1.0).curve,
                "part": pd.Categorical(parts, categories=[*PARTS, UNMEASURED]),
            },
            index=_times(market),
        )

    @cached_property
    def series(self) -> pd.DataFrame:
        """Return and position series of the strategies, as ``ga export --all`` writes them.

        Returns:
            One row for each strategy, asset and bar, by strategy, asset and time: ``time``
            (opening, UTC), ``strategy`` (key), ``asset``, ``part``, ``position`` (target decided
            at the close, a fraction of equity from -1 to 1, filled at the next open), ``return``
            (of the asset's account from close to close, net of costs) and ``equity`` (at the
            close, 1 at the start).
        """
        named = [
            Named(key=one.key, genome=Genome(one.family, tuple(one.genes.values())), described={})
            for one in self.ranking
        ]
        return series_frame(self.market, self.settings, named)

    def plot(self, ax: Axes | None = None) -> Figure:
        """Draw ``equity``, with the hold-out shaded.

        Args:
            ax: Axes to draw in; of a new figure by default.

        Returns:
            The figure. A notebook shows it; ``figure.savefig("run.png")`` writes it.

        Raises:
            InputError: matplotlib is not installed, or no strategy has a fitness.
        """
        from ga.api.plot import plot

        return plot(self, ax)

    def __repr__(self) -> str:
        found = f"best {self.best.name} {self.best.fitness:.3f}" if self.ranking else "no strategy"
        return f"<run {self.id} on {self.market.name}: {found}, digest {self.digest[:12]}>"


def _times(market: Market) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(market.times, tz="UTC", name="time")


def make_run(result: Result, market: Market, store: str | None) -> Run:
    """The run that a user gets.

    Args:
        market: The market as the user gave it.
    """
    return Run(
        id=result.run,
        store=store,
        digest=result.digest,
        market=market,
        plan=result.plan,
        settings=result.settings,
        ranking=tuple(_strategy(one.record) for one in result.listing.strategies),
        edge=result.edge,
        families_at_end=MappingProxyType(dict(result.families_at_end)),
        _listing=result.listing,
    )


def _strategy(record: StrategyRecord) -> Strategy:
    outcome, sharpes = record.outcome, sharpes_of(record)
    if outcome.fitness is None:
        raise ValueError(f"strategy {outcome.key} has no fitness")
    return Strategy(
        key=outcome.key,
        family=record.genome.family,
        genes=MappingProxyType(named_genes(record.genome)),
        fitness=outcome.fitness,
        trades=outcome.trades,
        max_drawdown=outcome.max_drawdown,
        generation=record.generation,
        in_sample=sharpes.in_sample,
        out_of_sample=sharpes.out_of_sample,
        holdout=sharpes.holdout,
    )
