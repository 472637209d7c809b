"""A simulated stack with a simulated clock: two days of evidence in a few seconds.

For tests of the gate. The record's backend is ``simulated``, which the verdict states.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

import numpy as np

from validation.evidence.operations import parse_ranges
from validation.evidence.queries import HEAD
from validation.evidence.records import (
    Fault,
    Invocation,
    Recovery,
    Services,
    Usage,
    Workload,
)
from validation.evidence.records_ledger import (
    Audit,
    Coordinator,
    Fallback,
    Generation,
    Individuals,
    NodeCheck,
)
from validation.evidence.records_monitoring import Job, Probe, Scrape, StartUp
from validation.evidence.records_self_check import HarnessReading
from validation.limits import CLUSTER
from validation.simulation.records import audited
from validation.soak.segments import Segments

Defect = Literal["healthy", "outages", "lost", "leak", "unwatched", "one_node", "slow", "wrong"]
DEFECTS: Final[tuple[Defect, ...]] = get_args(Defect)
PERIOD_S: Final = 20.0
"""Longer than on a stack, because nothing happens between two probes."""
EVERY: Final = 2
POPULATION, GENERATIONS = 100, 15
_WORK_S: Final = 20.0
_RECOVERY_S: Final = (6.0, 10.0)
_LIMIT: Final = 2 * 1024**3
_LOST: Final = (3, 7)
"""Generation and index of the individual that the defect ``lost`` takes from the third workload."""
_OUTAGE_EVERY_S, _OUTAGE_S = 7200.0, 240.0
"""The defect ``outages``: 96.7 % available."""
_LEAK_S: Final = 1e6 / 60
"""The defect ``leak``: bytes a second on every node."""
_SLOW_S: Final = 49.0
"""The defect ``slow``: seconds that every job takes."""
_WATCH_S: Final = 2700.0
"""The defect ``unwatched``: every hour, after this time, monitoring stops without a record."""


@dataclass(kw_only=True)
class Clock:
    """A clock in Unix seconds that is advanced explicitly."""

    at: float

    def __call__(self) -> float:
        """Seconds of the simulated time."""
        return self.at


@dataclass(kw_only=True)
class SimulatedWorld:
    """A cluster of ``plan.nodes`` nodes that is healthy, except for one planted defect."""

    segments: Segments
    clock: Clock
    defect: Defect = "healthy"
    workloads: int = 0
    """Workloads of the soak so far."""
    _begin: float = 0.0
    _ticks: int = 0
    _away: dict[str, tuple[float, float]] = field(default_factory=dict)
    _kills: Counter[str] = field(default_factory=Counter)
    _dice: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self._dice = np.random.default_rng([self.segments.folder.plan.seed, self.workloads])
        self._begin = self.clock.at

    def now(self) -> float:
        """Unix seconds of the simulation."""
        return self.clock.at

    def rest(self, seconds: float) -> None:
        """Advance the time and write the probes that are due."""
        end = self.clock.at + seconds
        while (probe := self._begin + self._ticks * PERIOD_S) <= end:
            self.clock.at = max(probe, self.clock.at)
            self._probe()
            self._ticks += 1
        self.clock.at = end

    def started(self) -> None:
        """The record of the simulated start."""
        at = self.clock.at
        self.segments.add(StartUp(asked_at=at - 40, up_at=at - 5, steady_at=at, failed=()))

    def reference(self) -> None:
        """The two local histories that all others are compared with."""
        for workers in (1, 2):
            self._workload("local", workers, None)

    def work(self, *, kill: bool) -> None:
        """One workload on the simulated cluster."""
        nodes = self.segments.folder.plan.nodes
        node = f"node-{int(self._dice.integers(nodes)) + 1}" if kill else None
        self._workload("distributed", nodes, node)

    def _workload(
        self, arm: Literal["local", "distributed"], workers: int, node: str | None
    ) -> None:
        self.workloads += 1
        purpose: Literal["recovery", "reproducibility"] = "recovery" if node else "reproducibility"
        name = f"{self.workloads:02d}-{purpose}-{arm}"
        add, began = self.segments.add, self.clock.at
        add(Invocation(workload=name, population_size=POPULATION, generations=GENERATIONS))
        self.rest(_WORK_S / 4)
        if node is not None:
            self._kill(node, name)
        self.rest(_WORK_S)
        digest = f"{self.segments.folder.plan.seed:064x}"
        seconds = self.clock.at - began
        add(
            Workload(
                id=name,
                purpose=purpose,
                arm=arm,
                pair=None,
                seed=self.segments.folder.plan.seed,
                market="simulated",
                nodes=1 if arm == "local" else workers,
                workers=workers,
                population_size=POPULATION,
                generations=GENERATIONS,
                exit_code=0,
                seconds=seconds,
                evaluations=POPULATION * GENERATIONS,
                digest=digest,
                started_at=began,
                finished_at=self.clock.at,
                error=None,
            )
        )
        if arm == "distributed":
            add(Fallback(workload=name, count=0, generations=(), at=()))
            count = range(GENERATIONS * 2)
            add(
                Coordinator(
                    workload=name,
                    at=tuple(self.clock.at - seconds * (1 - n / len(count)) for n in count),
                    memory_bytes=tuple(int(2e8 + self._dice.normal(0, 1e5)) for _ in count),
                    generations=tuple(n // 2 for n in count),
                )
            )
        there = ["local"] if arm == "local" else [f"10.0.0.{n + 1}" for n in range(workers)]
        self._ledger(name, digest, seconds, there)

    def _ledger(self, name: str, digest: str, seconds: float, nodes: Sequence[str]) -> None:
        add, planned = self.segments.add, POPULATION * GENERATIONS
        lost = _LOST if self.defect == "lost" and self.workloads == 3 else None
        for generation in range(GENERATIONS):
            there = [i for i in range(POPULATION) if (generation, i) != lost]
            add(
                Generation(
                    workload=name,
                    generation=generation,
                    seconds=seconds / GENERATIONS,
                    individuals=len(there),
                    failed=0,
                    finished_at=self.clock.at - seconds * (1 - (generation + 1) / GENERATIONS),
                )
            )
            add(
                Individuals(
                    workload=name,
                    generation=generation,
                    acknowledged=True,
                    found=parse_ranges(there),
                    again="",
                )
            )
        for node in nodes:
            add(
                NodeCheck(
                    workload=name, node=node, processor="simulated", digest="0" * 16, refused=None
                )
            )
        missing = int(lost is not None)
        places = "" if lost is None else f"generation {lost[0]} index {lost[1]}"
        add(
            Audit(
                workload=name,
                expected=planned,
                committed=planned - missing,
                lost=missing,
                doubled=0,
                failed=0,
                witnesses=(f"lost: {places} (not in the ledger)",) if missing else (),
                digest=digest,
                recomputed_digest=digest,
                sampled=60,
                mismatched=0,
                **audited(name, digest),
            )
        )

    def _kill(self, node: str, workload: str) -> None:
        total = float(self._dice.uniform(*_RECOVERY_S))
        at = self.clock.at
        # As in the real monitor, services are read just before and after they change.
        self._services()
        self._away[node] = (at, at + total)
        self._receipt("kill", node, workload)
        self._services()
        self.rest(total)
        self._kills[node] += 1
        self._receipt("start", node, workload)
        self._services()
        self.segments.add(
            Recovery(
                workload=workload,
                target=node,
                fault_at=at,
                detected_s=1.0,
                rescheduled_s=total / 3,
                first_result_s=total / 2,
                node_back_s=total,
                window_s=120.0,
            )
        )

    def _receipt(self, fault: str, node: str, workload: str) -> None:
        self.segments.add(
            Fault(
                fault=fault,
                target=node,
                requested_at=self.clock.at,
                confirmed_at=self.clock.at + 0.1,
                confirmed=True,
                before={"simulated": True, "running": fault != "start"},
                after={"simulated": True, "running": fault == "start"},
                detail="",
                workload=workload,
            )
        )

    def _services(self) -> None:
        """The current incarnation of every service."""
        found: dict[str, str | None] = {HEAD: "0"}
        for number in range(self.segments.folder.plan.nodes):
            name = f"node-{number + 1}"
            begin, end = self._away.get(name, (0.0, 0.0))
            found[name] = None if begin <= self.clock.at < end else str(self._kills[name])
        self.segments.add(Services(at=self.clock.at, incarnations=found, excused=()))

    def _probe(self) -> None:
        add, at = self.segments.add, self.clock.at
        passed = at - self._begin
        if self.defect == "unwatched" and passed % 3600.0 > _WATCH_S:
            return
        down = self.defect == "outages" and passed % _OUTAGE_EVERY_S >= _OUTAGE_EVERY_S - _OUTAGE_S
        nodes = [f"node-{n + 1}" for n in range(self.segments.folder.plan.nodes)]
        add(_answer(CLUSTER, ok=not down))
        add(self._job(nodes, down=down))
        add(
            HarnessReading(
                at=at,
                monotonic_s=at,
                harness_cpu_s=0.01 * passed,
                watch_cpu_s=0.01 * passed,
                silence_s=dict.fromkeys((HEAD, *nodes), 5.0),
            )
        )
        if self._ticks % EVERY:
            return
        add(_answer("dashboard", ok=True))
        self._services()
        for target in (HEAD, *nodes):
            begin, end = self._away.get(target, (0.0, 0.0))
            away = begin <= at <= end
            add(Scrape(target=target, up=not away, age_s=2.0, excused=away))
        leaked = _LEAK_S * passed if self.defect == "leak" else 0.0
        for node in (HEAD, *nodes):
            add(
                Usage(
                    node=node,
                    at=at,
                    cpu_seconds=0.1 * passed,
                    memory_bytes=int(4e8 + leaked + self._dice.normal(0, 2e6)),
                    oom_kills=0,
                    limit_bytes=_LIMIT,
                )
            )

    def _job(self, nodes: Sequence[str], *, down: bool) -> Job:
        at = self.clock.at
        spans = {node: self._away.get(node, (0.0, 0.0)) for node in nodes}
        missing = [n for n, (begin, end) in spans.items() if down or begin <= at < end]
        if self.defect == "one_node":
            missing = list(nodes[1:])
        wrong = [nodes[0]] if self.defect == "wrong" and nodes[0] not in missing else []
        seconds = _SLOW_S if self.defect == "slow" else 10.0 if missing else 0.05
        return Job(
            asked_at=at - seconds,
            seconds=seconds,
            right=tuple(node for node in nodes if node not in (*missing, *wrong)),
            wrong=tuple(wrong),
            missing=tuple(missing),
            detail="",
        )


_GOOD: Final = {"dashboard": "HTTP 200", "cluster": "4 nodes alive"}
"""What the monitor notes of good answers."""


def _answer(probe: str, *, ok: bool) -> Probe:
    return Probe(
        probe=probe,
        ok=ok,
        latency_s=0.01,
        detail=_GOOD.get(probe, "simulated") if ok else "simulated outage",
        excused=False,
    )
