"""Scale-out: one evolution on one node outside Ray, and on clusters of 1, 2 and 4 nodes.

Every node is a fixed CPU quota, the local arm runs under the same quota, and the arms take turns,
up and down: slow spells of the machine hit all of them. Beside them, on all nodes, a map over Ray's
own pool, and EvoTorch's actors where that is installed. The ratio of a repeat is local seconds over
distributed seconds, both without start-up. Nodes that an arm does not use are killed: an idle one
would lend the arm its quota.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

import fixtures
from benchmarks.recovery import PATIENCE, ArmError, Say, lose_work, recover, start
from benchmarks.samples import Effort, Measurement
from benchmarks.scaling import Foretold, Law, fit, foretell, slope
from fixtures.stack import Stack, StackError
from ga.capacity.model import Costs
from validation.statistics import Estimate, geometric_mean, tolerance_upper

LOCAL: Final = "local"
PEERS: Final = {
    "Pool map": ("pool_map", "a genome a call, no ledger, no recovery"),
    "EvoTorch": ("evotorch_actors", "an even part to each actor, no ledger, no recovery"),
}
"""Arms on all nodes: the module in ``benchmarks``, and how its work is spread."""
CPUS_PER_NODE: Final = 0.4
_MARKET: Final = "synthetic:assets=2,bars=10000,seed=1"
_POPULATION: Final = 1_000
"""Five seconds of CPU in the first generation, about two in the later ones: the plan's populations
begin at 500."""
_ARM_SECONDS: Final = 300.0
_LONG: Final = 10_000
"""Generations; more than are ever reached."""


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
    """What was measured, or why nothing was."""

    samples: tuple[Sample, ...] = ()
    reason: str = ""
    """Set when there is no measurement."""
    broken: bool = False
    """There should have been one: the stack or an arm failed."""
    evaluations: int = 0
    """Of one run; equal genomes are evaluated once."""
    generations: int = 0
    recoveries: tuple[tuple[float, float], ...] = ()
    """Seconds from a node's kill until it was seen gone, and until it was back."""
    redone: tuple[float, ...] = ()
    """Seconds from a node's kill until all that it had been handed was answered by others."""

    def seconds(self, arm: str) -> list[float]:
        """Of every repeat, in order."""
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

    def foretold(self, costs: Costs) -> tuple[Foretold, ...]:
        """What the simulation says of the clusters, given the machine's costs."""
        seconds = self.by_nodes()
        if 1 not in seconds:
            return ()
        return foretell(
            seconds=seconds,
            cpu_seconds={
                nodes: median(s.cpu_seconds for s in self.samples if s.arm == _name(nodes))
                for nodes in seconds
            },
            costs=costs,
            population=_POPULATION,
            generations=self.generations,
            cpus_per_node=CPUS_PER_NODE,
            evaluations=self.evaluations,
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
                elif arm == _name(1):
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
        return [*found, *self._growth(), *self._recovery()]

    def _busy(self, arm: str) -> float:
        """CPU time inside evaluations over what the nodes may use: the median of the repeats."""
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


def market_of_arms() -> tuple[int, int]:
    """Assets and bars of the market that the arms evolve on."""
    spec = dict(part.split("=") for part in _MARKET.partition(":")[2].split(","))
    return int(spec["assets"]), int(spec["bars"])


def measure(effort: Effort, say: Say) -> ScaleOut:
    """Start a stack of plain processes and run all arms in turn; never raises for lack of quota."""
    try:
        with fixtures.start_stack(
            nodes=max(effort.nodes),
            cpus_per_node=CPUS_PER_NODE,
            backend="processes",
            on_progress=say,
        ) as stack:
            if any(node.limits.cpus is None for node in stack.nodes):
                return ScaleOut(
                    reason="not measured: no CPU quota can be set on this machine, and without it"
                    " the nodes have no fixed size; run as root, or where cgroups may be written"
                )
            return _arms(stack, effort, say)
    except (StackError, ArmError) as error:
        say(f"scale-out failed: {error}")
        lines = str(error).strip().splitlines()
        last = f" ... {lines[-1]}" if len(lines) > 1 else ""
        return ScaleOut(reason=f"not measured: {lines[0]}{last}", broken=True)


def _arms(stack: Stack, effort: Effort, say: Say) -> ScaleOut:
    samples: list[Sample] = []
    arms = {_name(count): count for count in (0, *effort.nodes)}
    arms |= dict.fromkeys(_peers(say), max(effort.nodes))
    total = effort.repeats * len(arms)
    with tempfile.TemporaryDirectory(prefix="ga-benchmark-") as folder:
        for repeat in range(effort.repeats):
            for name, count in sorted(arms.items(), key=lambda arm: arm[1], reverse=repeat % 2 > 0):
                say(f"scale-out {len(samples) + 1}/{total}: {name}")
                if count:
                    _resize(stack, count)
                if name in PEERS:
                    result = _peer(stack, name, count, effort)
                else:
                    result = _evolve(stack, count, effort, Path(folder) / f"{repeat}-{count}.db")
                samples.append(
                    Sample(
                        arm=name,
                        repeat=repeat,
                        seconds=result["seconds"],
                        cpu_seconds=result["cpu_seconds"],
                        startup_seconds=result["startup_seconds"],
                        nodes_used=result["nodes_used"],
                        digest=result["digest"],
                        at=time.time(),
                    )
                )
                one = samples[-1]
                say(
                    f"  {one.seconds:.2f} s on {one.nodes_used} nodes,"
                    f" {one.cpu_seconds:.2f} s of CPU in evaluations"
                )
                evaluations = result["evaluations"]
    if len({s.digest for s in samples}) != 1:
        raise ArmError("the arms had different histories; their times cannot be compared")
    _resize(stack, len(stack.nodes))
    return ScaleOut(
        samples=tuple(samples),
        evaluations=evaluations,
        generations=effort.scale_generations,
        recoveries=tuple(recover(stack, n, say) for n in range(effort.recoveries)),
        redone=lose_work(stack, _work(_LONG), effort.kills, say),
    )


def _resize(stack: Stack, count: int) -> None:
    """Have just the first ``count`` nodes alive."""
    for index, node in enumerate(stack.nodes):
        if (index < count) == node.alive:
            continue
        receipt = node.start() if index < count else node.kill()
        if not receipt.confirmed:
            raise ArmError(f"{receipt.fault} of {node.name} is not confirmed: {receipt.detail}")
    wanted = {node.name for node in stack.nodes[:count]}
    deadline = time.monotonic() + PATIENCE
    while stack.alive_nodes() != wanted:
        if time.monotonic() > deadline:
            raise ArmError(f"the cluster did not come to {count} nodes")
        time.sleep(0.1)


def _name(nodes: int) -> str:
    return LOCAL if nodes == 0 else f"{nodes} node{'s' if nodes > 1 else ''}"


def _evolve(stack: Stack, nodes: int, effort: Effort, store: Path) -> Mapping[str, Any]:
    argv = [sys.executable, "-m", "ga", "evolve", *_work(effort.scale_generations), "--json"]
    argv += ["--top", "1", "--store", str(store)]
    if nodes == 0:
        process = stack.on_one_node([*argv, "--mode", "local", "--workers", "1"])
    else:
        argv += ["--mode", "distributed", "--address", stack.endpoints.ray]
        process = start(argv, stack.endpoints.env)
    result = _ended(process, _name(nodes))
    if result["fallbacks"]:
        raise ArmError(f"{_name(nodes)} lost the cluster and fell back to this machine")
    return {**result, "nodes_used": len(result["cpu_seconds_by_node"])}


def _peers(say: Say) -> list[str]:
    if find_spec("torch") is not None and find_spec("evotorch") is not None:
        return list(PEERS)
    say("no arm with EvoTorch's actors: torch and evotorch are not both installed")
    return [name for name in PEERS if name != "EvoTorch"]


def _peer(stack: Stack, name: str, nodes: int, effort: Effort) -> Mapping[str, Any]:
    module = f"benchmarks.{PEERS[name][0]}"
    argv = [sys.executable, "-m", module, *_work(effort.scale_generations)]
    argv += ["--address", stack.endpoints.ray, "--workers", str(nodes)]
    return _ended(start(argv, stack.endpoints.env), name)


def _work(generations: int) -> list[str]:
    return [
        *("--market", _MARKET, "--seed", "7", "--population-size", str(_POPULATION)),
        *("--generations", str(generations)),
    ]


def _ended(process: subprocess.Popen[str], name: str) -> dict[str, Any]:
    """What it printed."""
    try:
        out, err = process.communicate(timeout=_ARM_SECONDS)
    except subprocess.TimeoutExpired:
        raise ArmError(f"{name} took over {_ARM_SECONDS:.0f} s") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode != 0:
        raise ArmError(f"{name} ended with {process.returncode}: {err.strip()[-500:]}")
    # EvoTorch says on stdout what it does.
    result: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return result
