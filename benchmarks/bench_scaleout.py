"""Scale-out: one evolution on one node outside Ray, and on clusters of 1, 2 and 4 nodes.

Every node is a fixed CPU quota, the local arm runs under the same quota, and the arms take turns,
up and down: slow spells of the machine hit all of them. The ratio of a repeat is local seconds over
distributed seconds, both without start-up. Nodes that an arm does not use are killed: an idle one
would lend the arm its quota.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import fixtures
from benchmarks.samples import Effort, Measurement
from fixtures.stack import Stack, StackError
from validation.statistics import Estimate, geometric_mean

CPUS_PER_NODE: Final = 0.4
_MARKET: Final = "synthetic:assets=2,bars=10000,seed=1"
_POPULATION: Final = 600
_ARM_SECONDS: Final = 300.0
_RESIZE_SECONDS: Final = 30.0

Say = Callable[[str], None]


class ArmError(RuntimeError):
    """An arm did not finish; the message ends with what it said."""


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

    def seconds(self, arm: str) -> list[float]:
        """Of every repeat, in order."""
        return [s.seconds for s in self.samples if s.arm == arm]

    def ratio(self, arm: str) -> Estimate:
        """Geometric mean of the paired ratios to the local arm, with one-sided 95 % bounds."""
        pairs = zip(self.seconds("local"), self.seconds(arm), strict=True)
        return geometric_mean([local / there for local, there in pairs])

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
            found.append(
                Measurement(
                    suite="scale-out",
                    name=arm,
                    unit="s",
                    samples=tuple(self.seconds(arm)),
                    note=note,
                )
            )
        return found


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
    total = effort.repeats * (1 + len(effort.nodes))
    with tempfile.TemporaryDirectory(prefix="ga-benchmark-") as folder:
        for repeat in range(effort.repeats):
            arms = (0, *effort.nodes)
            for count in arms if repeat % 2 == 0 else reversed(arms):
                name = _name(count)
                say(f"scale-out {len(samples) + 1}/{total}: {name}")
                if count:
                    _resize(stack, count)
                store = Path(folder) / f"{repeat}-{count}.db"
                result = _evolve(stack, count, effort, store)
                samples.append(
                    Sample(
                        arm=name,
                        repeat=repeat,
                        seconds=result["seconds"],
                        cpu_seconds=result["cpu_seconds"],
                        startup_seconds=result["startup_seconds"],
                        nodes_used=len(result["cpu_seconds_by_node"]),
                        digest=result["digest"],
                        at=time.time(),
                    )
                )
                say(f"  {samples[-1].seconds:.2f} s on {samples[-1].nodes_used} nodes")
    if len({s.digest for s in samples}) != 1:
        raise ArmError("the arms had different histories; their times cannot be compared")
    return ScaleOut(samples=tuple(samples))


def _resize(stack: Stack, count: int) -> None:
    """Have just the first ``count`` nodes alive."""
    for index, node in enumerate(stack.nodes):
        if (index < count) == node.alive:
            continue
        receipt = node.start() if index < count else node.kill()
        if not receipt.confirmed:
            raise ArmError(f"{receipt.fault} of {node.name} is not confirmed: {receipt.detail}")
    wanted = {node.name for node in stack.nodes[:count]}
    deadline = time.monotonic() + _RESIZE_SECONDS
    while stack.alive_nodes() != wanted:
        if time.monotonic() > deadline:
            raise ArmError(f"the cluster did not come to {count} nodes")
        time.sleep(0.1)


def _name(nodes: int) -> str:
    return "local" if nodes == 0 else f"{nodes} node{'s' if nodes > 1 else ''}"


def _evolve(stack: Stack, nodes: int, effort: Effort, store: Path) -> Mapping[str, Any]:
    argv = [sys.executable, "-m", "ga", "evolve", "--market", _MARKET, "--seed", "7", "--json"]
    argv += ["--population-size", str(_POPULATION), "--top", "1", "--store", str(store)]
    argv += ["--generations", str(effort.scale_generations)]
    if nodes == 0:
        process = stack.on_one_node([*argv, "--mode", "local", "--workers", "1"])
    else:
        argv += ["--mode", "distributed", "--address", stack.endpoints.ray]
        process = _start(argv, stack.endpoints.env)
    try:
        out, err = process.communicate(timeout=_ARM_SECONDS)
    except subprocess.TimeoutExpired:
        raise ArmError(f"{_name(nodes)} took over {_ARM_SECONDS:.0f} s") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode != 0:
        raise ArmError(f"{_name(nodes)} ended with {process.returncode}: {err.strip()[-500:]}")
    result: dict[str, Any] = json.loads(out)
    if result["fallbacks"]:
        raise ArmError(f"{_name(nodes)} lost the cluster and fell back to this machine")
    return result


def _start(argv: list[str], env: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )
