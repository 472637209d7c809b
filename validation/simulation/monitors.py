"""What the monitors read in a healthy run."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from typing import Any

from evolution_gate.fixtures.protocols import SERVICES
from validation.evidence.base import Record
from validation.evidence.records import Fault, Services, Usage
from validation.evidence.records_monitoring import Job, Probe, Scrape, StartUp
from validation.evidence.records_self_check import HarnessReading, MachineReading
from validation.simulation.records import LIMIT, NODES, T0, Timed


def jitter(at: float) -> float:
    """Up to a millisecond, as a clock shows it; the same at the same time."""
    return (at * 0.618034 % 1) / 1000


def _said(probe: str) -> str:
    return "4 nodes alive" if probe == "cluster" else "HTTP 200"


def answered(probe: str, *, ok: bool = True, at: float = 0.0) -> Probe:
    """A probe of the monitor."""
    return Probe(
        probe=probe,
        ok=ok,
        latency_s=0.01 + jitter(at),
        detail=_said(probe) if ok else "",
        excused=False,
    )


def observer(at: float, **changes: Any) -> HarnessReading:
    """A reading of a harness that takes 1 % of a core."""
    base = HarnessReading(
        at=at,
        monotonic_s=at - T0 + 9000,
        harness_cpu_s=0.01 * (at - T0) + 4,
        watch_cpu_s=0.008 * (at - T0),
        silence_s=dict.fromkeys(("head", *NODES), 5.0),
    )
    return dataclasses.replace(base, **changes)


def machine(at: float, *, other: float = 0.05, own: float = 1.2, **changes: Any) -> MachineReading:
    """A reading of a machine of two cores, with constant load since the run began."""
    passed = at - T0 + 9000
    base = MachineReading(
        at=at,
        cores=2,
        busy_s=(own + other) * passed,
        idle_s=(2.0 - own - other) * passed,
        steal_s=0.0,
        own_s=own * (at - T0 + 10),
        throttled_s=0.0,
        throttled=0,
        pressure_s=0.1 * passed,
    )
    return dataclasses.replace(base, **changes)


def services(faults: Sequence[Fault], until: float) -> list[Timed]:
    """A reading every 2 s; each kill by receipt ends its node, each start makes a new one."""
    count = max(0, math.ceil((until - T0 - 1.5) / 2))
    return [(at, serving(faults, at)) for at in (T0 + 1.5 + 2 * n for n in range(count))]


def serving(faults: Sequence[Fault], at: float) -> Services:
    """The incarnations at one moment."""
    incarnations: dict[str, object] = {}
    excused = []
    for name in ("head", *SERVICES, *NODES):
        past = [f for f in faults if f.target == name and f.requested_at <= at]
        down = bool(past) and max(past, key=lambda f: f.requested_at).fault == "kill"
        number = sum(f.fault == "start" for f in past)
        incarnations[name] = None if down else f"{name}@{number}"
        if past and (down or at < max(f.requested_at for f in past) + 30):
            excused.append(name)
    return Services(at=at, incarnations=incarnations, excused=tuple(excused))


def job(at: float, *, missing: Sequence[str] = (), **changes: Any) -> Job:
    """A job that ended at a time, right on all nodes that are not missing."""
    seconds = (10.0 if missing else 0.05) + jitter(at)
    base = Job(
        asked_at=at - seconds,
        seconds=seconds,
        right=tuple(node for node in NODES if node not in missing),
        wrong=(),
        missing=tuple(missing),
        detail="",
    )
    return dataclasses.replace(base, **changes)


def start_up(**changes: Any) -> StartUp:
    """A start that succeeded at once."""
    base = StartUp(asked_at=T0 - 60, up_at=T0 - 20, steady_at=T0 - 10, failed=())
    return dataclasses.replace(base, **changes)


def turn(
    at: float, dice: random.Random, down: Sequence[tuple[str, float, float]] = ()
) -> list[Timed]:
    """What the monitor reads in one turn besides the cluster itself.

    Args:
        down: Nodes that are down, from when to when.
    """
    found: list[Record] = [
        Probe(
            probe="dashboard",
            ok=True,
            latency_s=dice.uniform(0.005, 0.05),
            detail="HTTP 200",
            excused=False,
        )
    ]
    for target in ("head", *NODES):
        away = any(n == target and a <= at <= b for n, a, b in down)
        found.append(Scrape(target=target, up=not away, age_s=dice.uniform(0, 6), excused=away))
    found += [
        Usage(
            node=node,
            at=at,
            cpu_seconds=0.4 * (at - T0),
            memory_bytes=int(400e6 + dice.gauss(0, 2e6)),
            oom_kills=0,
            limit_bytes=LIMIT,
            cpus=0.4,
            throttled_s=0.02 * (at - T0),
        )
        for node in NODES
    ]
    return [(at, record) for record in found]
