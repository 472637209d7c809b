"""Plans a workload with a deadline: nodes, time and dollars, each with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from ga.capacity.calibration_file import Baseline
from ga.capacity.cost_model import (
    EDGES,
    Costs,
    Edge,
    Parts,
    costs_of,
    fewest_nodes,
    generation,
)
from ga.capacity.prices import HEADS, HOURS_A_DAY, NODE, VCPU_FACTOR, Price
from ga.errors import InputError
from ga.evaluation.settings import Settings

MOST_NODES: Final = 10_000
_MOST_DAYS: Final = 365
_ARRAYS: Final = 6
"""Columns: open, high, low, close, volume, funding."""
_MEMORY_SHARE: Final = 0.5
"""Share of a node's memory for the market; banks and batches need the rest."""
_TAILS: Final[Mapping[Edge, float]] = {"low": 0.0, "point": 0.5, "high": 1.0}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The planned evolution and its deadline."""

    population: int
    assets: int
    bars: int
    """Bars of each asset, including the hold-out."""
    generations: int
    deadline_s: float
    families: tuple[str, ...]

    def __post_init__(self) -> None:
        limits = {
            "population": 1_000_000,
            "assets": 1_000,
            "bars": 10_000_000,
            "generations": 1_000_000,
        }
        for name, most in limits.items():
            value, least = getattr(self, name), 250 if name == "bars" else 1
            if not least <= value <= most:
                raise InputError(f"--{name} must be {least}..{most:,}, not {value}")
        if not 1 <= self.deadline_s <= _MOST_DAYS * 86400:
            raise InputError(
                f"--deadline must be 1 s..{_MOST_DAYS} days, not {self.deadline_s:g} s"
            )
        gib = self.assets * self.bars * _ARRAYS * 8 / 2**30
        if gib > _MEMORY_SHARE * NODE.memory_gib:
            raise InputError(
                f"--assets x --bars: a market of {gib:,.0f} GiB does not fit a node of"
                f" {NODE.memory_gib:g} GiB; plan for parts of it"
            )

    @property
    def cells(self) -> int:
        """Assets times bars before the hold-out."""
        return self.assets * int(self.bars * (1.0 - Settings().holdout))


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its lower and upper bound."""

    point: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Needed:
    """Resources that a workload needs."""

    nodes: Interval
    """Worker nodes."""
    provided: int
    """The upper bound of the nodes: it keeps the deadline for all values of the interval. The times
    are for this number.
    """
    generation_s: Interval
    total_s: Interval
    """Seconds of the run, without the start of the nodes."""
    on_demand_a_day: Interval
    """Dollars a day, with the nodes and the coordinator's machine running all day."""
    spot_a_day: Interval
    """The same with spot nodes; the coordinator's machine stays on demand."""
    run_on_demand: Interval
    """Dollars of the whole run on ``provided`` nodes, billed by the second."""
    bound_by: str
    """The part that limits the speed with ``provided`` nodes."""
    most_expensive: str
    """The most expensive family."""
    most_expensive_generation_s: float
    """Seconds of a generation in which every individual is of that family."""
    notes: tuple[str, ...]
    """Extrapolations and assumptions of the plan."""
    price: Price = NODE


def needed(wanted: Wanted, baseline: Baseline) -> Needed:
    """The fewest nodes that keep the deadline at the highest costs of the interval.

    Raises:
        InputError: no number of nodes keeps it; the message states the fastest.
    """
    each = {edge: _costs(wanted, baseline, edge) for edge in EDGES}

    def seconds(edge: Edge, nodes: int) -> float:
        return _parts(each[edge], wanted, nodes, edge).seconds

    limit = wanted.deadline_s / wanted.generations
    fewest = {edge: fewest_nodes(partial(seconds, edge), limit, MOST_NODES) for edge in EDGES}
    provided = fewest["high"]
    if provided is None:
        best = min(range(1, MOST_NODES + 1), key=lambda n: seconds("high", n))
        fastest = seconds("high", best) * wanted.generations
        raise InputError(
            f"--deadline {wanted.deadline_s:g} s cannot be kept with certainty by any number of"
            f" nodes up to {MOST_NODES:,}: the fastest is {fastest:,.0f} s with {best} nodes,"
            f" bound by {_parts(each['high'], wanted, best, 'high').bound_by};"
            " give more time, or evolve less"
        )
    nodes = Interval(
        point=float(fewest["point"] or provided),
        low=float(fewest["low"] or provided),
        high=float(provided),
    )
    times = Interval(
        point=seconds("point", provided),
        low=seconds("low", provided),
        high=seconds("high", provided),
    )
    total = _scaled(times, wanted.generations)
    spot = Interval(point=sum(NODE.spot) / 2, low=NODE.spot[0], high=NODE.spot[1])
    on_demand = Interval(point=NODE.on_demand, low=NODE.on_demand, high=NODE.on_demand)
    expensive, _ = each["point"].most_expensive
    only = replace(wanted, families=(expensive,))
    return Needed(
        nodes=nodes,
        provided=provided,
        generation_s=times,
        total_s=total,
        on_demand_a_day=_a_day(nodes, on_demand),
        spot_a_day=_a_day(nodes, spot),
        run_on_demand=_scaled(total, (provided + HEADS) * NODE.on_demand / 3600),
        bound_by=_parts(each["high"], wanted, provided, "high").bound_by,
        most_expensive=expensive,
        most_expensive_generation_s=_parts(
            _costs(only, baseline, "point"), only, provided, "point"
        ).seconds,
        notes=notes(wanted, baseline),
    )


def _a_day(nodes: Interval, an_hour: Interval) -> Interval:
    """Dollars a day of all machines: worker nodes at ``an_hour``, the others on demand."""
    heads = HEADS * NODE.on_demand

    def dollars(many: float, price: float) -> float:
        return HOURS_A_DAY * (heads + many * price)

    return Interval(
        point=dollars(nodes.point, an_hour.point),
        low=dollars(nodes.low, an_hour.low),
        high=dollars(nodes.high, an_hour.high),
    )


def notes(wanted: Wanted, baseline: Baseline) -> tuple[str, ...]:
    """Describe where the plan goes beyond the measurements."""
    found = []
    few, many = baseline.cells
    if not few <= wanted.cells <= many:
        found.append(
            f"extrapolated: assets x visible bars {wanted.cells:,}, measured {few:,} to {many:,};"
            " assumed to grow with an exponent of 0.9 to 1.1"
        )
    if wanted.population > baseline.populations[1]:
        found.append(
            f"extrapolated: population {wanted.population:,}, the coordinator's work measured at"
            f" {baseline.populations[0]:,} and {baseline.populations[1]:,}; assumed linear"
        )
    low, point, high = VCPU_FACTOR
    found.append(
        f"assumed: a vCPU takes {low:g} to {high:g} times (estimate: {point:g}) as long as the"
        " measured core, and Ray takes 0.14 to 1.2 ms of the coordinator per batch"
    )
    found.append("families in equal numbers; start-up of nodes, disks and traffic not counted")
    found.append(
        f"prices of {NODE.instance} in {NODE.region} as read on {NODE.as_of} in {NODE.source};"
        " check them"
    )
    return tuple(found)


def plain_costs(wanted: Wanted, baseline: Baseline) -> Costs:
    """The median costs on nodes whose cores are like this machine's."""
    return _costs(wanted, baseline, "point")


def _costs(wanted: Wanted, baseline: Baseline, edge: Edge) -> Costs:
    missing = sorted(set(wanted.families) - set(baseline.families))
    if missing:
        raise InputError(f"--families: the baseline does not hold {', '.join(missing)}")
    factor = dict(zip(EDGES, VCPU_FACTOR, strict=True))[edge]
    return costs_of(
        baseline, cells=wanted.cells, families=wanted.families, edge=edge, factor=factor
    )


def _parts(costs: Costs, wanted: Wanted, nodes: int, edge: Edge) -> Parts:
    return generation(costs, wanted.population, nodes * NODE.vcpus, tail=_TAILS[edge])


def _scaled(interval: Interval, by: float) -> Interval:
    return Interval(point=interval.point * by, low=interval.low * by, high=interval.high * by)


def families_of(text: str | None, every: Sequence[str]) -> tuple[str, ...]:
    """The named families in the order of ``every``; all if none is named."""
    if not text:
        return tuple(every)
    named = text.split(",")
    unknown = [name for name in named if name not in every]
    if unknown:
        raise InputError(
            f"--families: unknown family {unknown[0]!r}; use some of {', '.join(every)}"
        )
    return tuple(name for name in every if name in named)
