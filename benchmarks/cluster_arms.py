"""Runs the arms of the scale-out on a stack of plain processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from evolution_gate import fixtures
from evolution_gate.benchmarks.bench_scaleout import (
    CPUS_PER_NODE,
    MARKET,
    PEERS,
    POPULATION,
    WHOLE,
    Sample,
    ScaleOut,
    arm_of,
)
from evolution_gate.benchmarks.recovery import PATIENCE, ArmError, Say, lose_work, recover, start
from evolution_gate.benchmarks.samples import Effort
from evolution_gate.fixtures.protocols import Stack, StackError
from ga.ledger import open_ledger

_ARM_SECONDS: Final = 300.0
_SCRAPE_SECONDS: Final = 15
"""As in production (``deploy/prometheus/prometheus.yml``)."""
_LONG: Final = 10_000
"""Generations; more than a run ever reaches."""


def measure(effort: Effort, say: Say) -> ScaleOut:
    """Start a stack of plain processes and run all arms in turn; never raises for lack of quota."""
    found = ScaleOut()
    try:
        with fixtures.start_stack(
            nodes=max(effort.nodes),
            cpus_per_node=CPUS_PER_NODE,
            backend="processes",
            scrape_seconds=_SCRAPE_SECONDS,
            on_progress=say,
        ) as stack:
            if any(node.limits.cpus is None for node in stack.nodes):
                return ScaleOut(
                    reason="not measured: no CPU quota can be set on this machine, and without it"
                    " the nodes have no fixed size; run as root, or where cgroups may be written"
                )
            found = _arms(stack, effort, say)
        return replace(found, whole=_whole(effort, say))
    except (StackError, ArmError) as error:
        say(f"scale-out failed: {error}")
        lines = str(error).strip().splitlines()
        last = f" ... {lines[-1]}" if len(lines) > 1 else ""
        what = "a whole core was not measured" if found.samples else "not measured"
        return replace(found, reason=f"{what}: {lines[0]}{last}", broken=True)


def _arms(stack: Stack, effort: Effort, say: Say) -> ScaleOut:
    samples: list[Sample] = []
    done: tuple[Mapping[str, int], ...] = ()
    arms = {arm_of(count): count for count in (0, *effort.nodes)}
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
                    store = Path(folder) / f"{repeat}-{count}.db"
                    result = _evolve(stack, count, effort, store)
                    done = done or evaluated(store)
                samples.append(_sample(name, repeat, result))
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
        evaluated=done,
        recoveries=tuple(recover(stack, n, say) for n in range(effort.recoveries)),
        redone=lose_work(stack, _work(_LONG), effort.kills, say),
    )


def evaluated(store: Path) -> tuple[Mapping[str, int], ...]:
    """Evaluated genomes of a run by family, for each generation."""
    with closing(open_ledger(str(store), create=False)) as ledger:
        (record,) = ledger.runs()
        history = ledger.history(record.run)
    counts = [Counter[str]() for _ in history.generations]
    for evaluation in history.evaluations.values():
        counts[evaluation.generation][evaluation.genome.family] += 1
    # Plain dicts, because ``asdict`` copies a Counter by counting its items.
    return tuple(dict(count) for count in counts)


def _whole(effort: Effort, say: Say) -> tuple[Sample, ...]:
    """Run one node of a whole core, and the local arm on such a node, in turn."""
    if effort.whole_pairs == 0 or len(os.sched_getaffinity(0)) < 2:
        return ()
    samples: list[Sample] = []
    with (
        fixtures.start_stack(
            nodes=1,
            cpus_per_node=WHOLE,
            backend="processes",
            scrape_seconds=_SCRAPE_SECONDS,
            on_progress=say,
        ) as stack,
        tempfile.TemporaryDirectory(prefix="ga-benchmark-") as folder,
    ):
        for repeat in range(effort.whole_pairs):
            for count in (0, 1) if repeat % 2 else (1, 0):
                store = Path(folder) / f"{repeat}-{count}.db"
                samples.append(_sample(arm_of(count), repeat, _evolve(stack, count, effort, store)))
                one = samples[-1]
                say(f"{one.arm} of {WHOLE:g} CPU: {one.seconds:.2f} s, {one.cpu_seconds:.2f} s CPU")
    if len({s.digest for s in samples}) > 1:
        raise ArmError("the arms had different histories; their times cannot be compared")
    return tuple(samples)


def _sample(arm: str, repeat: int, result: Mapping[str, Any]) -> Sample:
    return Sample(
        arm=arm,
        repeat=repeat,
        seconds=result["seconds"],
        cpu_seconds=result["cpu_seconds"],
        startup_seconds=result["startup_seconds"],
        nodes_used=result["nodes_used"],
        digest=result["digest"],
        at=time.time(),
    )


def _resize(stack: Stack, count: int) -> None:
    """Start and kill nodes so that only the first ``count`` are alive."""
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


def _evolve(stack: Stack, nodes: int, effort: Effort, store: Path) -> Mapping[str, Any]:
    argv = [sys.executable, "-m", "ga", "evolve", *_work(effort.scale_generations), "--json"]
    argv += ["--top", "0", "--store", str(store)]
    if nodes == 0:
        process = stack.on_one_node([*argv, "--mode", "local", "--workers", "1"])
    else:
        argv += ["--mode", "distributed", "--address", stack.endpoints.ray]
        process = start(argv, stack.endpoints.env)
    result = _ended(process, arm_of(nodes))
    if result["fallbacks"]:
        raise ArmError(f"{arm_of(nodes)} lost the cluster and fell back to this machine")
    return {**result, "nodes_used": len(result["cpu_seconds_by_node"])}


def _peers(say: Say) -> list[str]:
    if find_spec("torch") is not None and find_spec("evotorch") is not None:
        return list(PEERS)
    say("no arm with EvoTorch's actors: torch and evotorch are not both installed")
    return [name for name in PEERS if name != "EvoTorch"]


def _peer(stack: Stack, name: str, nodes: int, effort: Effort) -> Mapping[str, Any]:
    module = f"evolution_gate.benchmarks.{PEERS[name][0]}"
    argv = [sys.executable, "-m", module, *_work(effort.scale_generations)]
    argv += ["--address", stack.endpoints.ray, "--workers", str(nodes)]
    return _ended(start(argv, stack.endpoints.env), name)


def _work(generations: int) -> list[str]:
    return [
        *("--market", MARKET, "--seed", "7", "--population-size", str(POPULATION)),
        *("--generations", str(generations)),
    ]


def _ended(process: subprocess.Popen[str], name: str) -> dict[str, Any]:
    """The output of a finished arm."""
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
    # EvoTorch also prints its progress on stdout.
    result: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return result
