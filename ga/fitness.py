"""Performance over assets and walk-forward folds -> one number, for batches of genomes."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise
from math import isfinite
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ga import backtest
from ga.accounts import scores
from ga.backtest import Costs
from ga.errors import InputError, MachineError
from ga.families import KERNEL_VERSION, Changes, get_family
from ga.genome import Genome
from ga.market import Market
from ga.panel import panels

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

OF_A_GENOME: Final = (ArithmeticError, LookupError, MemoryError, ValueError)
"""Errors that a family may raise for the genome or the market that it was given. All others
(a missing library, an unreadable file, a damaged kernel) are the machine's."""

_CELLS: Final = 1 << 21
"""Lanes x bars worked off at once: bounds the memory, 24 MiB for changes that are seldom many."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything besides genome and market that an evaluation's result depends on."""

    costs: Costs = field(default_factory=Costs)
    folds: int = 4
    """Walk-forward folds: consecutive stretches of history, each an in-sample part that the fitness
    is averaged over, and an out-of-sample part after it that evolution is never told of."""
    out_of_sample: float = 0.25
    """Part of a fold that is out-of-sample."""
    purge: int = 5
    """Bars measured in neither part where one ends: as far as the learned families look ahead."""
    embargo: float = 0.01
    """Part of the history that is skipped after each out-of-sample part, so that what was known
    there is not used again (Lopez de Prado, 2018, ch. 7)."""
    holdout: float = 0.2
    """Last part of the history; measured once, for the final strategies."""
    warm_up: float = 0.1
    """First part of the history; traded but not measured, so that rules have a past."""
    min_trades: int = 10
    """Fills that a fold needs on an asset for its Sharpe ratio to count in full: below, a ratio
    above zero is scaled down in proportion, so that one lucky trade is not a strategy."""

    def __post_init__(self) -> None:
        if not 1 <= self.folds <= 100:
            raise InputError(f"folds must be 1..100, not {self.folds}")
        if not 0.0 <= self.holdout <= 0.9:
            raise InputError(f"holdout must be 0..0.9, not {self.holdout}")
        if not 0.0 <= self.out_of_sample <= 0.8:
            raise InputError(f"out_of_sample must be 0..0.8, not {self.out_of_sample}")
        if not 0 <= self.min_trades <= 10_000:
            raise InputError(f"min_trades must be 0..10000, not {self.min_trades}")
        if self.purge < 0 or not 0.0 <= self.embargo <= 0.2:
            raise InputError("purge must not be negative and embargo must be 0..0.2")
        for name, value in asdict(self.costs).items():
            if not 0.0 <= value < 0.5:
                raise InputError(f"{name} must be a fraction from 0 to below 0.5, not {value}")

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the settings and the version of the kernels."""
        text = json.dumps({**asdict(self), "kernels": KERNEL_VERSION}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


OUT_OF_MEMORY: Final = "out of memory"
"""The error of a genome that wants more than its allowance."""


class Outcome(NamedTuple):
    """What became of one evaluation. Failed: ``error`` is set and there is no fitness."""

    key: str
    fitness: float | None
    """See ``score``."""
    trades: int = 0
    """Fills over all assets and folds."""
    max_drawdown: float = 0.0
    """Largest drawdown of any asset and fold, as a fraction."""
    error: str | None = None


def evaluation_keys(genomes: Iterable[Genome], market_hash: str, settings: Settings) -> list[str]:
    """The identities of evaluations: family, genes, market, settings and kernel version."""
    base, keys = _key_base(market_hash, settings.hash), []
    for genome in genomes:
        digest = base.copy()
        digest.update(genome.packed)
        keys.append(digest.hexdigest())
    return keys


def evaluation_key(genome: Genome, market_hash: str, settings: Settings) -> str:
    """The identity of one evaluation."""
    return evaluation_keys([genome], market_hash, settings)[0]


@lru_cache(maxsize=64)
def _key_base(market_hash: str, settings_hash: str) -> hashlib._Hash:
    return hashlib.sha256(f"{market_hash}\x00{settings_hash}\x00".encode())


@dataclass(frozen=True, kw_only=True)
class Split:
    """Which bars are measured as what: ranges [start, stop), each (F, 2)."""

    in_sample: Ints
    out_of_sample: Ints
    """(0, 2) if the settings have none."""


def visible(market: Market, settings: Settings) -> Market:
    """The market without its hold-out: all that workers are ever given.

    Raises:
        InputError: too few bars for the folds.
    """
    bars = int(market.bars * (1.0 - settings.holdout))
    parts = split(bars, settings)
    if int(np.diff(parts.in_sample).min()) < 15:
        raise InputError(
            f"market {market.name}: {bars} bars before the hold-out are too few for"
            f" {settings.folds} folds; give a longer history or fewer folds"
        )
    return market.head(bars)


@lru_cache(maxsize=64)
def split(bars: int, settings: Settings) -> Split:
    """Cut ``bars`` visible bars into equal, consecutive folds after the warm-up.

    Each is in-sample | purge | out-of-sample | purge and embargo.
    """
    edges = np.linspace(int(bars * settings.warm_up), bars, settings.folds + 1).astype(np.int64)
    inside, outside = [], []
    gap = settings.purge + int(settings.embargo * bars)
    for start, stop in pairwise(edges.tolist()):
        until = stop - gap
        turn = start + round((until - start) * (1.0 - settings.out_of_sample))
        if settings.out_of_sample:
            inside.append((start, turn - settings.purge))
            outside.append((turn, until))
        else:
            inside.append((start, until))
    return Split(
        in_sample=np.array(inside, dtype=np.int64),
        out_of_sample=np.array(outside, dtype=np.int64).reshape(-1, 2),
    )


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


def score(statistics: Floats, bars_per_year: float, settings: Settings) -> Floats:
    """(L, 3) of statistics (L, A, F, 6): fitness, the mean over assets and folds of the annualised
    net Sharpe ratio, those above zero scaled down where there were few trades; fills; and the
    largest drawdown."""
    found = np.empty((len(statistics), 3))
    scores(statistics.swapaxes(0, 1), bars_per_year, settings.min_trades, found)
    return found


class _Room(threading.local):
    """Changes to be filled, kept between calls: fresh memory costs as much as a fast kernel."""

    changes: Changes | None = None


_room = _Room()


def _changes(lanes: int, bars: int) -> Changes:
    room = _room.changes
    if room is None or room.targets.shape[1] != bars or room.counts.size < lanes:
        _room.changes = room = Changes.empty(lanes, bars)
    return room if room.counts.size == lanes else room.first(lanes)


def measure(market: Market, settings: Settings, family: str, genes: Floats, ranges: Ints) -> Floats:
    """Statistics (L, A, F, 6) of ``genes`` (L, G) over all assets and the ranges (F, 2).

    See ``ga.backtest.STATISTICS`` for the last axis.
    """
    rule = get_family(family)
    if genes.ndim != 2 or genes.shape[1] != len(rule.genes):
        # Kernels are compiled without bounds checks and would read whatever lies behind.
        raise ValueError(f"{family} has {len(rule.genes)} genes, not {genes.shape[1:]}")
    lanes = max(1, min(len(genes), _CELLS // market.bars))
    # Asset by asset, so that kernels write where the results are to stand: each step of Python
    # between two kernels finds the caches full of theirs, and takes ten times as long as alone.
    out = np.empty((len(market.assets), len(genes), len(ranges), len(backtest.STATISTICS)))
    for asset, panel in enumerate(panels(market)):
        for at in range(0, len(genes), lanes):
            group = genes[at : at + lanes]
            changes = _changes(len(group), market.bars)
            rule.signals(panel, group, changes)
            place = out[asset, at : at + lanes]
            backtest.measure(panel, changes, ranges, settings.costs, place)
    return out.swapaxes(0, 1)


def evaluate(market: Market, settings: Settings, genomes: Sequence[Genome]) -> list[Outcome]:
    """Evaluate genomes on an in-sample market, in order. One that fails spoils no other.

    Raises:
        MachineError: an evaluation failed with an error that no genome can cause.
    """
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
    ranges = split(market.bars, settings).in_sample
    statistics, failure = None, ""
    try:
        genes = np.array([g.genes for g in genomes], dtype=np.float64)
        statistics = measure(market, settings, family, genes, ranges)
    except MemoryError:
        failure = OUT_OF_MEMORY
    except Exception as error:
        if isinstance(error, OF_A_GENOME) and not isinstance(error, InputError):
            # Alone, a genome is the guilty one.
            failure = f"{type(error).__name__}: {error}"
        else:
            # An input error: whoever asked knows a family that this engine does not.
            raise MachineError(
                f"{family} cannot be evaluated on this machine: {type(error).__name__}: {error}"
            ) from error
    if statistics is None:
        # Only here is the error gone, and with it the memory that its frames held.
        if len(genomes) > 1:
            return [o for g in genomes for o in _family(market, settings, family, [g])]
        key = evaluation_key(genomes[0], market.hash, settings)
        return [Outcome(key=key, fitness=None, error=failure)]
    rows = score(statistics, market.bars_per_year, settings).tolist()
    outcomes = []
    keys = evaluation_keys(genomes, market.hash, settings)
    for key, (value, fills, drawdown) in zip(keys, rows, strict=True):
        if isfinite(value):
            outcomes.append(Outcome(key, value, int(fills), drawdown))
        else:
            outcomes.append(Outcome(key=key, fitness=None, error="fitness is not finite"))
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

    def __reduce__(self) -> tuple[Callable[..., Batch], tuple[object, ...]]:
        """To be sent column by column: one by one, outcomes take longer to send than to make."""
        columns = tuple(zip(*self.outcomes, strict=True))
        return _batch, (columns, self.cpu_seconds, self.started_at, self.finished_at)


def _batch(columns: Sequence[Any], cpu: float, started: float, finished: float) -> Batch:
    outcomes = tuple(map(Outcome._make, zip(*columns, strict=True)))
    return Batch(outcomes=outcomes, cpu_seconds=cpu, started_at=started, finished_at=finished)


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
