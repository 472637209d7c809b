"""Evidence of a healthy run, changed in one respect as somebody who wants a GO would change it.

The chain of the file is no obstacle: anyone can compute it again. What is changed here contradicts
other records of the run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

from tests.support.evidence_builders import change, passing, shifted
from tests.support.evidence_records import NODES, T0, Timed
from validation.evidence.base import Record
from validation.evidence.records import (
    CpuWindow,
    Environment,
    Fault,
    Invocation,
    Recovery,
    Services,
    Usage,
    Workload,
)
from validation.evidence.records_ledger import (
    Audit,
    Generation,
    LedgerCopy,
    Refusal,
    Restore,
)
from validation.evidence.records_load import Load, Scaling, ServiceRestart
from validation.evidence.records_monitoring import AlertWatch, Notification, Panel, Probe, Scrape
from validation.evidence.records_network import Drain, Listener, RoundTrips, Search, Survey
from validation.evidence.records_price import NodePrice
from validation.evidence.records_self_check import HarnessReading

Forgery = Callable[[list[Timed]], list[Timed]]


def edit(
    kind: type[Record], when: Callable[[Any], bool] = lambda _: True, **values: Any
) -> Forgery:
    """Set fields of all records of a kind that ``when`` selects; a function maps the old value."""

    def changed(record: Record) -> Record:
        if not when(record):
            return record
        new = {
            name: value(getattr(record, name)) if callable(value) else value
            for name, value in values.items()
        }
        return dataclasses.replace(record, **new)

    return lambda events: change(events, kind, changed)


def derive(kind: type[Record], fields: Callable[[Any], dict[str, Any]]) -> Forgery:
    """Set fields of all records of a kind to what a function makes of the record."""
    return lambda events: change(events, kind, lambda r: dataclasses.replace(r, **fields(r)))


def drop(kind: type[Record], when: Callable[[Any], bool] = lambda _: True) -> Forgery:
    """Leave out all records of a kind that ``when`` selects."""
    return lambda events: change(events, kind, lambda r: None if when(r) else r)


def every_other(kind: type[Record], when: Callable[[Any], bool] = lambda _: True) -> Forgery:
    """Leave out each second record of a kind that ``when`` selects."""

    def thinned(events: list[Timed]) -> list[Timed]:
        number = 0
        kept = []
        for event in events:
            if isinstance(event[1], kind) and when(event[1]):
                number += 1
                if number % 2 == 0:
                    continue
            kept.append(event)
        return kept

    return thinned


def repeat(kind: type[Record]) -> Forgery:
    """Write each record of a kind twice."""
    return lambda events: [
        event for event in events for _ in range(2 if isinstance(event[1], kind) else 1)
    ]


def scaled(factor: float) -> Callable[[float], float]:
    """A number times a factor, of the same type."""
    return lambda value: type(value)(value * factor)


def both(*forgeries: Forgery) -> Forgery:
    """One after the other."""

    def done(events: list[Timed]) -> list[Timed]:
        for forgery in forgeries:
            events = forgery(events)
        return events

    return done


def _speedup(arm: str) -> Callable[[Workload], bool]:
    return lambda work: work.purpose == "speedup" and work.arm == arm


def _without_services(*names: str) -> Forgery:
    return edit(
        Services,
        incarnations=lambda old: {name: what for name, what in old.items() if name not in names},
    )


def _short_survey(events: list[Timed]) -> list[Timed]:
    kept = {"redis", "postgres"}
    found = drop(Listener, lambda r: r.service not in kept)(events)
    return edit(Survey, listeners=2)(found)


def _one_panel(events: list[Timed]) -> list[Timed]:
    first = next(r for _, r in events if isinstance(r, Panel))
    found = drop(Panel, lambda r: r is not first)(events)
    return edit(Panel, of=1)(found)


def _moved_clock(events: list[Timed]) -> list[Timed]:
    """The second half of the work is dated 400 s earlier."""
    half = [event for event in events if event[0] < T0 + 300]
    rest = [event for event in events if event[0] >= T0 + 300]
    return [*half, *shifted(rest, -400.0)]


FORGERIES: Final[dict[str, Forgery]] = {
    # Records left out.
    "every other scrape": every_other(Scrape),
    "every other scrape of one node": every_other(Scrape, lambda r: r.target == NODES[0]),
    "every other reading of memory of one node": every_other(Usage, lambda r: r.node == NODES[0]),
    "every other reading of services": every_other(Services),
    "no announcement of any workload": drop(Invocation),
    "no announcement of the speed-up's workloads": drop(
        Invocation, lambda r: r.workload.startswith("speedup")
    ),
    "no description of the machine": drop(Environment),
    "only two sockets": _short_survey,
    "no socket of one node": both(
        drop(Listener, lambda r: r.network == NODES[2]),
        edit(Survey, listeners=lambda n: n - 2),
    ),
    "one panel": _one_panel,
    "no panel of one dashboard": drop(Panel, lambda r: r.dashboard == "Cluster"),
    "no receipt of the drain": drop(Fault, lambda r: r.fault == "drain"),
    "one node never read": drop(Usage, lambda r: r.node == NODES[1]),
    "round trips of one pair": drop(RoundTrips, lambda r: r.source != NODES[0]),
    **{
        f"services without {name}": _without_services(name)
        for name in ("postgres", "redis", "prometheus", "alertmanager", "head", *NODES)
    },
    "services without all but the nodes": _without_services(
        "postgres", "redis", "prometheus", "alertmanager"
    ),
    # Times.
    "the clock set back in the middle": _moved_clock,
    "engine's seconds of the cluster a tenth": edit(
        Workload, _speedup("distributed"), seconds=scaled(0.1)
    ),
    "engine's seconds of the cluster a microsecond": edit(
        Workload, _speedup("distributed"), seconds=1e-6
    ),
    "engine's seconds of one node times ten": edit(
        Workload, _speedup("local"), seconds=scaled(10.0)
    ),
    "generations took no time": edit(Generation, seconds=0.0),
    "generations took a thousandth": edit(Generation, seconds=scaled(1e-3)),
    "generations finished before their run": edit(
        Generation, finished_at=lambda at: at - 100_000.0
    ),
    "workloads began before the run": edit(Workload, started_at=lambda at: at - 100_000.0),
    "workloads ended long after they were written": edit(
        Workload, finished_at=lambda at: at + 100_000.0
    ),
    "recoveries of a hundredth of a second": edit(
        Recovery,
        detected_s=0.01,
        rescheduled_s=0.01,
        first_result_s=0.01,
        node_back_s=0.01,
    ),
    "recoveries back in half a second": edit(Recovery, node_back_s=0.5),
    "recoveries of nodes that were not killed": edit(Recovery, target="node-9"),
    "recoveries of another moment": edit(Recovery, fault_at=lambda at: at + 60.0),
    "recoveries seen after the window": edit(Recovery, window_s=3.0),
    "a notice of 1000 s": edit(Drain, deadline_s=1000.0),
    "a drain after the kill": edit(Drain, requested_at=lambda at: at + 500.0),
    "faults confirmed before they were requested": edit(Fault, confirmed_at=lambda at: at - 500.0),
    "probes of the dashboard took 1000 s": edit(
        Probe, lambda r: r.probe == "dashboard", latency_s=1000.0
    ),
    "probes of the cluster took 100 s": edit(
        Probe, lambda r: r.probe == "cluster", latency_s=100.0
    ),
    "readings of memory of another day": edit(Usage, at=lambda at: at - 86_400.0),
    "readings of services of another day": edit(Services, at=lambda at: at - 86_400.0),
    "readings of the gate of another day": edit(HarnessReading, at=lambda at: at - 86_400.0),
    "alerts received before the run": edit(Notification, received_at=lambda at: at - 100_000.0),
    "alerts watched into the future": edit(AlertWatch, until=lambda at: at + 100_000.0),
    # Counts.
    "more evaluations than individuals": edit(Workload, evaluations=scaled(10.0)),
    "no evaluation": edit(Workload, evaluations=0),
    "one evaluation repeated": edit(Audit, sampled=1),
    "no evaluation repeated": edit(Audit, sampled=0),
    "no winner repeated": edit(Audit, winners=0),
    "few evaluations on the independent path": edit(Audit, independent=3, without_path=()),
    "the same sample in every audit": edit(Audit, sample_seed="7"),
    "more from the cache than there is": edit(Audit, from_cache=10**6),
    "more committed than the generations hold": edit(Generation, individuals=lambda n: n - 1),
    "generations of one individual": edit(Generation, individuals=1),
    "generations larger than the population": edit(Generation, individuals=scaled(2.0)),
    "audits of workloads that are not there": edit(Audit, workload="nothing"),
    "a population twice as large": edit(Workload, population_size=scaled(2.0)),
    "twice as many generations": edit(Workload, generations=scaled(2.0)),
    "more runs finished than accepted": edit(ServiceRestart, finished=1000),
    "more runs open than accepted": edit(ServiceRestart, open_at_kill=1000),
    "backups of generations that never were": edit(Restore, generation=lambda n: n + 100),
    "copies of which few rows were compared": edit(
        LedgerCopy, rows=lambda rows: {**rows, "individuals": 7}
    ),
    "copies without most tables": edit(
        LedgerCopy, lambda r: r.moment == "every table", rows={"runs": 1}
    ),
    "copies of unknown moments": edit(LedgerCopy, moment="now"),
    "backups with another digest": edit(Restore, digest_before="e" * 64, digest_after="e" * 64),
    "backups larger than their run": edit(
        Restore, individuals_before=10**6, individuals_after=10**6
    ),
    # Effects.
    "receipts whose facts did not change": derive(Fault, lambda r: {"after": dict(r.before)}),
    "receipts without facts": edit(Fault, before={}, after={}),
    "kills that left processes": edit(
        Fault, lambda r: r.fault == "kill", after={"pid": 12, "running": False, "processes": 3}
    ),
    "kills whose process still runs": edit(
        Fault, lambda r: r.fault == "kill", after={"pid": 13, "running": True, "processes": 0}
    ),
    "nodes that came back as the same process": derive(
        Fault, lambda r: {"after": {**r.before, "running": True}} if r.fault == "start" else {}
    ),
    "kills that the monitor did not see": edit(
        Services,
        incarnations=lambda old: {name: f"{name}@0" for name in old},
    ),
    # Quantities that no machine has.
    "CPU of twice the quota": derive(CpuWindow, lambda r: {"used_s": 2 * r.allotted_s}),
    "CPU quota of a day": edit(CpuWindow, allotted_s=86_400.0, used_s=80_000.0),
    "more in evaluations than used": edit(CpuWindow, useful_s=scaled(3.0)),
    "CPU of one node only": drop(CpuWindow, lambda r: r.node != NODES[0]),
    "memory limit of 10^15 bytes": edit(Usage, limit_bytes=10**15),
    "memory limit of more than the machine": edit(Usage, limit_bytes=64 * 1024**3),
    "memory of no bytes": edit(Usage, memory_bytes=0),
    "memory of one byte": edit(Usage, memory_bytes=1),
    "memory beyond the limit": edit(Usage, memory_bytes=3 * 1024**3),
    "no CPU time at all": edit(Usage, cpu_seconds=0.0),
    "round trips of no time": edit(RoundTrips, seconds=lambda s: (0.0,) * len(s)),
    "round trips of a nanosecond": edit(RoundTrips, seconds=lambda s: (1e-9,) * len(s)),
    "round trips all equal": edit(RoundTrips, seconds=lambda s: (1e-4,) * len(s)),
    "networks named by hand": edit(
        RoundTrips,
        source_network=lambda n: f"net {n}",
        target_network=lambda n: f"net {n}",
    ),
    "all nodes in one network": edit(RoundTrips, source_network="1", target_network="1"),
    "nodes in changing networks": edit(RoundTrips, source_network=lambda n: n + "7"),
    "a price of a cent": edit(NodePrice, on_demand=0.01, spot=0.005),
    "a spot price of nothing": edit(NodePrice, spot=0.0),
    "a spot price above the price on demand": edit(NodePrice, spot=5.0),
    "a machine of 10000 vCPUs": edit(NodePrice, vcpus=10_000),
    "factors in the wrong order": edit(NodePrice, factor_low=1.0, factor=0.5, factor_high=0.1),
    "scaling in no time": edit(Scaling, up_s=0.0, down_s=0.0),
    "scaling without the nodes": edit(Scaling, peak=0),
    "requests of no time": edit(Load, reads=lambda s: (0.0,) * len(s)),
    "requests longer than the load": edit(Load, reads=lambda s: (*s, 100_000.0)),
    "a load longer than the run": edit(Load, seconds=1e6),
    "fewer secrets than services": edit(Search, secrets=1),
    "a stack without processes": edit(Survey, processes=1),
    "workloads on one node": edit(Workload, lambda r: r.arm == "distributed", nodes=1),
    "refusals that changed the ledger": edit(Refusal, ledger_changed=True),
}
"""Name to change. Each leaves one thing that cannot be."""


def forged(name: str) -> list[Timed]:
    """The healthy run with one forgery."""
    return FORGERIES[name](passing())
