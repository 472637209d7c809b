"""Rules on nodes: their counters only rise, their quotas are those of the stack."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from validation.consistency.rule import TOLERANCE_S, Rule, events, kinds, quote
from validation.evidence.log import Evidence
from validation.evidence.queries import HEAD, OWN_STACKS
from validation.evidence.records import CpuWindow, Usage, Workload
from validation.evidence.records_self_check import MachineReading

MOST_CORES: Final = 256
"""No machine that runs a stack on its own has more."""
SLACK_S: Final = 0.1
"""Kernels count CPU time in steps of 10 ms, and read several counters one after the other."""
_LEAST_USEFUL: Final = 0.01
"""Speed-up workloads evaluate for tens of milliseconds each: a hundredth of a node's CPU time, or
more. Those of other workloads take microseconds, which Ray's daemons may outdo by far."""
_EXACT: Final = 1.02
"""Kernels state quotas in whole microseconds of a period."""


def cores_of(record: Evidence) -> int:
    """Cores of the machine, as its monitor counted them."""
    return max((reading.cores for reading in record.all(MachineReading)), default=MOST_CORES)


def _quotas(record: Evidence) -> Iterator[str]:
    """A node has the quota of its stack, or more while it boots, and no more than the machine."""
    if record.opening.backend not in OWN_STACKS:
        return
    least, most = record.opening.cpus_per_node / _EXACT, cores_of(record) * _EXACT
    seen: dict[str, float] = {}
    for event, usage in events(record, Usage):
        if usage.cpus is None or usage.node == HEAD:
            continue
        seen[usage.node] = min(seen.get(usage.node, most), usage.cpus)
        if not least <= usage.cpus <= most:
            yield f"{quote(event, 'node', 'cpus')}: the stack's nodes have {least:.2g} cores"
    for node, cpus in seen.items():
        if cpus > record.opening.cpus_per_node * _EXACT:
            yield f"{node} never had the quota of the stack, {record.opening.cpus_per_node:g} cores"


def _windows(record: Evidence) -> Iterator[str]:
    """What a node used while a workload ran is what its counter rose by, and a part was useful."""
    works = {work.id: work for _, work in events(record, Workload)}
    counters: defaultdict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for _, usage in events(record, Usage):
        if usage.cpus is not None:
            counters[usage.node][0].append(usage.at)
            counters[usage.node][1].append(usage.cpu_seconds)
    useful: defaultdict[str, float] = defaultdict(float)
    used: defaultdict[str, float] = defaultdict(float)
    for event, window in events(record, CpuWindow):
        work = works.get(window.workload)
        useful[window.workload] += window.useful_s
        used[window.workload] += window.used_s
        if work is None:
            continue
        times, counts = counters[window.node]
        first, last = bisect_right(times, work.started_at), bisect_left(times, work.finished_at)
        if not first or last == len(times):
            continue
        rise = counts[last] - counts[first - 1]
        if window.used_s > rise * _EXACT + 1.0:
            shown = quote(event, "workload", "node", "used_s")
            yield f"{shown}: the node's counter rose by {rise:.1f} s"
    for name, seconds in used.items():
        heavy = name in works and works[name].purpose == "speedup" and works[name].evaluations
        if heavy and useful[name] < _LEAST_USEFUL * seconds:
            yield f"nodes evaluated for {useful[name]:.3f} s of {seconds:.1f} s in {name}"


def _counters(record: Evidence) -> Iterator[str]:
    """CPU time, kills and throttled time of a control group, and of the gate, never fall.

    A node without a control group is read as the sum of its processes, which falls when one ends.
    """
    cores = cores_of(record)
    last: dict[str, Usage] = {}
    limits: defaultdict[str, set[int]] = defaultdict(set)
    for event, usage in events(record, Usage):
        if usage.limit_bytes is not None:
            limits[usage.node].add(usage.limit_bytes)
        before, last[usage.node] = last.get(usage.node), usage
        if before is None or usage.cpus is None or before.cpus is None:
            continue
        used = usage.cpu_seconds - before.cpu_seconds
        most = cores * (usage.at - before.at + TOLERANCE_S)
        if not -SLACK_S <= used <= most:
            yield f"{quote(event, 'node', 'cpu_seconds')}: {used:+.1f} s since the last reading"
        if usage.oom_kills < before.oom_kills:
            yield f"{quote(event, 'node', 'oom_kills')}: there were {before.oom_kills} before"
        # Each core of the group is throttled apart.
        stopped = (usage.throttled_s or 0.0) - (before.throttled_s or 0.0)
        if not -SLACK_S <= stopped <= most:
            yield f"{quote(event, 'node', 'throttled_s')}: {stopped:+.1f} s since the last reading"
    for node, found in limits.items():
        if len(found) > 1:
            yield f"{node} has {len(found)} memory limits, {min(found)} to {max(found)} bytes"


RULES: Final = (
    Rule(name="counters of a node never fall", kinds=kinds(Usage), check=_counters),
    Rule(name="nodes have the quota of the stack", kinds=kinds(Usage), check=_quotas),
    Rule(name="CPU time is counted twice alike", kinds=kinds(CpuWindow), check=_windows),
)
