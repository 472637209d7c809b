"""What only tests need: the kinds that criteria need, a leak, and evidence as a file."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from validation.campaigns import log as campaigns
from validation.evidence.base import Record
from validation.evidence.identity import identity
from validation.evidence.log import EvidenceWriter, read_evidence
from validation.evidence.records import (
    CpuWindow,
    Fault,
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
    LedgerCopy,
    NodeCheck,
    Refusal,
    Restore,
)
from validation.evidence.records_load import Load, Scaling, ServiceRestart
from validation.evidence.records_monitoring import (
    AlertWatch,
    Job,
    Notification,
    Panel,
    Probe,
    Scrape,
    StartUp,
)
from validation.evidence.records_network import (
    Drain,
    Listener,
    RoundTrips,
    Search,
    Survey,
)
from validation.evidence.records_price import NodePrice
from validation.simulation.records import LIMIT, NODES, T0, Timed, opening

NEEDED: dict[str, tuple[type[Record], ...]] = {
    "uptime": (Job, StartUp),
    "worker_recovery": (Recovery, Fault),
    "dashboard": (Probe,),
    "cycle_completion": (Workload, Generation, Fallback),
    "generation_time": (Workload, Generation, Fallback),
    "speedup": (Workload, Generation),
    "prometheus_collection": (Scrape, Usage),
    "cpu_efficiency": (Workload, CpuWindow),
    "memory_stability": (Usage, Coordinator),
    "container_stability": (Services, Fault),
    "no_data_loss": (Workload, Audit, Fault),
    "reproducibility": (Workload, Fault, NodeCheck),
    "rollback": (Workload, Fault, Fallback, Audit),
    "backup_restore": (Workload, Restore, LedgerCopy),
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


def write(
    path: Path,
    events: Sequence[Timed],
    *,
    run: str = "run-1",
    backend: str = "processes",
    began: float = T0,
) -> Path:
    """The record as a file, opened at ``began``."""
    now = began
    first = opening(run, backend=backend)
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


def list_run(file: Path) -> Path:
    """List the run of an evidence file in a campaign log, as finished; returns the log."""
    record, log = read_evidence(file), file.parent / "campaigns.jsonl"
    campaigns.begin(
        log, record.run, evidence=file, command=record.opening.replay, system=identity(record)
    )
    campaigns.end(log, record.run, "finished", sha256=record.sha256)
    return log
