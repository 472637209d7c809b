"""Performance over assets and walk-forward folds -> one number, for batches of genomes."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ga import backtest
from ga.backtest import Costs
from ga.errors import InputError
from ga.families import KERNEL_VERSION, get_family
from ga.genome import Genome
from ga.market import Market

Floats = NDArray[np.float64]

_TARGET_CELLS: Final = 512 * 1024
"""Cells of one block of target positions (4 MiB): lanes are cut to stay in the cache."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything besides genome and market that an evaluation's result depends on."""

    costs: Costs = field(default_factory=Costs)
    folds: int = 4
    """Walk-forward folds that the fitness is averaged over."""
    holdout: float = 0.2
    """Last part of the history; evolution never sees it."""
    warm_up: float = 0.1
    """First part of the in-sample history; traded but not measured, so that rules have a past."""

    def __post_init__(self) -> None:
        if not 1 <= self.folds <= 100:
            raise InputError(f"folds must be 1..100, not {self.folds}")
        if not 0.0 <= self.holdout <= 0.9:
            raise InputError(f"holdout must be 0..0.9, not {self.holdout}")
        for name, value in asdict(self.costs).items():
            if not 0.0 <= value < 0.5:
                raise InputError(f"{name} must be a fraction from 0 to below 0.5, not {value}")

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the settings and the version of the kernels."""
        text = json.dumps({**asdict(self), "kernels": KERNEL_VERSION}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one evaluation. Failed: ``error`` is set and there is no fitness."""

    key: str
    fitness: float | None
    """Mean annualised net Sharpe ratio over assets and folds."""
    trades: int = 0
    """Fills over all assets and folds."""
    max_drawdown: float = 0.0
    """Largest drawdown of any asset and fold, as a fraction."""
    error: str | None = None


def evaluation_key(genome: Genome, market_hash: str, settings: Settings) -> str:
    """The identity of an evaluation: family, genes, market, settings and kernel version."""
    text = "\x00".join((genome.hash, market_hash, settings.hash))
    return hashlib.sha256(text.encode()).hexdigest()


def in_sample(market: Market, settings: Settings) -> Market:
    """The part of the market that evolution may see.

    Raises:
        InputError: too few bars for the folds.
    """
    bars = int(market.bars * (1.0 - settings.holdout))
    if bars < 20 * settings.folds:
        raise InputError(
            f"market {market.name}: {bars} in-sample bars are too few for {settings.folds} folds;"
            " give a longer history or fewer folds"
        )
    return market.head(bars)


def fold_ranges(bars: int, settings: Settings) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and stops (F,) of equal, contiguous folds after the warm-up."""
    first = int(bars * settings.warm_up)
    edges = np.linspace(first, bars, settings.folds + 1).astype(np.int64)
    return edges[:-1].copy(), edges[1:].copy()


def sharpe(statistics: Floats, bars_per_year: float) -> Floats:
    """Annualised Sharpe ratio, mean / std * sqrt(bars a year), 0 where nothing moved, NaN for NaN.

    Args:
        statistics: (..., 6) as ``ga.backtest.run`` returns them.
    """
    mean, std = statistics[..., 0], statistics[..., 1]
    moved = std > 1e-15
    ratio = np.where(moved, mean / np.where(moved, std, 1.0), 0.0)
    # A comparison with NaN is false: without this line a broken evaluation would score 0.
    ratio = np.where(np.isnan(mean) | np.isnan(std), np.nan, ratio)
    return np.asarray(ratio * np.sqrt(bars_per_year), dtype=np.float64)


def measure(
    market: Market,
    settings: Settings,
    family: str,
    genes: Floats,
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
) -> Floats:
    """Statistics (L, A, F, 6) of ``genes`` (L, G) over all assets and the given folds."""
    kernel, wanted = get_family(family).kernel, len(get_family(family).genes)
    if genes.ndim != 2 or genes.shape[1] != wanted:
        # Kernels are compiled without bounds checks and would read whatever lies behind.
        raise ValueError(f"{family} has {wanted} genes, not {genes.shape[1:]}")
    lanes = max(1, _TARGET_CELLS // market.bars)
    out = np.empty((len(genes), len(market.assets), starts.size, len(backtest.STATISTICS)))
    none = np.empty(0)
    for asset in range(len(market.assets)):
        funding = none if market.funding is None else market.funding[asset]
        open_, close = market.open[asset], market.close[asset]
        high, low, volume = market.high[asset], market.low[asset], market.volume[asset]
        for at in range(0, len(genes), lanes):
            targets = kernel(open_, high, low, close, volume, genes[at : at + lanes])
            out[at : at + lanes, asset] = backtest.run(
                open_,
                close,
                funding,
                targets,
                starts,
                stops,
                settings.costs.fee,
                settings.costs.slippage,
            )
    return out


def evaluate(market: Market, settings: Settings, genomes: Sequence[Genome]) -> list[Outcome]:
    """Evaluate genomes on an in-sample market, in order. One that fails spoils no other."""
    outcomes: list[Outcome | None] = [None] * len(genomes)
    by_family: dict[str, list[int]] = {}
    for index, genome in enumerate(genomes):
        by_family.setdefault(genome.family, []).append(index)
    for family, indices in by_family.items():
        group = [genomes[i] for i in indices]
        for index, outcome in zip(indices, _family(market, settings, family, group), strict=True):
            outcomes[index] = outcome
    return [o for o in outcomes if o is not None]


def _family(
    market: Market, settings: Settings, family: str, genomes: Sequence[Genome]
) -> list[Outcome]:
    starts, stops = fold_ranges(market.bars, settings)
    try:
        genes = np.array([g.genes for g in genomes], dtype=np.float64)
        statistics = measure(market, settings, family, genes, starts, stops)
    except Exception as error:
        # A genome's failure is a fact to record, whatever its type; alone, it is the guilty one.
        if len(genomes) > 1:
            return [o for g in genomes for o in _family(market, settings, family, [g])]
        key = evaluation_key(genomes[0], market.hash, settings)
        return [Outcome(key=key, fitness=None, error=f"{type(error).__name__}: {error}")]
    ratios = sharpe(statistics, market.bars_per_year)
    outcomes = []
    for lane, genome in enumerate(genomes):
        key = evaluation_key(genome, market.hash, settings)
        value = float(np.mean(ratios[lane]))
        if not np.isfinite(value):
            outcomes.append(Outcome(key=key, fitness=None, error="fitness is not finite"))
            continue
        outcomes.append(
            Outcome(
                key=key,
                fitness=value,
                trades=int(statistics[lane, ..., 4].sum()),
                max_drawdown=float(statistics[lane, ..., 3].max()),
            )
        )
    return outcomes


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Outcomes of one batch and what it took."""

    outcomes: tuple[Outcome, ...]
    cpu_seconds: float
    """CPU time of the evaluating thread."""
    started_at: float
    """Unix seconds on the worker."""
    finished_at: float


def evaluate_batch(market: Market, settings: Settings, genomes: Sequence[Genome]) -> Batch:
    """``evaluate`` with its time taken: what workers run."""
    started, cpu = time.time(), time.thread_time()
    outcomes = tuple(evaluate(market, settings, genomes))
    return Batch(
        outcomes=outcomes,
        cpu_seconds=time.thread_time() - cpu,
        started_at=started,
        finished_at=time.time(),
    )


def holdout_sharpe(market: Market, settings: Settings, genome: Genome) -> float | None:
    """Mean annualised Sharpe ratio on the hold-out of the *whole* market; None without one."""
    start = int(market.bars * (1.0 - settings.holdout))
    if market.bars - start < 2:
        return None
    genes = np.array([genome.genes], dtype=np.float64)
    bounds = np.array([start], dtype=np.int64), np.array([market.bars], dtype=np.int64)
    statistics = measure(market, settings, genome.family, genes, *bounds)
    return float(np.mean(sharpe(statistics, market.bars_per_year)))
