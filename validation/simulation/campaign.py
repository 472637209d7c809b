"""A simulated run in which everything holds, and the means to damage it.

The gate itself never imports this package: a test checks it.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, cast

from validation.certificates import HEALTHY as NOTHING
from validation.certificates import Certificate
from validation.code_hashes import criterion_hash
from validation.contract import Mutant
from validation.criteria.registry import MUTANTS
from validation.evidence.base import Record
from validation.evidence.log import Event, Evidence
from validation.evidence.records import (
    Close,
    CpuWindow,
    Environment,
    Fault,
    Invocation,
    Workload,
)
from validation.simulation.load import drain, scaling, served
from validation.simulation.monitors import (
    answered,
    job,
    machine,
    observer,
    services,
    start_up,
    turn,
)
from validation.simulation.records import (
    NODES,
    T0,
    Timed,
    ledger,
    monitoring,
    opening,
    receipt,
    recovery,
    refusals,
    restores,
    round_trips,
    surveyed,
    workload,
)
from validation.simulation.resources import price


def invocation(work: Workload) -> Invocation:
    """The announcement of a workload."""
    return Invocation(
        workload=work.id, population_size=work.population_size, generations=work.generations
    )


def certificates(
    criteria: Iterable[str], mutants: Sequence[Mutant] = MUTANTS, stack: str = "processes"
) -> list[Certificate]:
    """As if all mutants of these criteria had been detected, and the healthy system passed."""

    def one(criterion: str, defect: str, expected: str, verdict: str) -> Certificate:
        return Certificate(
            criterion=criterion,
            defect=defect,
            detected=defect != NOTHING,
            verdict=verdict,
            expected=expected,
            reason="it was found",
            code=criterion_hash(criterion),
            at=T0,
            stack=stack,
        )

    names = list(criteria)
    return [
        *(one(name, NOTHING, "PASS", "PASS") for name in names),
        *(one(m.criterion, m.name, m.expects, m.expects) for m in mutants if m.criterion in names),
    ]


_EVENTS: dict[tuple[int, int, float], Event] = {}
"""By identity of the record, place and time; only of records that ``_passing`` keeps alive."""


def passing(seed: int = 1) -> list[Timed]:
    """Ten minutes in which every measured criterion holds, then two days of mere watching."""
    return list(_passing(seed))


@cache
def healthy(seed: int = 1, run: str = "run-1") -> Evidence:
    """The evidence of ``passing``, made once."""
    return evidence(passing(seed), run=run)


# Long: one campaign, told in the order of time.
@cache
def _passing(seed: int) -> tuple[Timed, ...]:
    dice = random.Random(seed)
    events: list[Timed] = [
        (
            T0,
            Environment(
                values={
                    "python": "3.11.2",
                    "ray": "2.60.0",
                    "cpu": "Xeon",
                    "cores": 2,
                    "load": 0.3,
                    "commit": "c" * 40,
                    "memory_bytes": 16 * 1024**3,
                }
            ),
        )
    ]

    def add(work: Workload) -> None:
        events.append((work.started_at, invocation(work)))
        events.append((work.finished_at, work))
        events.extend((work.finished_at, record) for record in ledger(work))

    for begin, workers in ((5.0, 1), (35.0, 2)):
        add(
            workload(
                f"reference-{workers}",
                begin,
                25.0,
                purpose="reproducibility",
                arm="local",
                nodes=1,
                workers=workers,
                population_size=100,
                generations=15,
                digest="a" * 64,
            )
        )
    again = workload(
        "reference-served",
        62.0,
        2.0,
        purpose="reproducibility",
        arm="local",
        nodes=1,
        workers=1,
        population_size=100,
        generations=15,
        evaluations=0,
        digest="a" * 64,
    )
    add(again)
    events.extend((T0 + 3, record) for record in (*round_trips(), *surveyed()))
    down: list[tuple[str, float, float]] = []
    for number in range(5):
        begin = 70.0 + 35 * number
        work = workload(
            f"recovery-{number}",
            begin,
            28.0,
            purpose="recovery",
            population_size=100,
            generations=15,
            digest="a" * 64,
        )
        node = NODES[number % 3]
        killed, back = T0 + begin + 6, T0 + begin + 10
        events.append((killed, receipt("kill", node, killed, work.id)))
        events.append((back, receipt("start", node, back, work.id)))
        total = dice.uniform(8, 12)
        events.append((killed + total, recovery(work, node, killed, total)))
        down.append((node, killed, back + 15))
        add(work)
    events += monitoring(T0 + 241)
    down.append((NODES[1], T0 + 241, T0 + 241 + 13 + 15))
    events.append((T0 + 262, price()))
    clock = 265.0
    for pair in range(4):
        arms = ("local", "distributed") if pair % 2 == 0 else ("distributed", "local")
        for arm in arms:
            seconds = dice.uniform(58, 62) if arm == "local" else dice.uniform(19.5, 20.5)
            work = workload(
                f"speedup-{pair}-{arm}",
                clock,
                seconds,
                arm=arm,
                pair=pair,
                nodes=1 if arm == "local" else 4,
                workers=1 if arm == "local" else 4,
            )
            add(work)
            clock += seconds + 3
            if arm == "distributed":
                for node in NODES:
                    allotted = 0.4 * seconds
                    used = allotted * dice.uniform(0.86, 0.93)
                    window = CpuWindow(
                        workload=work.id,
                        node=node,
                        used_s=used,
                        allotted_s=allotted,
                        useful_s=0.9 * used,
                    )
                    events.append((work.finished_at, window))
    events.extend((T0 + 65, record) for record in (*refusals(), *restores("reference-2")))
    like = {"population_size": 100, "generations": 15, "digest": "a" * 64}
    for number, size in enumerate((500, 2000)):
        work = workload(
            f"population-{size}",
            clock,
            12.0,
            purpose="population",
            population_size=size,
            generations=1,
            digest=str(number) * 64,
        )
        add(work)
        clock += 15
    taken = workload("preemption", clock, 20.0, purpose="preemption", **like)
    asked = taken.started_at + 2
    events.append((asked, drain(taken)))
    events.append((asked, receipt("drain", NODES[3], asked, taken.id)))
    killed, back = taken.started_at + 10, taken.finished_at + 1
    events.append((killed, receipt("kill", NODES[3], killed, taken.id)))
    events.append((back, receipt("start", NODES[3], back, taken.id)))
    down.append((NODES[3], taken.started_at + 2, back + 15))
    add(taken)
    clock += 40
    lost = workload(
        "rollback",
        clock + 10,
        20.0,
        purpose="rollback",
        population_size=100,
        generations=15,
        digest="a" * 64,
    )
    killed = lost.started_at + 2
    events.extend((killed, receipt("kill", name, killed, lost.id)) for name in ("head", *NODES))
    add(lost)
    grown = workload(
        "autoscaling", clock + 35, 20.0, purpose="autoscaling", nodes=3, workers=3, **like
    )
    add(grown)
    events.append((grown.finished_at + 10, scaling(grown.id)))
    events.extend((grown.finished_at + 60, record) for record in served())
    events.extend(services([r for _, r in events if isinstance(r, Fault)], T0 + clock + 5))
    at = T0 + 1
    events.append((T0, start_up()))
    while at < T0 + clock + 5:
        events.append((at, answered("cluster", at=at)))
        events.extend([(at, observer(at)), (at, machine(at))])
        events.append((at, job(at, missing=[n for n, a, b in down if a <= at <= b - 15])))
        events += turn(at, dice, down)
        at += 2
    while at < T0 + clock + 49 * 3600:
        events.append((at, answered("cluster", at=at)))
        events.extend([(at, observer(at)), (at, machine(at)), (at, job(at))])
        at += 60
    events.sort(key=lambda event: event[0])
    events = _lived(events)
    for seq, (when, record) in enumerate(events, start=1):
        _EVENTS[id(record), seq, when] = _event(seq, when, record)
    return tuple(events)


def _lived(events: list[Timed]) -> list[Timed]:
    """The same with receipts in which a node that is killed is the process that was started."""
    pids: dict[str, object] = {}
    found: list[Timed] = []
    for at, record in events:
        if isinstance(record, Fault) and record.fault == "start":
            pids[record.target] = record.after["pid"]
        elif isinstance(record, Fault) and record.fault == "kill" and record.target in pids:
            same = {"pid": pids[record.target]}
            record = dataclasses.replace(
                record, before={**record.before, **same}, after={**record.after, **same}
            )
        found.append((at, record))
    return found


def change(
    events: Iterable[Timed], kind: type[Record], edit: Callable[[Record], Record | None]
) -> list[Timed]:
    """Replace every record of a kind; ``None`` drops it."""
    changed: list[Timed] = []
    for event in events:
        at, record = event
        if not isinstance(record, kind):
            # The same pair: copies of ten thousand, for each of a hundred defects, fill the memory.
            changed.append(event)
        elif (edited := edit(record)) is not None:
            changed.append((at, edited))
    return changed


def slow_cluster(times: float = 1.5) -> list[Timed]:
    """The passing run, but one node is only about ``times`` slower than the cluster."""
    return change(
        passing(),
        Workload,
        lambda r: (
            dataclasses.replace(r, finished_at=r.started_at + 20.0 * times)
            if isinstance(r, Workload) and r.purpose == "speedup" and r.arm == "local"
            else r
        ),
    )


def shifted(events: Iterable[Timed], seconds: float) -> list[Timed]:
    """The same records at another time: those of another run."""
    found: list[Timed] = []
    for at, record in events:
        # Times are Unix seconds; no other number is as large.
        moved: dict[str, Any] = {
            name: tuple(one + seconds for one in value)
            if isinstance(value, tuple)
            else cast("float", value) + seconds
            for name, value in record.data().items()
            if _times(value)
        }
        found.append((at + seconds, dataclasses.replace(record, **moved) if moved else record))
    return found


def _times(value: object) -> bool:
    """Whether a field holds a time or times."""
    if isinstance(value, tuple):
        return bool(value) and all(map(_times, value))
    return isinstance(value, float) and value > T0 / 2


def simulated(events: Iterable[Timed]) -> list[Timed]:
    """The same without what is known of a real machine."""
    return [event for event in events if not isinstance(event[1], Environment)]


def evidence(
    events: Sequence[Timed],
    *,
    run: str = "run-1",
    closed: bool = True,
    backend: str = "processes",
    began: float = T0,
    nodes: int = len(NODES),
) -> Evidence:
    """The record in memory, as ``read_evidence`` would give it."""
    first = dataclasses.replace(opening(run, nodes, backend), started_at=began)
    timed: list[Timed] = [(began, first), *events]
    if closed:
        timed.append((timed[-1][0], Close(events=len(timed))))
    return Evidence(
        source=f"{run}.jsonl",
        sha256="0" * 64,
        closed=closed,
        events=tuple(
            _EVENTS.get((id(record), seq, at)) or _event(seq, at, record)
            for seq, (at, record) in enumerate(timed)
        ),
    )


def _event(seq: int, at: float, record: Record) -> Event:
    return Event(seq=seq, kind=record.KIND, at=at, data=record.data(), record=record)
