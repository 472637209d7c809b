"""The scalability law of a scale-out, and the accuracy of the simulation in ``ga.capacity``.

The universal scalability law (Gunther, 2007): with N nodes the throughput is

    X(N) = c N / (1 + a (N - 1) + b N (N - 1))

``c`` is the throughput of one node, ``a`` the serial part (contention), ``b`` the cost of
coordination between nodes (coherence). With b above 0 there is a number of nodes beyond which more
are slower: sqrt((1 - a) / b).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeWarning, curve_fit

from ga.capacity.cost_model import Costs
from ga.capacity.simulate import play

RESAMPLES: Final = 400
WITHIN: Final = 0.10
"""Maximum deviation of the simulation from the measurement."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Law:
    """A fitted curve; each parameter as (value, lower, upper), 95 % by bootstrap over repeats."""

    one: tuple[float, float, float]
    """Runs per second of one node."""
    serial: tuple[float, float, float]
    coherence: tuple[float, float, float]
    band: tuple[tuple[float, float, float, float], ...]
    """(nodes, runs per second, lower, upper)."""

    @property
    def peak(self) -> float:
        """Number of nodes above which more nodes are slower; infinite without coherence costs."""
        a, b = self.serial[0], self.coherence[0]
        return math.sqrt((1.0 - a) / b) if b > 1e-9 else math.inf


def throughput(nodes: Floats, one: float, serial: float, coherence: float) -> Floats:
    """Throughput by the law."""
    return np.asarray(
        one * nodes / (1.0 + serial * (nodes - 1.0) + coherence * nodes * (nodes - 1.0))
    )


def slope(sizes: Mapping[int, float]) -> float:
    """Exponent of the power law through (size, seconds), by least squares on logarithms."""
    x, y = np.log([float(size) for size in sizes]), np.log(list(sizes.values()))
    return float(np.polyfit(x, y, 1)[0])


def fit(seconds: Mapping[int, Sequence[float]], *, seed: int = 0) -> Law | None:
    """Fit the law to times by nodes, one value per repeat; ``None`` with fewer than three sizes.

    The bootstrap draws whole repeats, because a slow period affects all arms of a repeat.
    """
    sizes = sorted(seconds)
    repeats = min((len(seconds[size]) for size in sizes), default=0)
    if len(sizes) < 3 or repeats < 2:
        return None
    rates = np.array([[1.0 / seconds[size][r] for size in sizes] for r in range(repeats)])
    nodes = np.array(sizes, dtype=np.float64)
    grid = np.unique(np.concatenate([nodes, np.linspace(nodes[0], 2 * nodes[-1], 33)]))
    best = _fitted(nodes, rates)
    dice = np.random.Generator(np.random.Philox(key=[seed, 0x05]))
    drawn = [_fitted(nodes, rates[dice.integers(0, repeats, repeats)]) for _ in range(RESAMPLES)]
    low, high = np.quantile(np.array(drawn), (0.025, 0.975), axis=0)
    curves = np.array([throughput(grid, *one) for one in drawn])
    least, most = np.quantile(curves, (0.025, 0.975), axis=0)
    middle = throughput(grid, *best)

    def with_bounds(index: int) -> tuple[float, float, float]:
        return float(best[index]), float(low[index]), float(high[index])

    return Law(
        one=with_bounds(0),
        serial=with_bounds(1),
        coherence=with_bounds(2),
        band=tuple(
            (float(n), float(x), float(a), float(b))
            for n, x, a, b in zip(grid, middle, least, most, strict=True)
        ),
    )


def _fitted(nodes: Floats, rates: Floats) -> tuple[float, float, float]:
    x, y = np.tile(nodes, len(rates)), rates.ravel()
    start = (float(y[x == nodes[0]].mean()) / nodes[0], 0.05, 0.001)
    with warnings.catch_warnings():
        # Three sizes leave no degree of freedom for a covariance; the bootstrap gives the bounds.
        warnings.simplefilter("ignore", OptimizeWarning)
        found, _ = curve_fit(throughput, x, y, p0=start, bounds=([0, 0, 0], [np.inf, 1, 1]))
    return float(found[0]), float(found[1]), float(found[2])


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """Simulated and measured seconds of one arm."""

    arm: str
    nodes: int
    simulated: float
    measured: float

    @property
    def error(self) -> float:
        """Simulated over measured, minus 1."""
        return self.simulated / self.measured - 1.0


def predict(
    *,
    seconds: Mapping[int, Sequence[float]],
    cpu_seconds: Mapping[int, float],
    costs: Costs,
    population: int,
    cpus_per_node: float,
    evaluated: Sequence[Mapping[str, int]],
) -> tuple[Predicted, ...]:
    """Simulate the arms of a scale-out.

    Two inputs come from the measurement: the CPU time of each arm's evaluations, which separates
    slow periods of the machine from scheduling, and the share of a node's quota for evaluations,
    from the arm with one node. The scheduling of the other arms is predicted.

    Args:
        seconds: by nodes, one value per repeat.
        cpu_seconds: CPU seconds in evaluations of a whole run, by nodes.
        costs: costs of the coordinator, and relative costs of the families.
        evaluated: evaluated genomes by family, for each generation; equal ones count once.
    """
    expected = sum(costs.genome[f] * n for genomes in evaluated for f, n in genomes.items())

    def run(nodes: int, left: float) -> float:
        scale = cpu_seconds[nodes] / expected / (cpus_per_node * left)
        slowed = Costs(
            genome={name: cost * scale for name, cost in costs.genome.items()},
            task=costs.task / (cpus_per_node * left),
            dispatch=costs.dispatch,
            breeding=costs.breeding,
            commit=costs.commit,
        )
        return play(
            slowed,
            population=population,
            generations=len(evaluated),
            nodes=nodes,
            slots=1,
            evaluated=evaluated,
        ).seconds

    one = median(seconds[1])
    low, high = 0.2, 2.0
    for _ in range(40):
        left = (low + high) / 2
        low, high = (left, high) if run(1, left) > one else (low, left)
    return tuple(
        Predicted(
            arm=f"{nodes} node{'s' if nodes > 1 else ''}",
            nodes=nodes,
            simulated=run(nodes, left),
            measured=median(times),
        )
        for nodes, times in sorted(seconds.items())
    )
