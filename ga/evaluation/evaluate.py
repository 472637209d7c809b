"""Evaluates genomes on a market, in batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import numpy as np

from ga.backtest import simulation
from ga.backtest.panel import panels
from ga.errors import InputError, MachineError
from ga.evaluation.folds import split
from ga.evaluation.scoring import score
from ga.evaluation.settings import (
    OUT_OF_MEMORY,
    Outcome,
    Settings,
    evaluation_key,
    evaluation_keys,
)
from ga.families import Changes, get_family
from ga.genome import Genome
from ga.market import Market
from ga.typing import Floats, Ints

OF_A_GENOME: Final = (ArithmeticError, LookupError, MemoryError, ValueError)
"""Errors that a family may raise because of its genome or market. All others (a missing library, an
unreadable file, a damaged kernel) are faults of the machine.
"""

CELLS: Final = 1 << 21
"""Lanes x bars per call; limits the memory to 24 MiB."""


class _Scratch(threading.local):
    """Memory for changes that is reused between calls, because allocating it takes as long as a
    fast kernel.
    """

    changes: Changes | None = None


_scratch = _Scratch()


def _changes(lanes: int, bars: int) -> Changes:
    room = _scratch.changes
    if room is None or room.targets.shape[1] != bars or room.counts.size < lanes:
        _scratch.changes = room = Changes.empty(lanes, bars)
    return room if room.counts.size == lanes else room.first(lanes)


def measure(market: Market, settings: Settings, family: str, genes: Floats, ranges: Ints) -> Floats:
    """Statistics (L, A, F, 6) of ``genes`` (L, G) over all assets and the ranges (F, 2).

    See ``ga.backtest.simulation.STATISTICS`` for the last axis.
    """
    rule = get_family(family)
    if genes.ndim != 2 or genes.shape[1] != len(rule.genes):
        # Kernels are compiled without bounds checks and would read beyond the array.
        raise ValueError(f"{family} has {len(rule.genes)} genes, not {genes.shape[1:]}")
    lanes = max(1, min(len(genes), CELLS // market.bars))
    # Asset by asset, so that kernels write directly into the results. Each Python step between two
    # kernels finds cold processor caches and takes ten times as long as alone.
    out = np.empty((len(market.assets), len(genes), len(ranges), len(simulation.STATISTICS)))
    for asset, panel in enumerate(panels(market)):
        for at in range(0, len(genes), lanes):
            group = genes[at : at + lanes]
            changes = _changes(len(group), market.bars)
            rule.signals(panel, group, changes)
            place = out[asset, at : at + lanes]
            simulation.simulate(panel, changes, ranges, settings.costs, place)
    return out.swapaxes(0, 1)


def evaluate(market: Market, settings: Settings, genomes: Sequence[Genome]) -> list[Outcome]:
    """Evaluate genomes on an in-sample market, in order. A failing genome does not affect the
    others.

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
            # Evaluated alone, so this genome is the cause.
            failure = f"{type(error).__name__}: {error}"
        else:
            # An input error: the caller has a family that this engine lacks.
            raise MachineError(
                f"{family} cannot be evaluated on this machine: {type(error).__name__}: {error}"
            ) from error
    if statistics is None:
        # Only here the error is released, and with it the memory of its frames.
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
    """Outcomes of one batch, with its CPU time and times."""

    outcomes: tuple[Outcome, ...]
    cpu_seconds: float
    """CPU time of the evaluating thread."""
    started_at: float
    """Unix seconds by the worker's clock."""
    finished_at: float

    def __reduce__(self) -> tuple[Callable[..., Batch], tuple[object, ...]]:
        """Pickle column by column, because single outcomes take longer to send than to compute."""
        columns = tuple(zip(*self.outcomes, strict=True))
        return _batch, (columns, self.cpu_seconds, self.started_at, self.finished_at)


def _batch(columns: Sequence[Any], cpu: float, started: float, finished: float) -> Batch:
    outcomes = tuple(map(Outcome._make, zip(*columns, strict=True)))
    return Batch(outcomes=outcomes, cpu_seconds=cpu, started_at=started, finished_at=finished)


def evaluate_batch(market: Market, settings: Settings, genomes: Sequence[Genome]) -> Batch:
    """``evaluate`` with its CPU time and times; called by workers."""
    started, cpu = time.time(), time.thread_time()
    outcomes = tuple(evaluate(market, settings, genomes))
    return Batch(
        outcomes=outcomes,
        cpu_seconds=time.thread_time() - cpu,
        started_at=started,
        finished_at=time.time(),
    )
