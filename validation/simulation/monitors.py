"""What the monitors read in a healthy run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from evolution_gate.fixtures.protocols import SERVICES
from validation.evidence.records import Fault, Services
from validation.evidence.records_monitoring import Probe
from validation.evidence.records_self_check import HarnessReading, MachineReading
from validation.simulation.records import NODES, T0, Timed


def answered(probe: str, *, ok: bool = True) -> Probe:
    return Probe(
        probe=probe, ok=ok, latency_s=0.01, detail="4 nodes alive" if ok else "", excused=False
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
    found: list[Timed] = []
    at = T0 + 1.5
    while at < until:
        incarnations: dict[str, object] = {}
        excused = []
        for name in ("head", *SERVICES, *NODES):
            past = [f for f in faults if f.target == name and f.requested_at <= at]
            down = bool(past) and max(past, key=lambda f: f.requested_at).fault == "kill"
            number = sum(f.fault == "start" for f in past)
            incarnations[name] = None if down else f"{name}@{number}"
            if past and (down or at < max(f.requested_at for f in past) + 30):
                excused.append(name)
        found.append((at, Services(at=at, incarnations=incarnations, excused=tuple(excused))))
        at += 2
    return found
