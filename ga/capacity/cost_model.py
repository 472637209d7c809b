"""Cost model: time of a generation on a number of nodes, and number of nodes for a deadline.

The model, in seconds; ``m`` slots, ``W`` the work of a generation on one slot, ``B`` its batches:

    evaluation = W / m + tail       tail: at the barrier slots wait for the last batch, half of
                                    one on average and a whole one at most (Graham, 1969)
    dispatch = B d(in flight)       the coordinator dispatches one batch after the other
    generation = max(breeding + max(evaluation, dispatch), commit)

The commit of a generation runs during the evaluation of the next. ``ga.capacity.simulate``
simulates the same batch by batch; a test compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

from ga.capacity.calibration_file import Baseline, FamilyCost
from ga.execution.protocol import (
    BATCHES_A_SLOT,
    MIN_BATCH_SECONDS,
    batch_count,
    max_batch_seconds,
)

Edge = Literal["low", "point", "high"]
_MOST_SLOTS: Final = 1e9
_BISECTIONS: Final = 60
EDGES: Final[tuple[Edge, ...]] = ("low", "point", "high")
RAY_TASK: Final[Mapping[Edge, float]] = {"low": 0.14e-3, "point": 0.5e-3, "high": 1.2e-3}
"""Assumed coordinator seconds of Ray per task, between pipelined and one at a time (measured once
with Ray 2.60 on a core of this kind).
"""
STRETCH: Final[Mapping[Edge, float]] = {"low": 0.9, "point": 1.0, "high": 1.1}
"""Outside the measured range, costs are assumed to grow with an exponent between these."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Costs in seconds; linear costs are (fixed, per unit)."""

    genome: Mapping[str, float]
    """A genome on one slot, by family."""
    task: float
    """Overhead of every batch on the slot."""
    dispatch: tuple[float, float]
    """The coordinator per batch: fixed, and for each batch in flight."""
    breeding: tuple[float, float]
    """The coordinator per generation: fixed, and for each individual."""
    commit: tuple[float, float]
    """The ledger per generation: fixed, and for each individual."""

    @property
    def mean(self) -> float:
        """Mean of a genome, with families in equal numbers."""
        return math.fsum(self.genome.values()) / len(self.genome)

    @property
    def most_expensive(self) -> tuple[str, float]:
        """The most expensive family."""
        name = max(self.genome, key=self.genome.__getitem__)
        return name, self.genome[name]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of a generation's time, in seconds."""

    breeding: float
    evaluation: float
    dispatch: float
    commit: float

    @property
    def seconds(self) -> float:
        """Seconds from one generation to the next."""
        return max(self.breeding + max(self.evaluation, self.dispatch), self.commit)

    @property
    def bound_by(self) -> str:
        """The part that limits the speed."""
        if self.commit >= self.breeding + max(self.evaluation, self.dispatch):
            return "commit"
        worst = max(self.breeding, self.evaluation, self.dispatch)
        names = {"breeding": self.breeding, "evaluation": self.evaluation}
        return next((n for n, seconds in names.items() if seconds == worst), "handing out")


def batches(work: float, slots: int, population: int) -> float:
    """Approximate number of batches that ``ga.execution.protocol.make_batches`` makes of ``work``
    seconds.

    First batches have the largest size, while several remain for each slot. Then each takes a fixed
    share of the rest. The last have the smallest size.
    """
    parts = batch_count(slots)
    limit = max_batch_seconds(slots)
    longest, shortest = limit * parts, MIN_BATCH_SECONDS * parts
    many = max(work - longest, 0.0) / limit
    if work > shortest and parts:
        many += parts * math.log(min(work, longest) / shortest)
    many += min(work, shortest) / MIN_BATCH_SECONDS
    return min(max(many, 1.0), float(population))


def generation(costs: Costs, population: int, slots: int, *, tail: float = 0.5) -> Parts:
    """Time of a generation on ``slots`` slots.

    Args:
        tail: share of a last batch for which the barrier waits.
    """
    work = population * costs.mean
    # A genome that takes longer than the longest batch is a batch of one.
    limit = max_batch_seconds(slots)
    clipped = [min(seconds, limit) for seconds in costs.genome.values()]
    count = batches(population * math.fsum(clipped) / len(clipped), slots, population)
    used = min(slots, count)
    last = min(max(MIN_BATCH_SECONDS, costs.most_expensive[1]), work)
    each_s = work / count + costs.task
    flying = min(BATCHES_A_SLOT * slots, count, _flying(each_s, *costs.dispatch))
    fixed, more = costs.dispatch
    return Parts(
        breeding=costs.breeding[0] + costs.breeding[1] * population,
        evaluation=(work + count * costs.task) / used + tail * last * (1 - 1 / used),
        # The first batches are dispatched with fewer in flight; the last one is evaluated after its
        # dispatch.
        dispatch=count * fixed + more * flying * (count - flying / 2) + min(last, each_s),
        commit=costs.commit[0] + costs.commit[1] * population,
    )


def _flying(batch: float, fixed: float, more: float) -> float:
    """Number of batches in flight at which batches end as fast as they are dispatched (Little,
    1961): the positive root of ``F (fixed + more F) = batch``.
    """
    if more <= 0.0:
        return batch / fixed if fixed > 0.0 else math.inf
    return (math.sqrt(fixed * fixed + 4.0 * more * batch) - fixed) / (2.0 * more)


def limits(costs: Costs) -> dict[str, float]:
    """Numbers of slots from which each part of the coordinator's machine is always busy, so that
    more slots wait: dispatch, breeding, commit. Valid for large populations, whose batches have the
    largest size.
    """
    found = {"handing out": _dispatched(costs)}
    for name, (_, each) in (("breeding", costs.breeding), ("commit", costs.commit)):
        found[name] = costs.mean / each if each > 0.0 else math.inf
    return found


def _dispatched(costs: Costs) -> float:
    """Number of slots at which batches end as fast as they are dispatched."""
    fixed, more = costs.dispatch
    each_s = costs.genome.values()

    def busy(slots: float) -> float:
        """Slots that the coordinator keeps busy with the batches for that many."""
        limit = max_batch_seconds(int(slots))
        # The mean batch; a genome that takes longer than the largest batch is a batch of one.
        batch = math.fsum(each_s) / math.fsum(min(1.0, s / limit) for s in each_s)
        # Each slot has another batch queued.
        return _flying(batch + costs.task, fixed, BATCHES_A_SLOT * more)

    low, high = 0.0, 1.0
    while busy(high) > high:
        low, high = high, 2.0 * high
        if high > _MOST_SLOTS:
            return math.inf
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if busy(middle) > middle else (low, middle)
    return high


def fewest_nodes(seconds: Callable[[int], float], limit: float, most: int) -> int | None:
    """The smallest number of nodes whose time is within a limit; ``None`` if there is none up to
    ``most``. More nodes are not always faster, because dispatch takes longer with each node.
    """
    return next((nodes for nodes in range(1, most + 1) if seconds(nodes) <= limit), None)


def costs_of(
    baseline: Baseline, *, cells: int, families: Sequence[str], edge: Edge, factor: float
) -> Costs:
    """Costs for a market of ``cells`` (assets times visible bars).

    Args:
        edge: the lowest, the median or the highest of the repeats. The range of n of them holds the
            true median with probability 1 - 2^(1 - n): 98 % for 7.
        factor: seconds on the planned machine for one second of a core here.
    """
    few, many = baseline.populations
    slow = baseline.dispatch[-1]
    per_flight = max(_at(slow, edge) - _at(baseline.dispatch[0], edge), 0.0) / (
        baseline.in_flight[-1] - baseline.in_flight[0]
    )
    first = max(_at(baseline.dispatch[0], edge) - per_flight * baseline.in_flight[0], 0.0)
    return Costs(
        genome={
            name: factor * genome(baseline.families[name], baseline.cells, cells, edge)
            for name in families
        },
        task=factor * _at(baseline.task, edge),
        dispatch=(factor * (first + RAY_TASK[edge]), factor * per_flight),
        breeding=_line(baseline.breeding, few, many, edge, factor),
        commit=_line(baseline.commit, few, many, edge, factor),
    )


def genome(cost: FamilyCost, measured: tuple[int, int], cells: int, edge: Edge) -> float:
    """Seconds of one genome: linear between the two measured markets, a power of the cells
    (``STRETCH``) outside them.
    """
    (few, many), small, large = measured, _at(cost.small, edge), _at(cost.large, edge)
    if cells > many:
        return large * math.pow(cells / many, STRETCH[edge])
    if cells < few:
        # Below the measured range the lower and upper exponent are swapped.
        return small * math.pow(cells / few, 2.0 - STRETCH[edge])
    return small + (large - small) * (cells - few) / (many - few)


def _line(
    rows: tuple[tuple[float, ...], tuple[float, ...]],
    few: int,
    many: int,
    edge: Edge,
    factor: float,
) -> tuple[float, float]:
    low, high = _at(rows[0], edge), _at(rows[1], edge)
    each = max(high - low, 0.0) / (many - few)
    return factor * max(low - each * few, 0.0), factor * each


def _at(samples: Sequence[float], edge: Edge) -> float:
    if edge == "point":
        return median(samples)
    return min(samples) if edge == "low" else max(samples)
