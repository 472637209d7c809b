"""Synthetic records: a run in which everything holds, and the means to damage it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

from validation.certificates import Certificate, code_hash
from validation.criteria.bad_input import BAD_INPUTS
from validation.evidence.base import Record
from validation.evidence.log import Event, Evidence, EvidenceWriter
from validation.evidence.records import (
    SCHEMA_VERSION,
    Close,
    CpuWindow,
    Environment,
    Fault,
    NodePrice,
    Open,
    Recovery,
    Services,
    Usage,
    Workload,
)
from validation.evidence.records_ledger import (
    Audit,
    Fallback,
    Generation,
    NodeCheck,
    Refusal,
    Restore,
)
from validation.evidence.records_load import Load, Scaling, ServiceRestart
from validation.evidence.records_monitoring import (
    AlertWatch,
    Notification,
    Panel,
    Probe,
    Scrape,
)
from validation.evidence.records_network import (
    Drain,
    Listener,
    RoundTrips,
    Search,
    Survey,
)
from validation.evidence.records_self_check import HarnessReading

T0 = 1_760_000_000.0
NODES = ("node-1", "node-2", "node-3", "node-4")
LIMIT = 2 * 1024**3
Timed = tuple[float, Record]
NEEDED: dict[str, tuple[type[Record], ...]] = {
    "uptime": (Probe,),
    "worker_recovery": (Recovery, Fault),
    "dashboard": (Probe,),
    "cycle_completion": (Workload, Generation),
    "generation_time": (Workload, Generation),
    "speedup": (Workload,),
    "prometheus_collection": (Scrape, Usage),
    "cpu_efficiency": (Workload, CpuWindow),
    "memory_stability": (Usage,),
    "container_stability": (Services, Fault),
    "no_data_loss": (Workload, Audit, Fault),
    "reproducibility": (Workload, Fault, NodeCheck),
    "rollback": (Workload, Fault, Fallback, Audit),
    "backup_restore": (Workload, Restore),
    "bad_input": (Refusal,),
    "grafana_functional": (Panel, Probe),
    "alerting": (AlertWatch, Notification, Fault),
    "network_latency": (RoundTrips,),
    "exposure": (Listener, Survey, Search),
    "autoscaling": (Scaling, Audit, Workload),
    "preemption": (Drain, Fault, Audit, Workload),
    "population_load": (Audit, Generation, Usage, Workload),
    "service_load": (Load, ServiceRestart),
    "cost_per_day": (Workload, CpuWindow, Generation, NodePrice),
}
"""The kinds of record without which a criterion cannot pass."""


def opening(run: str = "run-1", nodes: int = len(NODES)) -> Open:
    return Open(
        run=run,
        seed=7,
        schema=SCHEMA_VERSION,
        backend="processes",
        nodes=nodes,
        cpus_per_node=0.4,
        replay="pytest -m validation --replay 7",
        started_at=T0,
    )


def workload(id_: str, begin: float, seconds: float, **changes: object) -> Workload:
    base = Workload(
        id=id_,
        purpose="speedup",
        arm="distributed",
        pair=None,
        seed=7,
        market="eurusd",
        nodes=4,
        workers=4,
        population_size=500,
        generations=6,
        exit_code=0,
        seconds=seconds,
        evaluations=3000,
        digest="d" * 64,
        started_at=T0 + begin,
        finished_at=T0 + begin + seconds,
        error=None,
    )
    return dataclasses.replace(base, **changes)


def ledger(work: Workload) -> list[Record]:
    """Generations and audit of a workload whose ledger is whole."""
    each = work.seconds / work.generations
    expected = work.population_size * work.generations
    generations: list[Record] = [
        Generation(
            workload=work.id,
            generation=number,
            seconds=each,
            individuals=work.population_size,
            failed=0,
            finished_at=work.started_at + (number + 1) * each,
        )
        for number in range(work.generations)
    ]
    audit = Audit(
        workload=work.id,
        expected=expected,
        committed=expected,
        lost=0,
        doubled=0,
        failed=0,
        witnesses=(),
        digest=work.digest,
        recomputed_digest=work.digest,
        sampled=24,
        mismatched=0,
    )
    there = ["local"] if work.arm == "local" else [f"10.0.0.{n + 1}" for n in range(work.nodes)]
    checks = [
        NodeCheck(
            workload=work.id, node=node, processor="a processor", digest="0" * 16, refused=None
        )
        for node in there
    ]
    return [*generations, audit, *checks]


def receipt(
    fault: str, target: str, at: float, work: str | None, *, confirmed: bool = True
) -> Fault:
    return Fault(
        fault=fault,
        target=target,
        requested_at=at,
        confirmed_at=at + 0.2,
        confirmed=confirmed,
        before={"pid": 12, "alive": True},
        after={"pid": 12, "alive": False},
        detail="",
        workload=work,
    )


def recovery(work: Workload, target: str, at: float, total: float, **changes: object) -> Recovery:
    base = Recovery(
        workload=work.id,
        target=target,
        fault_at=at,
        detected_s=1.2,
        rescheduled_s=total / 3,
        first_result_s=total / 2,
        node_back_s=total,
        window_s=120.0,
    )
    return dataclasses.replace(base, **changes)


def certificates(criteria: Iterable[str]) -> list[Certificate]:
    """As if the planted defects of these criteria had been caught."""
    return [
        Certificate(
            criterion=name,
            defect="planted",
            detected=True,
            verdict="FAIL",
            expected="FAIL",
            reason="it was found",
            code=code_hash(),
            at=T0,
        )
        for name in criteria
    ]


def refusals() -> list[Record]:
    return [
        Refusal(
            input=name,
            exit_code=2,
            message=f"--market x.csv: {name}, column close; mend it",
            must_name="close",
            ledger_changed=False,
        )
        for name in sorted(BAD_INPUTS)
    ]


def restores(work: str) -> list[Record]:
    return [
        Restore(
            workload=work,
            while_running=generation < 14,
            generation=generation,
            digest_before=digest * 64,
            digest_after=digest * 64,
            individuals_before=100 * (generation + 1),
            individuals_after=100 * (generation + 1),
            damaged_refused=True,
        )
        for generation, digest in ((5, "c"), (14, "a"))
    ]


def listener(**changes: object) -> Listener:
    base = Listener(
        service="raylet",
        network=NODES[0],
        address="[::]:6380",
        reach="stack",
        access="refused",
        attempt="GetSystemConfig: UNAUTHENTICATED",
    )
    return dataclasses.replace(base, **changes)


def surveyed() -> list[Record]:
    """A stack that gives a stranger nothing."""
    sockets = [
        listener(),
        listener(address="0.0.0.0:9101", access="metrics"),
        listener(network="host", address="10.77.3.1:6380", reach="outside"),
        listener(service="redis", network="host", address="127.0.0.1:6379", reach="loopback"),
        listener(service="postgres", network="host", address="127.0.0.1:5432", reach="loopback"),
        listener(address="127.0.0.1:9", reach="loopback", access="not tried", attempt=""),
    ]
    credentials = {"dashboard": True, "postgres": True, "redis": True}
    return [
        *sockets,
        Survey(processes=40, listeners=len(sockets), unreadable=0, credentials=credentials),
        Search(files=12, secrets=3),
    ]


def load(**changes: object) -> Load:
    dice = random.Random(4)
    base = Load(
        users=50,
        seconds=21.0,
        reads=tuple(dice.uniform(0.002, 0.03) for _ in range(1200)),
        submits=(0.02,) * 20,
        streams=5,
        errors=(),
        generator_share=0.2,
        others_cores=0.2,
    )
    return dataclasses.replace(base, **changes)


def served() -> list[Record]:
    """A service under load that forgets nothing."""
    restart = ServiceRestart(
        accepted=20, open_at_kill=8, finished=20, lost=0, failed=0, killed=True, differing=0
    )
    return [load(), restart]


def scaling(workload: str, **changes: object) -> Scaling:
    base = Scaling(
        workload=workload, least=1, most=3, before=1, peak=3, up_s=11.0, down_s=6.0, window_s=120.0
    )
    return dataclasses.replace(base, **changes)


def drain(workload: Workload, **changes: object) -> Drain:
    base = Drain(
        workload=workload.id,
        target=NODES[3],
        requested_at=workload.started_at + 2,
        deadline_s=8.0,
        accepted=True,
        confirmed=True,
        detail="draining",
    )
    return dataclasses.replace(base, **changes)


def round_trips(count: int = 400, **changes: object) -> list[RoundTrips]:
    """Round trips between all pairs of nodes."""
    dice = random.Random(3)
    return [
        dataclasses.replace(
            RoundTrips(
                source=source,
                target=target,
                via="tcp",
                source_network=f"net of {source}",
                target_network=f"net of {target}",
                seconds=tuple(dice.uniform(5e-5, 9e-4) for _ in range(count)),
                lost=0,
                detail="",
            ),
            **changes,
        )
        for source in NODES
        for target in NODES
        if source != target
    ]


def price(**changes: object) -> NodePrice:
    base = NodePrice(
        instance="c5.2xlarge",
        region="us-east-1",
        vcpus=8,
        on_demand=0.34,
        spot=0.19,
        heads=1,
        factor_low=0.5,
        factor=1.0,
        factor_high=2.0,
        as_of="2025-10-01",
        source="https://example.org/prices",
    )
    return dataclasses.replace(base, **changes)


def note(
    at: float, *, firing: bool, alert: str = "NodeLost", target: str = NODES[1]
) -> Notification:
    return Notification(alert=alert, target=target, firing=firing, received_at=at)


def monitoring(kill: float) -> list[Timed]:
    """A node killed to see its alert, and the panels through a Grafana."""
    node, back, over = NODES[1], kill + 13, kill + 21
    watch = AlertWatch(alert="NodeLost", target=node, fault_at=kill, until=over)
    health = Probe(probe="grafana", ok=True, latency_s=0.01, detail="HTTP 200", excused=False)
    panels = [
        Panel(
            dashboard="Cluster",
            panel=f"panel {number}",
            query=f"up + {number}",
            via="grafana",
            points=40,
            detail="",
            of=5,
        )
        for number in range(5)
    ]
    return [
        (kill, receipt("kill", node, kill, None)),
        (back, receipt("start", node, back, None)),
        (over, watch),
        (over, health),
        *((over, panel) for panel in panels),
        # While the stack started it fired, too.
        *((over, note(T0 - 20, firing=True)), (over, note(T0 - 5, firing=False))),
        (over, note(kill + 12, firing=True)),
        (over, note(over, firing=False)),
    ]


def answered(probe: str, *, ok: bool = True) -> Probe:
    return Probe(
        probe=probe, ok=ok, latency_s=0.01, detail="4 nodes alive" if ok else "", excused=False
    )


def observer(at: float, **changes: object) -> HarnessReading:
    """A reading of a harness that takes 1 % of a core."""
    base = HarnessReading(
        at=at,
        monotonic_s=at - T0 + 9000,
        harness_cpu_s=0.01 * (at - T0) + 4,
        watch_cpu_s=0.008 * (at - T0),
        silence_s=dict.fromkeys(("head", *NODES), 5.0),
    )
    return dataclasses.replace(base, **changes)


def services(faults: Sequence[Fault], until: float) -> list[Timed]:
    """A reading every 2 s; each kill by receipt ends its node, each start makes a new one."""
    found: list[Timed] = []
    at = T0 + 1.5
    while at < until:
        incarnations: dict[str, object] = {}
        excused = []
        for name in ("head", "postgres", *NODES):
            past = [f for f in faults if f.target == name and f.requested_at <= at]
            down = bool(past) and max(past, key=lambda f: f.requested_at).fault == "kill"
            number = sum(f.fault == "start" for f in past)
            incarnations[name] = None if down else f"{name}@{number}"
            if past and (down or at < max(f.requested_at for f in past) + 30):
                excused.append(name)
        found.append((at, Services(at=at, incarnations=incarnations, excused=tuple(excused))))
        at += 2
    return found


_EVENTS: dict[tuple[int, int, float], Event] = {}
"""By identity of the record, place and time; only of records that ``_passing`` keeps alive."""


def passing(seed: int = 1) -> list[Timed]:
    """Ten minutes in which every measured criterion holds, then two days of mere watching."""
    return list(_passing(seed))


@cache
def healthy(seed: int = 1, run: str = "run-1") -> Evidence:
    """The evidence of ``passing``, made once."""
    return evidence(passing(seed), run=run)


@cache
def _passing(seed: int) -> tuple[Timed, ...]:
    dice = random.Random(seed)
    events: list[Timed] = [
        (
            T0,
            Environment(
                values={"python": "3.11.2", "ray": "2.60.0", "cpu": "Xeon", "cores": 2, "load": 0.3}
            ),
        )
    ]

    def add(work: Workload) -> None:
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
    events.append((lost.finished_at, Fallback(workload=lost.id, count=1)))
    grown = workload(
        "autoscaling", clock + 35, 20.0, purpose="autoscaling", nodes=3, workers=3, **like
    )
    add(grown)
    events.append((grown.finished_at + 10, scaling(grown.id)))
    events.extend((grown.finished_at + 60, record) for record in served())
    events.extend(services([r for _, r in events if isinstance(r, Fault)], T0 + clock + 5))
    at = T0 + 1
    while at < T0 + clock + 5:
        events.append((at, answered("cluster")))
        events.append((at, observer(at)))
        events.append(
            (
                at,
                Probe(
                    probe="dashboard",
                    ok=True,
                    latency_s=dice.uniform(0.005, 0.05),
                    detail="HTTP 200",
                    excused=False,
                ),
            )
        )
        for target in ("head", *NODES):
            away = any(n == target and a <= at <= b for n, a, b in down)
            scrape = Scrape(target=target, up=not away, age_s=dice.uniform(0, 6), excused=away)
            events.append((at, scrape))
        for node in NODES:
            memory = int(400e6 + dice.gauss(0, 5e6))
            events.append(
                (
                    at,
                    Usage(
                        node=node,
                        at=at,
                        cpu_seconds=0.3 * (at - T0),
                        memory_bytes=memory,
                        oom_kills=0,
                        limit_bytes=LIMIT,
                    ),
                )
            )
        at += 2
    while at < T0 + clock + 49 * 3600:
        events.append((at, answered("cluster")))
        events.append((at, observer(at)))
        at += 60
    events.sort(key=lambda event: event[0])
    for seq, (when, record) in enumerate(events, start=1):
        _EVENTS[id(record), seq, when] = _event(seq, when, record)
    return tuple(events)


def climbing(per_minute: float, seconds: float, *, noise: float = 2e6) -> list[Timed]:
    """Memory of four nodes over some minutes; the first of them climbs."""
    dice = random.Random(9)
    return [
        (
            T0 + t,
            Usage(
                node=node,
                at=T0 + t,
                cpu_seconds=0.1 * t,
                memory_bytes=int(
                    4e8 + dice.gauss(0, noise) + (per_minute * t / 60 if node == NODES[0] else 0)
                ),
                oom_kills=0,
                limit_bytes=LIMIT,
            ),
        )
        for t in range(0, int(seconds), 2)
        for node in NODES
    ]


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


def evidence(events: Sequence[Timed], *, run: str = "run-1", closed: bool = True) -> Evidence:
    """The record in memory, as ``read_evidence`` would give it."""
    timed: list[Timed] = [(T0, opening(run)), *events]
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


def write(path: Path, events: Sequence[Timed], *, run: str = "run-1") -> Path:
    """The record as a file."""
    now = T0
    first = opening(run)
    with EvidenceWriter(
        path,
        run=run,
        seed=first.seed,
        backend=first.backend,
        nodes=first.nodes,
        cpus_per_node=first.cpus_per_node,
        replay=first.replay,
        clock=lambda: now,
    ) as writer:
        for at, record in events:
            now = at
            writer.add(record)
    return path
