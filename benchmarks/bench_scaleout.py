"""Scale-out: one evolution on one node outside Ray, and on clusters of 1, 2 and 4 nodes.

Every node has a fixed CPU quota, and the local arm runs under the same quota. The arms alternate in
both directions, so that slow periods of the machine affect all of them. In addition, on all nodes:
a map over Ray's own pool, and EvoTorch's actors if that is installed. The ratio of a repeat is
local seconds over distributed seconds, both without start-up. Nodes that an arm does not use are
killed, because the arm could use the CPU time of idle ones.

Nodes are small, so that four of them, the head and the coordinator fit on the machine. Ray's own
overhead does not shrink with the node, so the overhead on a whole core is measured separately, on
one node of that size.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np

from evolution_gate.benchmarks.samples import Measurement
from evolution_gate.benchmarks.scaling import Law, Predicted, fit, predict, slope
from ga.capacity.cost_model import Costs
from validation.statistics import Estimate, geometric_mean, tolerance_upper

LOCAL: Final = "local"
PEERS: Final = {
    "Pool map": ("pool_map", "a genome a call, no ledger, no recovery"),
    "EvoTorch": ("evotorch_actors", "an even part to each actor, no ledger, no recovery"),
}
"""Other arms on all nodes: the module in ``benchmarks``, and how it distributes work."""
CPUS_PER_NODE: Final = min(1.0, len(os.sched_getaffinity(0)) / 8)
"""Quota of a node; four nodes are half of the machine."""
WHOLE: Final = 1.0
MARKET: Final = "synthetic:assets=2,bars=10000,seed=1"
POPULATION: Final = 1000
"""Population size; those of the plan begin at 500."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One arm of one repeat."""

    arm: str
    repeat: int
    seconds: float
    cpu_seconds: float
    startup_seconds: float
    nodes_used: int
    digest: str
    at: float
    """Unix seconds at its end."""


@dataclass(frozen=True, kw_only=True)
class ScaleOut:
    """The measurements, or why there are none."""

    samples: tuple[Sample, ...] = ()
    reason: str = ""
    """Set when there is no measurement, or a part of it is missing."""
    broken: bool = False
    """A measurement was possible, but the stack or an arm failed."""
    evaluations: int = 0
    """Evaluations of one run; equal genomes are evaluated once."""
    evaluated: tuple[Mapping[str, int], ...] = ()
    """Evaluations by family, for each generation."""
    recoveries: tuple[tuple[float, float], ...] = ()
    """Seconds from a node's kill until the cluster reported it as gone, and until it was back."""
    redone: tuple[float, ...] = ()
    """Seconds from a node's kill until other nodes had answered all its batches."""
    whole: tuple[Sample, ...] = ()
    """The local arm and one node, on a node of a whole core."""

    def seconds(self, arm: str) -> list[float]:
        """Seconds of every repeat, in order."""
        return [s.seconds for s in self.samples if s.arm == arm]

    def ratio(self, arm: str) -> Estimate:
        """Geometric mean of the paired ratios to the local arm, with one-sided 95 % bounds."""
        pairs = zip(self.seconds("local"), self.seconds(arm), strict=True)
        return geometric_mean([local / there for local, there in pairs])

    def by_nodes(self) -> dict[int, list[float]]:
        """Seconds of every repeat of the clusters, by nodes."""
        arms = dict.fromkeys(s.arm for s in self.samples if s.arm != LOCAL and s.arm not in PEERS)
        return {int(arm.split()[0]): self.seconds(arm) for arm in arms}

    def law(self) -> Law | None:
        """The scalability law through all clusters; ``None`` with fewer than three sizes."""
        return fit(self.by_nodes())

    def predicted(self, costs: Costs) -> tuple[Predicted, ...]:
        """Simulated times of the clusters, with the machine's costs."""
        seconds = self.by_nodes()
        if 1 not in seconds or not self.evaluated:
            return ()
        return predict(
            seconds=seconds,
            cpu_seconds={
                nodes: median(s.cpu_seconds for s in self.samples if s.arm == arm_of(nodes))
                for nodes in seconds
            },
            costs=costs,
            population=POPULATION,
            cpus_per_node=CPUS_PER_NODE,
            evaluated=self.evaluated,
        )

    def measurements(self) -> list[Measurement]:
        """For the report."""
        found = []
        for arm in dict.fromkeys(s.arm for s in self.samples):
            note = f"one node of {CPUS_PER_NODE} CPU, outside Ray"
            if arm != "local":
                ratio = self.ratio(arm)
                used = sorted({s.nodes_used for s in self.samples if s.arm == arm})
                note = (
                    f"{ratio.point:.2f} x local, 95 % bounds {ratio.lower:.2f}"
                    f" and {ratio.upper:.2f}; nodes that did work: {', '.join(map(str, used))}"
                )
                note += f"; {self._busy(arm):.0%} of their quota in evaluations"
                if arm in PEERS:
                    note += f"; {PEERS[arm][1]}"
                elif arm == arm_of(1):
                    note += (
                        f"; takes {1.0 / ratio.point - 1.0:+.1%} of local's time, at most"
                        f" {1.0 / ratio.lower - 1.0:+.1%}"
                    )
            found.append(
                Measurement(
                    suite="scale-out",
                    name=arm,
                    unit="s",
                    samples=tuple(self.seconds(arm)),
                    note=note,
                )
            )
        return [
            *found,
            *self._over_one(),
            *_whole_core(self.whole),
            *self._growth(),
            *self._recovery(),
        ]

    def _over_one(self) -> list[Measurement]:
        """Speed of the larger clusters relative to the cluster of one node."""
        sizes = self.by_nodes()
        if 1 not in sizes:
            return []
        found = []
        for nodes, seconds in sizes.items():
            if nodes > 1:
                ratios = [one / many for one, many in zip(sizes[1], seconds, strict=True)]
                ratio = geometric_mean(ratios)
                found.append(
                    Measurement(
                        suite="scale-out",
                        name=f"{arm_of(nodes)} over 1 node",
                        unit="x",
                        samples=tuple(ratios),
                        lower_is_better=False,
                        note=f"{ratio.point:.2f} x, 95 % bounds {ratio.lower:.2f} and"
                        f" {ratio.upper:.2f}",
                    )
                )
        return found

    def _busy(self, arm: str) -> float:
        """CPU time in evaluations over the nodes' quota: the median of the repeats."""
        return median(
            s.cpu_seconds / (s.seconds * s.nodes_used * CPUS_PER_NODE)
            for s in self.samples
            if s.arm == arm
        )

    def _growth(self) -> list[Measurement]:
        sizes = self.by_nodes()
        if len(sizes) < 2:
            return []
        repeats = zip(*sizes.values(), strict=True)
        return [
            Measurement(
                suite="growth",
                name="runs a second: nodes",
                unit="exponent",
                samples=tuple(
                    slope({n: 1.0 / s for n, s in zip(sizes, times, strict=True)})
                    for times in repeats
                ),
                note=f"{min(sizes)} to {max(sizes)} nodes, each repeat's; 1 would be ideal",
            )
        ]

    def _recovery(self) -> list[Measurement]:
        if not self.recoveries:
            return []
        found = self._idle_recovery()
        if len(self.redone) > 1:
            worst = float(np.quantile(self.redone, 0.95, method="higher"))
            found.append(
                Measurement(
                    suite="recovery",
                    name="lost work redone",
                    unit="s",
                    samples=self.redone,
                    note=f"95th percentile {worst:.1f} s, at most"
                    f" {tolerance_upper(self.redone):.1f} s (log-normal, 95 %); since the kill of"
                    " a node in the middle of its work",
                )
            )
        return found

    def _idle_recovery(self) -> list[Measurement]:
        return [
            Measurement(
                suite="recovery",
                name=name,
                unit="s",
                samples=tuple(times[index] for times in self.recoveries),
                note="since the kill, without work on the cluster",
            )
            for index, name in enumerate(("seen gone", "back"))
        ]


def _whole_core(samples: Sequence[Sample]) -> list[Measurement]:
    """Overhead of one node of the cluster over the local arm on the same node, by pairs."""
    if not samples:
        return []
    local = [s for s in samples if s.arm == LOCAL]
    pairs = list(zip(local, [s for s in samples if s.arm != LOCAL], strict=True))
    more = [there.seconds / here.seconds for here, there in pairs]
    # Slow periods of the machine prolong evaluations in both arms; this is the rest.
    beside = [
        (there.seconds / there.cpu_seconds) / (here.seconds / here.cpu_seconds)
        for here, there in pairs
    ]
    found, apart = geometric_mean(more), geometric_mean(beside)
    return [
        Measurement(
            suite="scale-out",
            name=f"{arm_of(1)} of {WHOLE:g} CPU over local there",
            unit="% of time",
            samples=tuple(100.0 * (ratio - 1.0) for ratio in more),
            note=f"{found.point - 1.0:+.1%}, at most {found.upper - 1.0:+.1%} (95 %); per CPU"
            f" second of evaluations {apart.point - 1.0:+.1%}, at most {apart.upper - 1.0:+.1%}",
        )
    ]


def market_of_arms() -> tuple[int, int]:
    """Assets and bars of the market that the arms evolve on."""
    spec = dict(part.split("=") for part in MARKET.partition(":")[2].split(","))
    return int(spec["assets"]), int(spec["bars"])


def arm_of(nodes: int) -> str:
    """The name of the arm on a number of nodes."""
    return LOCAL if nodes == 0 else f"{nodes} node{'s' if nodes > 1 else ''}"
