"""Healthy simulated campaigns that differ: nodes, timings, latencies, memory, load of the machine.

Every choice is keyed by the seed. In one campaign of three another program keeps a core busy for a
while. On a machine of two cores this slows what the gate times; a machine with a free core does not
notice it.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from validation.evidence.base import Record
from validation.evidence.records import CpuWindow, Fault, Recovery, Services, Usage, Workload
from validation.evidence.records_ledger import Generation, NodeCheck
from validation.evidence.records_load import Load
from validation.evidence.records_monitoring import Job, Probe, Scrape
from validation.evidence.records_network import Drain, Listener, RoundTrips, Survey
from validation.evidence.records_price import NodePrice
from validation.evidence.records_self_check import HarnessReading, MachineReading
from validation.simulation.campaign import passing
from validation.simulation.records import NODES, T0, Timed

_BASES: Final = 6
"""Campaigns that all others are made of."""
_COPIED: Final = NODES[2]
"""Additional nodes are like this one."""
_WORK_S: Final = 700.0
"""Longer than the work of a campaign; afterwards the cluster is only watched."""


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """One simulated campaign."""

    seed: int
    nodes: int
    events: list[Timed]
    busy: tuple[float, float] | None
    """Seconds after the start between which another program kept a core busy."""
    cores: int
    words: str
    """What is special about it."""


def campaign(seed: int) -> Campaign:
    """The healthy campaign of a seed."""
    dice = random.Random(f"healthy:{seed}")
    events = passing(1 + seed % _BASES)
    factor = dice.uniform(0.8, 1.3)
    events = _stretched(events, factor)
    extra = dice.choice([0, 0, 1, 2])
    for number in range(extra):
        events = _with_copy(events, f"node-{len(NODES) + 1 + number}", number)
    cores = dice.choice([2, 2, 4, 8])
    busy = None
    if seed % 3 == 2:
        begin = dice.uniform(0, 500)
        busy = (begin, begin + dice.uniform(60, 300))
    events = _Noise(dice, busy, cores).applied(events)
    words = f"{len(NODES) + extra} nodes, {cores} cores, times × {factor:.2f}"
    if busy is not None:
        words += f", a core busy from {busy[0]:.0f} to {busy[1]:.0f} s"
    return Campaign(
        seed=seed, nodes=len(NODES) + extra, events=events, busy=busy, cores=cores, words=words
    )


def _stretched(events: list[Timed], factor: float) -> list[Timed]:
    """The same, slower or faster while the monitors read it; the rest keeps its pace."""
    end = max(at for at, record in events if isinstance(record, Usage))

    def moved(at: float) -> float:
        return T0 + (at - T0) * factor if at <= end else at + (end - T0) * (factor - 1)

    durations = {
        Workload: ("seconds",),
        Generation: ("seconds",),
        CpuWindow: ("used_s", "allotted_s", "useful_s"),
        Recovery: ("detected_s", "rescheduled_s", "first_result_s", "node_back_s"),
        Drain: ("deadline_s",),
        Job: ("seconds",),
    }
    found = []
    for at, record in events:
        values: dict[str, Any] = {
            name: _moved_field(value, moved)
            for name, value in record.data().items()
            if _is_time(value)
        }
        for name in durations.get(type(record), ()) if at <= end else ():
            values[name] = cast("float", getattr(record, name)) * factor
        now = moved(at)
        if isinstance(record, HarnessReading):
            values["monotonic_s"] = now - T0 + 9000
        found.append((now, dataclasses.replace(record, **values) if values else record))
    return found


def _is_time(value: object) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(map(_is_time, value))
    return isinstance(value, float) and value > T0 / 2


def _moved_field(value: object, moved: Callable[[float], float]) -> object:
    if isinstance(value, tuple):
        return tuple(moved(one) for one in value)
    return moved(cast("float", value))


def _with_copy(events: list[Timed], name: str, number: int) -> list[Timed]:
    """One more node, which fares like ``_COPIED``."""
    address, copied = f"10.0.0.{len(NODES) + 1 + number}", f"10.0.0.{NODES.index(_COPIED) + 1}"
    network = str(4026533000 + number)
    found: list[Timed] = []
    for at, record in events:
        if isinstance(record, Workload) and record.nodes >= len(NODES):
            record = dataclasses.replace(record, nodes=record.nodes + 1, workers=record.workers + 1)
        elif isinstance(record, Services):
            there = {**record.incarnations, name: record.incarnations[_COPIED]}
            excused = record.excused + ((name,) if _COPIED in record.excused else ())
            record = dataclasses.replace(record, incarnations=there, excused=excused)
        elif isinstance(record, Job):
            right = record.right + ((name,) if _COPIED in record.right else ())
            missing = record.missing + ((name,) if _COPIED in record.missing else ())
            record = dataclasses.replace(record, right=right, missing=missing)
        elif isinstance(record, NodePrice):
            # More nodes are smaller and cheaper ones: the budget is the same.
            record = dataclasses.replace(
                record,
                spot=0.78 * record.spot,
                spot_low=0.78 * (record.spot_low or 0.0),
                spot_cap=0.78 * (record.spot_cap or 0.0),
            )
        elif isinstance(record, HarnessReading):
            silence = {**record.silence_s, name: record.silence_s[_COPIED]}
            record = dataclasses.replace(record, silence_s=silence)
        elif isinstance(record, Survey):
            more = sum(
                isinstance(r, Listener) and r.network == _COPIED and r.at_work == record.at_work
                for _, r in events
            )
            record = dataclasses.replace(record, listeners=record.listeners + more)
        found.append((at, record))
        if isinstance(record, Usage | CpuWindow) and record.node == _COPIED:
            found.append((at, dataclasses.replace(record, node=name)))
        elif isinstance(record, NodeCheck) and record.node == copied:
            found.append((at, dataclasses.replace(record, node=address)))
        elif isinstance(record, Fault | Recovery | Scrape) and record.target == _COPIED:
            found.append((at, dataclasses.replace(record, target=name)))
        elif isinstance(record, Listener) and record.network == _COPIED:
            found.append((at, dataclasses.replace(record, network=name)))
        elif isinstance(record, RoundTrips):
            found += [(at, one) for one in _copied_trips(record, name, network)]
    return found


def _copied_trips(record: RoundTrips, name: str, network: str) -> list[RoundTrips]:
    """Round trips of the additional node, with those of the node that it copies."""
    if _COPIED not in (record.source, record.target):
        return []
    outward = record.source == _COPIED
    own: dict[str, Any] = (
        {"source": name, "source_network": network if record.source_network else ""}
        if outward
        else {"target": name, "target_network": network if record.target_network else ""}
    )
    found = [dataclasses.replace(record, **own)]
    if NODES[0] in (record.source, record.target):
        # One pair is made into that of the copy and its original.
        other: dict[str, Any] = (
            {
                "target": _COPIED,
                "target_network": record.source_network,
                "source": name,
                "source_network": network if record.source_network else "",
            }
            if outward
            else {
                "source": _COPIED,
                "source_network": record.target_network,
                "target": name,
                "target_network": network if record.target_network else "",
            }
        )
        found.append(dataclasses.replace(record, **other))
    return found


class _Noise:
    """Changes the measurements of a healthy campaign at random."""

    def __init__(self, dice: random.Random, busy: tuple[float, float] | None, cores: int) -> None:
        self._dice, self._cores = dice, cores
        self._busy = (0.0, 0.0) if busy is None else busy
        self._crowded = busy is not None and cores == 2
        self._latency = dice.uniform(0.5, 4)
        self._memory, self._spread = dice.uniform(3e8, 7e8), dice.uniform(1e6, 2.5e6)
        self._trip = dice.uniform(5e-5, 5e-4)
        self._read = dice.uniform(0.003, 0.012)
        self._other, self._own = dice.uniform(0.0, 0.15), dice.uniform(0.7, 1.6)
        self._gain = dice.uniform(0.85, 1.0)
        self._totals = [T0, 9000.0, 9000.0, 0.0]
        self._edits: Mapping[type[Record], Callable[[float, Any], Record]] = {
            Probe: self._probe,
            Scrape: self._scrape,
            Usage: self._usage,
            RoundTrips: self._trips,
            Load: self._load,
            Recovery: self._recovery,
            CpuWindow: self._cpu,
            MachineReading: self._machine,
        }

    def applied(self, events: list[Timed]) -> list[Timed]:
        """The campaign with noise."""
        found = []
        for at, record in events:
            edit = self._edits.get(type(record))
            found.append((at, record if edit is None else edit(at, record)))
        return found

    def _slow(self, begin: float, end: float) -> bool:
        """Whether the other program took a core between two times."""
        return self._crowded and begin < T0 + self._busy[1] and end > T0 + self._busy[0]

    def _probe(self, at: float, record: Probe) -> Record:
        latency = record.latency_s * self._latency * self._dice.lognormvariate(0, 0.4)
        slow = self._slow(at, at) and record.probe == "dashboard"
        if slow and self._dice.random() < 0.01:
            return dataclasses.replace(record, ok=False, latency_s=1.9, detail="time-out")
        return dataclasses.replace(record, latency_s=min(latency * (5 if slow else 1), 1.9))

    def _scrape(self, at: float, record: Scrape) -> Record:
        if record.age_s is None or not self._slow(at, at):
            return record
        late = self._dice.random() < 0.002
        return dataclasses.replace(record, age_s=record.age_s + self._dice.uniform(0, 14 * late))

    def _usage(self, _: float, record: Usage) -> Record:
        memory = int(self._memory + self._dice.gauss(0, self._spread))
        return dataclasses.replace(record, memory_bytes=memory)

    def _trips(self, at: float, record: RoundTrips) -> Record:
        slow = self._slow(at - 10, at)
        seconds = tuple(
            self._trip * self._dice.lognormvariate(0, 0.5)
            + (self._dice.uniform(0, 0.03) if slow and self._dice.random() < 0.03 else 0.0)
            for _ in record.seconds
        )
        return dataclasses.replace(record, seconds=seconds)

    def _load(self, at: float, record: Load) -> Record:
        slow = 3 if self._slow(at - record.seconds, at) else 1
        reads = tuple(
            min(self._read * self._dice.lognormvariate(0, 0.5) * slow, 1.0) for _ in record.reads
        )
        return dataclasses.replace(record, reads=reads)

    def _recovery(self, at: float, record: Recovery) -> Recovery:
        slow = self._dice.uniform(1.2, 2.5) if self._slow(record.fault_at, at) else 1.0
        return dataclasses.replace(
            record, node_back_s=min((record.node_back_s or 0.0) * slow, at - record.fault_at + 0.9)
        )

    def _cpu(self, at: float, record: CpuWindow) -> Record:
        less = self._dice.uniform(0.6, 0.9) if self._slow(at - 15, at) else 1.0
        return dataclasses.replace(
            record, used_s=record.used_s * less, useful_s=record.useful_s * less
        )

    def _machine(self, at: float, record: MachineReading) -> Record:
        """Cumulative counts with the load of this machine."""
        last, busy, idle, own = self._totals
        step = max(at - last, 0.0)
        loaded = self._busy[0] < at - T0 <= self._busy[1]
        other = 1.0 if loaded else self._other
        mine = min(self._own if at < T0 + _WORK_S else 0.1, self._cores - other)
        self._totals = [
            at,
            busy + (other + mine) * step,
            idle + (self._cores - other - mine) * step,
            own + mine * step,
        ]
        return dataclasses.replace(
            record,
            cores=self._cores,
            busy_s=self._totals[1],
            idle_s=self._totals[2],
            own_s=self._totals[3],
        )
