"""Rules on the engine's own process: failovers, memory; and on the prices of machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from validation.consistency.rule import TOLERANCE_S, Rule, events, kinds, quote
from validation.evidence.log import Evidence
from validation.evidence.records import Workload
from validation.evidence.records_ledger import Coordinator, Fallback
from validation.evidence.records_price import NodePrice

_LEAST_BYTES: Final = 10_000_000
_CORE_HOUR: Final = (0.002, 0.5)
"""Dollars for an hour of one vCPU: the cheapest and most expensive general machines of all large
clouds lie between."""
_DISK_MONTH: Final = (0.005, 1.0)
"""Dollars for a gigabyte of disk and month, likewise."""
_LEAST_DISK_GB: Final = 8.0


def _fallbacks(record: Evidence) -> Iterator[str]:
    works = {work.id: work for _, work in events(record, Workload)}
    seen: set[str] = set()
    for event, fallback in events(record, Fallback):
        shown = quote(event, "workload", "count")
        work = works.get(fallback.workload)
        if work is None:
            yield f"{quote(event, 'workload')}: there is no such workload"
            continue
        if fallback.workload in seen:
            yield f"{shown}: there are two of this workload"
        seen.add(fallback.workload)
        if fallback.at is not None and len(fallback.at) != fallback.count:
            yield f"{shown}: it has {len(fallback.at)} times"
        if any(not work.started_at <= at <= work.finished_at for at in fallback.at or ()):
            yield f"{shown}: a failover outside its workload"
        local = fallback.generations or ()
        if len(set(local)) != len(local) or any(g >= work.generations for g in local):
            yield f"{shown}: it has {work.generations} generations"
        if work.arm == "local":
            yield f"{shown}: a local workload has no failovers"
        excused = work.purpose == "rollback" or work.exit_code != 0
        if fallback.count and not excused:
            yield f"{shown}: its workload says that it used the cluster to its end"


def _coordinators(record: Evidence) -> Iterator[str]:
    """Readings of a coordinator lie within its workload, and its generations only increase."""
    works = {work.id: work for _, work in events(record, Workload)}
    seen: set[str] = set()
    for event, one in events(record, Coordinator):
        shown = quote(event, "workload")
        work = works.get(one.workload)
        if work is None:
            yield f"{shown}: there is no such workload"
            continue
        if one.workload in seen:
            yield f"{shown}: there are two of this workload"
        seen.add(one.workload)
        if not len(one.at) == len(one.memory_bytes) == len(one.generations):
            yield f"{shown}: each reading has a time, a size and a number of generations"
        if list(one.at) != sorted(one.at) or list(one.generations) != sorted(one.generations):
            yield f"{shown}: its readings are not in the order of time"
        if any(not work.started_at <= at <= work.finished_at + TOLERANCE_S for at in one.at):
            yield f"{shown}: a reading outside its workload"
        if any(generation > work.generations for generation in one.generations):
            yield f"{shown}: it has {work.generations} generations"
        if one.memory_bytes and max(one.memory_bytes) < _LEAST_BYTES:
            yield f"{shown}: it never held more than {max(one.memory_bytes)} bytes"


def _prices(record: Evidence) -> Iterator[str]:
    """A price is that of a machine somebody can rent."""
    for event, price in events(record, NodePrice):
        shown = quote(event, "instance", "vcpus", "on_demand", "spot")
        if not price.vcpus:
            yield f"{shown}: no vCPU"
            continue
        low, high = _CORE_HOUR
        if not low <= price.on_demand / price.vcpus <= high:
            yield f"{shown}: no cloud rents a vCPU at that price"
        if not 0.05 * price.on_demand <= price.spot <= price.on_demand:
            yield f"{shown}: spot machines cost 5 to 100 % of the price on demand"
        low, high = 0.1 * price.factor, 10 * price.factor
        if not low <= price.factor_low <= price.factor <= price.factor_high <= high:
            yield f"{quote(event, 'factor_low', 'factor', 'factor_high')} are no range"
        cap, least = price.spot_cap, price.spot_low
        if least is not None and cap is not None and not 0 < least <= price.spot <= cap:
            yield f"{quote(event, 'spot_low', 'spot', 'spot_cap')}: not in this order"
        low, high = _DISK_MONTH
        if price.disk_gb_month is not None and not low <= price.disk_gb_month <= high:
            yield f"{quote(event, 'disk_gb_month')}: no cloud rents disks at that price"
        if price.disk_gb is not None and price.disk_gb < _LEAST_DISK_GB:
            yield f"{quote(event, 'disk_gb')}: no machine boots from it"
        if not price.heads:
            yield f"{quote(event, 'heads')}: the coordinator needs a machine"


RULES: Final = (
    Rule(name="failovers are of known workloads", kinds=kinds(Fallback), check=_fallbacks),
    Rule(
        name="coordinators are read while they work", kinds=kinds(Coordinator), check=_coordinators
    ),
    Rule(name="prices are possible", kinds=kinds(NodePrice), check=_prices),
)
