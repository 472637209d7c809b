"""Single synthetic records, as a healthy run writes them; keywords change fields."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

from validation.evidence.base import Record
from validation.evidence.records import (
    SCHEMA_VERSION,
    Fault,
    Open,
    Recovery,
    Workload,
)
from validation.evidence.records_ledger import (
    Audit,
    Fallback,
    Generation,
    LedgerCopy,
    NodeCheck,
    Refusal,
    Restore,
)
from validation.evidence.records_monitoring import (
    AlertWatch,
    Notification,
    Panel,
    Probe,
)
from validation.evidence.records_network import (
    Listener,
    RoundTrips,
    Search,
    Survey,
    Via,
)
from validation.limits import BAD_INPUTS
from validation.monitors.dashboards import checked_in
from validation.monitors.panel_expectations import EXPECTATIONS
from validation.simulation.resources import coordinator, places

T0 = 1_760_000_000.0
NODES = ("node-1", "node-2", "node-3", "node-4")
LIMIT = 2 * 1024**3
Timed = tuple[float, Record]


def opening(run: str = "run-1", nodes: int = len(NODES), backend: str = "processes") -> Open:
    """The first record of a run."""
    return Open(
        run=run,
        seed=7,
        schema=SCHEMA_VERSION,
        backend=backend,
        nodes=nodes,
        cpus_per_node=0.4,
        replay="pytest -m validation --replay 7",
        started_at=T0,
    )


def workload(id_: str, begin: float, seconds: float, **changes: Any) -> Workload:
    """A finished evolution on the cluster."""
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
        evaluations=0,
        digest="d" * 64,
        started_at=T0 + begin,
        finished_at=T0 + begin + seconds,
        error=None,
    )
    work = dataclasses.replace(base, **changes)
    if "evaluations" in changes:
        return work
    return dataclasses.replace(work, evaluations=work.population_size * work.generations)


def audited(work: str, digest: str | None, from_cache: int = 0) -> dict[str, Any]:
    """What an audit of all columns and on the independent path adds, if nothing is wrong."""
    return {
        "content": None if digest is None else digest[::-1],
        "sample_seed": str(int.from_bytes(work.encode(), "big")),
        "winners": 20,
        "independent": 50,
        "independent_differing": 0,
        "undecided": 0,
        "without_path": ("pca_tree_quantile",),
        "final_strategies": 3,
        "irregular": 0,
        "from_cache": from_cache,
    }


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
        sampled=60,
        mismatched=0,
        **audited(work.id, work.digest, from_cache=0 if work.evaluations else expected),
    )
    there = ["local"] if work.arm == "local" else [f"10.0.0.{n + 1}" for n in range(work.nodes)]
    checks = [
        NodeCheck(
            workload=work.id, node=node, processor="a processor", digest="0" * 16, refused=None
        )
        for node in there
    ]
    local = work.arm == "local"
    elsewhere = [] if local else [Fallback(workload=work.id, count=0, generations=(), at=())]
    if work.purpose == "rollback":
        after = tuple(range(1, work.generations))
        at = (work.started_at + 3,)
        elsewhere = [Fallback(workload=work.id, count=1, generations=after, at=at)]
    held = [] if local else [coordinator(work)]
    return [*generations, *places(work), audit, *checks, *elsewhere, *held]


def receipt(
    fault: str, target: str, at: float, work: str | None, *, confirmed: bool = True
) -> Fault:
    """The receipt of a fault."""
    return Fault(
        fault=fault,
        target=target,
        requested_at=at,
        confirmed_at=at + 0.2,
        confirmed=confirmed,
        before={} if fault == "drain" else _facts(at - 60, running=fault != "start"),
        after=(
            {"said": "draining"}
            if fault == "drain"
            else _facts(at if fault == "start" else at - 60, running=fault == "start")
        ),
        detail="",
        workload=work,
    )


def _facts(since: float, *, running: bool) -> dict[str, object]:
    """What is observed of a node that was started at a time."""
    return {"pid": int(since - T0) + 1000, "running": running, "processes": 5 if running else 0}


def recovery(work: Workload, target: str, at: float, total: float, **changes: Any) -> Recovery:
    """A recovery after a fault."""
    base = Recovery(
        workload=work.id,
        target=target,
        fault_at=at,
        detected_s=1.1 + total / 100,
        rescheduled_s=total / 3,
        first_result_s=total / 2,
        node_back_s=total,
        window_s=120.0,
    )
    return dataclasses.replace(base, **changes)


def refusals() -> list[Record]:
    """One refusal for each input that must be refused."""
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


TABLES = {
    **{"alembic_version": 1, "attempts": 2, "evaluations": 30, "generations": 3},
    **{"individuals": 40, "nodes": 2, "requests": 2, "runs": 1, "strategies": 3},
}


def restores(work: str) -> list[Record]:
    """Backups of a workload's ledger and of one with rows in every table, restored as they were."""
    made: list[Record] = [
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
    made += [
        LedgerCopy(
            moment=moment,
            source=source,
            copy=copy,
            rows={**TABLES, "individuals": individuals},
            differing=(),
        )
        for moment, source, copy, individuals in (
            ("running", "postgresql", "sqlite", 600),
            ("at rest", "postgresql", "sqlite", 3000),
            ("every table", "sqlite", "postgresql", 40),
            ("every table", "postgresql", "sqlite", 40),
        )
    ]
    return made


def listener(**changes: Any) -> Listener:
    """A listening socket."""
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
    """A stack that gives an unauthenticated client nothing."""
    sockets = [
        listener(),
        listener(address="0.0.0.0:9101", access="metrics"),
        listener(network="host", address="10.77.3.1:6380", reach="outside"),
        listener(service="redis", network="host", address="127.0.0.1:6379", reach="loopback"),
        listener(service="postgres", network="host", address="127.0.0.1:5432", reach="loopback"),
        listener(address="127.0.0.1:9", reach="loopback", access="not tried", attempt=""),
        *(listener(network=node) for node in NODES[1:]),
        *(listener(network=node, address="[::]:6381") for node in NODES[1:]),
    ]
    credentials = {"dashboard": True, "postgres": True, "redis": True}
    idle = Survey(processes=40, listeners=len(sockets), unreadable=0, credentials=credentials)
    return [
        *sockets,
        idle,
        *(dataclasses.replace(one, at_work=True) for one in sockets),
        dataclasses.replace(idle, at_work=True, evaluating=4),
        Search(files=12, secrets=3),
    ]


def round_trips(count: int = 400, **changes: Any) -> list[RoundTrips]:
    """Round trips between all pairs of nodes, over TCP and between actors."""
    dice = random.Random(3)
    kinds: tuple[tuple[Via, tuple[float, float], int], ...] = (
        ("tcp", (5e-5, 9e-4), count),
        ("ray", (1e-3, 3e-3), 100),
    )
    return [
        dataclasses.replace(
            RoundTrips(
                source=source,
                target=target,
                via=via,
                source_network=network_of(source) if via == "tcp" else "",
                target_network=network_of(target) if via == "tcp" else "",
                seconds=tuple(dice.uniform(*range_s) for _ in range(of)),
                lost=0,
                detail="",
            ),
            **changes,
        )
        for via, range_s, of in kinds
        for source in NODES
        for target in NODES
        if source != target
    ]


def network_of(node: str) -> str:
    """Identity of a node's network namespace."""
    return str(4026532000 + NODES.index(node))


def note(
    at: float, *, firing: bool, alert: str = "NodeLost", target: str = NODES[1]
) -> Notification:
    """A notification of an alert."""
    return Notification(alert=alert, target=target, firing=firing, received_at=at)


def monitoring(kill: float) -> list[Timed]:
    """A node killed to see its alert, and the panels through a Grafana."""
    node, back, over = NODES[1], kill + 13, kill + 21
    watch = AlertWatch(alert="NodeLost", target=node, fault_at=kill, until=over)
    health = Probe(probe="grafana", ok=True, latency_s=0.01, detail="HTTP 200", excused=False)
    shipped = checked_in()
    shown: dict[str, Any] = {"via": "grafana", "points": 40, "detail": "", "of": len(shipped)}
    shown |= {"mean": 3.0, "last": 3.0, "expected_mean": 3.0}
    panels = [
        Panel(
            dashboard=query.dashboard,
            panel=query.panel,
            query=query.query,
            unit=query.unit,
            expected_unit=wanted.unit,
            tolerance=wanted.tolerance,
            own=None if wanted.own is None else 3.0,
            **shown,
        )
        for query in shipped
        for wanted in [EXPECTATIONS[query.dashboard, query.panel][query.number]]
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
