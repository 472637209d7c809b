"""Defects of a system, planted in simulated campaigns with a size and a moment drawn by chance."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any, Final

from validation.error_rates.planting import WORK_S, Plant, every, lasting, some
from validation.evidence.records import CpuWindow, Fault, Recovery, Services, Usage, Workload
from validation.evidence.records_ledger import (
    Audit,
    Fallback,
    Generation,
    NodeCheck,
    Refusal,
    Restore,
)
from validation.evidence.records_load import Load, Scaling, ServiceRestart
from validation.evidence.records_monitoring import Job, Notification, Panel, Probe, Scrape
from validation.evidence.records_network import Drain, Leak, Listener, RoundTrips
from validation.evidence.records_price import NodePrice
from validation.simulation.records import T0, Timed


def _late_recovery(events: list[Timed], dice: random.Random) -> list[Timed]:
    """A node that needs too long to come back, or never does."""
    places = [n for n, (_, r) in enumerate(events) if isinstance(r, Recovery)]
    changed = list(events)
    for place in dice.sample(places, dice.randint(1, 3)):
        _, record = events[place]
        assert isinstance(record, Recovery)
        late = None if dice.random() < 0.3 else dice.uniform(121, 600)
        seconds = record.window_s if late is None else late
        slow = dataclasses.replace(record, node_back_s=late, window_s=max(record.window_s, seconds))
        changed[place] = (record.fault_at + seconds, slow)
    return sorted(changed, key=lambda event: event[0])


def _slow_cluster(events: list[Timed], dice: random.Random) -> list[Timed]:
    """One node is hardly slower than the whole cluster."""
    gain = dice.uniform(0.6, 1.85)
    walls = {
        r.pair: r.finished_at - r.started_at
        for _, r in events
        if isinstance(r, Workload) and r.purpose == "speedup" and r.arm == "distributed"
    }
    local = {
        r.id: (r.started_at, gain * walls[r.pair] / (r.finished_at - r.started_at))
        for _, r in events
        if isinstance(r, Workload) and r.purpose == "speedup" and r.arm == "local"
    }
    changed: list[Timed] = []
    for at, record in events:
        if isinstance(record, Workload) and record.id in local:
            begin, share = local[record.id]
            end = begin + share * (record.finished_at - begin)
            record = dataclasses.replace(record, finished_at=end, seconds=record.seconds * share)
        elif isinstance(record, Generation) and record.workload in local:
            begin, share = local[record.workload]
            end = begin + share * (record.finished_at - begin)
            record = dataclasses.replace(record, finished_at=end, seconds=record.seconds * share)
        changed.append((at, record))
    return changed


def _failed_cycles(events: list[Timed], dice: random.Random) -> list[Timed]:
    """Runs on the cluster that end early with an error."""
    names = [
        r.id
        for _, r in events
        if isinstance(r, Workload) and r.arm == "distributed" and r.purpose == "recovery"
    ]
    broken = {name: dice.randint(0, 12) for name in dice.sample(names, dice.randint(2, len(names)))}
    changed: list[Timed] = []
    for at, record in events:
        if isinstance(record, Workload) and record.id in broken:
            record = dataclasses.replace(record, exit_code=1, digest=None, error="it failed")
        if (
            isinstance(record, Generation)
            and record.workload in broken
            and record.generation > broken[record.workload]
        ):
            continue
        changed.append((at, record))
    return changed


def _restart(events: list[Timed], dice: random.Random) -> list[Timed]:
    """A service that was started again, or is down for a while, without a fault of the gate."""
    name = dice.choice(["head", "postgres", "redis", "prometheus", "alertmanager", "node-4"])
    begin = T0 + dice.uniform(60, WORK_S)
    end = begin + dice.choice([1e9, dice.uniform(5, 100)])
    value = dice.choice(["another", None])

    def edited(record: Services) -> Services:
        if not begin <= record.at <= end or name in record.excused:
            return record
        return dataclasses.replace(record, incarnations={**record.incarnations, name: value})

    return [(at, edited(r)) if isinstance(r, Services) else (at, r) for at, r in events]


def _leak(events: list[Timed], dice: random.Random) -> list[Timed]:
    """Memory of a node that grows all the time, by 8 to 100 MB a minute."""
    rate, node = dice.uniform(8e6, 1e8) / 60, dice.choice(["node-1", "node-2", "node-3", "node-4"])
    return [
        (
            at,
            dataclasses.replace(
                r,
                memory_bytes=min(
                    int(r.memory_bytes + rate * (at - T0)), int(0.99 * (r.limit_bytes or 1e12))
                ),
            ),
        )
        if isinstance(r, Usage) and r.node == node
        else (at, r)
        for at, r in events
    ]


def _alert(events: list[Timed], dice: random.Random) -> list[Timed]:
    """An alert that comes too late, or never, or does not clear."""
    firing, late = dice.choice([True, False]), dice.choice([None, dice.uniform(65, 600)])
    changed: list[Timed] = []
    for at, record in events:
        if isinstance(record, Notification) and record.received_at > T0:
            if late is None and record.firing == firing:
                continue
            if late is not None:
                record = dataclasses.replace(record, received_at=record.received_at + late)
                at += late
        changed.append((at, record))
    return sorted(changed, key=lambda event: event[0])


def _open_socket(events: list[Timed], dice: random.Random) -> list[Timed]:
    """A socket that serves an unauthenticated client, or a secret in a file."""
    if dice.random() < 0.3:
        at = next(at for at, r in events if isinstance(r, Listener))
        found = [*events, (at, Leak(secret="ray", file=dice.choice(["run.log", "report.html"])))]
        return sorted(found, key=lambda event: event[0])
    return some(Listener, lambda _, __: {"access": "open"}, when=lambda r: r.reach != "loopback")(
        events, dice
    )


def _another_digest(purpose: str) -> Plant:
    return some(
        Workload,
        lambda _, dice: {"digest": f"{dice.getrandbits(256):064x}"},
        when=lambda r: r.purpose == purpose,
    )


def _silent_drain(events: list[Timed], _: random.Random) -> list[Timed]:
    """The cluster does not say that it drains a node."""
    return [
        (at, dataclasses.replace(record, confirmed=False))
        if isinstance(record, Drain) or (isinstance(record, Fault) and record.fault == "drain")
        else (at, record)
        for at, record in events
    ]


def _trips(record: RoundTrips, dice: random.Random) -> dict[str, Any]:
    share, slow = dice.uniform(0.04, 1.0), dice.uniform(0.012, 0.2)
    return {"seconds": tuple(slow if dice.random() < share else one for one in record.seconds)}


def _slow_service(record: Load, dice: random.Random) -> dict[str, Any]:
    share, slow = dice.uniform(0.08, 1.0), dice.uniform(0.06, 2.0)
    return {"reads": tuple(slow if dice.random() < share else one for one in record.reads)}


def _lost(record: Audit, dice: random.Random) -> dict[str, Any]:
    count = dice.randint(1, 20)
    return {
        "lost": record.lost + count,
        "committed": record.committed - count,
        "witnesses": ("lost: generation 1 index 2",),
    }


def _wrong(name: str) -> Callable[[Audit, random.Random], dict[str, Any]]:
    return lambda record, dice: {
        name: getattr(record, name) + dice.randint(1, 20),
        "witnesses": (f"{name}: generation 1 index 2",),
    }


_FAILED: Final = {"exit_code": 1, "error": "it failed", "digest": None, "evaluations": 0}
"""Fields of an evolution that failed."""


def _is(purpose: str) -> Callable[[Any], bool]:
    return lambda record: record.workload.startswith(purpose)


DEFECTS: Final[dict[str, dict[str, Plant]]] = {
    "uptime": {
        "an outage of 2 to 20 hours": lasting(
            Job,
            (7_200, 72_000),
            lambda r, _: {"right": r.right[1:], "missing": (*r.missing, *r.right[:1])},
            when=lambda r: bool(r.right),
            within=60_000,
        )
    },
    "worker_recovery": {"a node comes back after 2 minutes, or never": _late_recovery},
    "dashboard": {
        "no answer for 10 to 200 s": lasting(
            Probe,
            (10, 200),
            lambda _, __: {"ok": False, "detail": "refused"},
            when=lambda r: r.probe == "dashboard",
        )
    },
    "cycle_completion": {"2 to 5 runs fail": _failed_cycles},
    "generation_time": {
        "generations of 310 to 2000 s": every(
            Generation, lambda dice: dice.uniform(310, 2000), lambda _, size: {"seconds": size}
        )
    },
    "speedup": {"0.6 to 1.85 times as fast": _slow_cluster},
    "prometheus_collection": {
        "a target down for 60 to 200 s": lasting(
            Scrape,
            (60, 200),
            lambda _, __: {"up": False},
            when=lambda r: not r.excused and r.target == "node-1",
        ),
        "40 to 400 samples 16 to 100 s old": some(
            Scrape,
            lambda _, dice: {"age_s": dice.uniform(16, 100)},
            when=lambda r: not r.excused,
            least=40,
            most=400,
        ),
    },
    "grafana_functional": {
        "1 to 9 panels without data": some(
            Panel, lambda _, __: {"points": 0, "detail": "no data"}, most=9
        )
    },
    "container_stability": {"a service restarts, or is away": _restart},
    "cpu_efficiency": {
        "nodes use 20 to 70 % of what they used": every(
            CpuWindow,
            lambda dice: dice.uniform(0.2, 0.7),
            lambda r, size: {"used_s": r.used_s * size, "useful_s": r.useful_s * size},
        )
    },
    "memory_stability": {
        "1 to 3 kills by the kernel": lasting(
            Usage, (1e6, 1e6), lambda _, __: {"oom_kills": 2}, when=lambda r: r.node == "node-1"
        ),
        "a leak of 8 to 100 MB a minute": _leak,
    },
    "network_latency": {
        "1 to 5 slow links": some(RoundTrips, _trips, when=lambda r: r.via == "tcp", most=5)
    },
    "cost_per_day": {
        "machines of 4 to 20 times the price": every(
            NodePrice,
            lambda dice: dice.uniform(4, 20),
            lambda r, size: {
                "on_demand": r.on_demand * size,
                "spot": r.spot * size,
                "spot_low": r.spot_low * size,
                "spot_cap": r.spot_cap * size,
            },
        )
    },
    "no_data_loss": {
        "1 to 20 individuals lost": some(Audit, _lost, most=5),
        "1 to 20 individuals twice": some(Audit, _wrong("doubled"), most=5),
        "1 to 20 other results": some(Audit, _wrong("mismatched"), most=5),
    },
    "reproducibility": {
        "another history on the cluster": _another_digest("recovery"),
        "another history on this machine": _another_digest("reproducibility"),
        "a node with other bits": some(NodeCheck, lambda _, __: {"digest": "f" * 16}),
    },
    "rollback": {
        "the run fails": some(
            Workload, lambda _, __: _FAILED, when=lambda r: r.purpose == "rollback"
        ),
        "individuals lost": some(Audit, _lost, when=_is("rollback")),
        "no failover": some(
            Fallback, lambda _, __: {"count": 0, "generations": (), "at": ()}, when=_is("rollback")
        ),
    },
    "backup_restore": {
        "another history": some(Restore, lambda _, __: {"digest_after": "f" * 64}),
        "1 to 20 individuals less": some(
            Restore, lambda r, d: {"individuals_after": r.individuals_after - d.randint(1, 20)}
        ),
        "a damaged copy accepted": some(Restore, lambda _, __: {"damaged_refused": False}),
    },
    "bad_input": {
        "an input accepted": some(Refusal, lambda _, __: {"exit_code": 0, "message": ""}, most=16),
        "the ledger changed": some(Refusal, lambda _, __: {"ledger_changed": True}, most=16),
        "a message without a name": some(Refusal, lambda _, __: {"message": "bad"}, most=16),
    },
    "alerting": {"an alert late, missing, or not cleared": _alert},
    "exposure": {"a socket without authentication, or a secret": _open_socket},
    "autoscaling": {
        "130 s or more": some(
            Scaling,
            lambda _, dice: {
                dice.choice(["up_s", "down_s"]): dice.choice([None, dice.uniform(121, 500)]),
                "window_s": 600.0,
            },
        ),
        "another history": _another_digest("autoscaling"),
    },
    "preemption": {
        "individuals lost": some(Audit, _lost, when=_is("preemption")),
        "another history": _another_digest("preemption"),
        "a drain that is not confirmed": _silent_drain,
    },
    "population_load": {
        "a population fails": some(
            Workload, lambda _, __: _FAILED, when=lambda r: r.purpose == "population"
        ),
        "individuals lost": some(Audit, _lost, when=_is("population")),
    },
    "service_load": {
        "8 to 100 % of reads take 60 ms to 2 s": some(Load, _slow_service),
        "unexpected answers": some(Load, lambda _, __: {"errors": ("HTTP 500: 3 times",)}),
        "runs lost": some(
            ServiceRestart,
            lambda r, d: {"lost": (n := d.randint(1, 10)), "finished": r.finished - n},
        ),
        "another history": some(ServiceRestart, lambda _, d: {"differing": d.randint(1, 5)}),
    },
}
"""Criterion to its defects, each by name."""
