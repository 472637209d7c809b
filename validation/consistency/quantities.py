"""Rules on quantities: counters only rise, and measured values differ and are possible."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from validation.consistency.nodes import MOST_CORES, SLACK_S, cores_of
from validation.consistency.rule import TOLERANCE_S, Rule, events, kinds, quote
from validation.evidence.base import Record
from validation.evidence.identity import SIMULATED
from validation.evidence.log import Evidence
from validation.evidence.queries import OWN_STACKS
from validation.evidence.records import (
    CpuWindow,
    Environment,
    Recovery,
    Usage,
    Workload,
)
from validation.evidence.records_load import Load, Scaling
from validation.evidence.records_monitoring import Job, Probe, Scrape, StartUp
from validation.evidence.records_network import RoundTrips, Survey
from validation.evidence.records_price import NodePrice
from validation.evidence.records_self_check import MachineReading
from validation.verdict import plural

_MOST_CORE_BYTES: Final = 2**40
"""No machine has a terabyte of memory for each core."""
_LEAST_BYTES: Final = 2**28
"""Python and a Ray node do not start in less."""
_MOST_PROCESSES: Final = 2**22
"""Process ids of Linux end there."""
_LONGEST_S: Final = 3600.0
"""The gate waits for no single event longer."""
_WRITTEN_S: Final = 60.0
"""A start is written at once; on a machine under load, or with a disk that hangs, later."""
_YOUNGEST_S: Final = 0.1
"""Prometheus samples every few seconds; of many readings, one is older than that."""
_LEAST_SHARE: Final = 1e-3
"""A load generator that sends requests for seconds uses more of a core."""
_ADDRESS_HOUR: Final = 1.0
_TRAFFIC_GB: Final = 1.0
"""Dollars; all large clouds take a tenth or less."""
_SAID: Final = {
    "dashboard": re.compile("HTTP 200"),
    "grafana": re.compile("HTTP 200"),
    "cluster": re.compile(r"[1-9]\d* nodes alive"),
}
"""What the gate notes of a good answer."""
_IDLE: Final = 100
_FEW: Final = 3
_MANY: Final = 10


def _samples(record: Evidence) -> Iterator[str]:
    """Only a bad reading is excused, and of many samples one is older than a moment."""
    ages: defaultdict[str, list[float]] = defaultdict(list)
    for event, scrape in events(record, Scrape):
        if scrape.age_s is not None:
            ages[scrape.target].append(scrape.age_s)
        if scrape.excused and scrape.up and scrape.age_s is not None and scrape.age_s <= 1.0:
            yield f"{quote(event, 'target', 'up', 'age_s')}: a good reading needs no excuse"
    for target, found in ages.items():
        if len(found) >= _MANY and max(found) < _YOUNGEST_S:
            yield f"{len(found)} samples of {target} were at most {max(found):.4f} s old"


def _answers(record: Evidence) -> Iterator[str]:
    for event, probe in events(record, Probe):
        said = _SAID.get(probe.probe)
        if said is not None and probe.ok and not said.fullmatch(probe.detail):
            yield f"{quote(event, 'probe', 'ok', 'detail')}: this is no good answer"
        if probe.excused and probe.ok:
            yield f"{quote(event, 'probe', 'ok')}: an answer needs no excuse"


def _alike(what: str, values: Sequence[object], least: int) -> Iterator[str]:
    if len(values) >= least and len(set(values)) == 1:
        yield f"{len(values)} {what} were all exactly {values[0]}"


def _differ(record: Evidence, kind: type[Record]) -> Iterator[str]:
    """A clock that counts nanoseconds does not show the same duration again and again."""
    if record.opening.backend == SIMULATED:
        return
    found: defaultdict[str, list[object]] = defaultdict(list)
    least = _MANY
    for _, one in events(record, kind):
        if isinstance(one, Probe) and one.ok and one.latency_s:
            found[f"answers of {one.probe}"].append(one.latency_s)
        elif isinstance(one, Job):
            found["jobs"].append(one.seconds)
        elif isinstance(one, Usage):
            # The memory of an idle node may stand still for a while.
            least = _IDLE
            found[f"readings of memory of {one.node}"].append(one.memory_bytes)
        elif isinstance(one, CpuWindow):
            least = _FEW
            found["CPU times of nodes"].append(one.used_s)
        elif isinstance(one, Recovery):
            least = _FEW
            for name, seconds in one.phases.items():
                if seconds is not None:
                    found[f"recoveries ({name})"].append(seconds)
    for what, values in found.items():
        yield from _alike(what, values, least)
    for event, load in events(record, Load) if kind is Load else ():
        for what, times in (("reads", load.reads), ("submissions", load.submits)):
            yield from _alike(f"{what} of line {event.seq + 1}", times, _MANY)


def _trips(record: Evidence) -> Iterator[str]:
    """No two pairs of nodes have the same round trips."""
    seen: dict[tuple[float, ...], str] = {}
    for event, trip in events(record, RoundTrips):
        if len(trip.seconds) < _MANY:
            continue
        if trip.seconds in seen:
            yield f"{quote(event, 'source', 'target', 'via')}: as {seen[trip.seconds]}, every one"
        seen.setdefault(trip.seconds, f"line {event.seq + 1}")


def _machine(record: Evidence) -> Iterator[str]:
    """A machine has cores and memory, and no more of them are used."""
    cores: list[float] = [reading.cores for reading in record.all(MachineReading)]
    for event, environment in events(record, Environment):
        values = environment.values
        own, memory = values.get("cores", 1), values.get("memory_bytes", _LEAST_BYTES)
        if not isinstance(own, int | float) or not isinstance(memory, int | float):
            yield f"{quote(event, 'cores', 'memory_bytes')}: no numbers"
            continue
        if own < 1 or (cores and own > max(cores)):
            yield f"{quote(event, 'cores')}: its monitor counted {max(cores, default=0)}"
        if not _LEAST_BYTES <= memory <= _MOST_CORE_BYTES * max(own, 1):
            yield f"{quote(event, 'cores', 'memory_bytes')}: no machine has that memory"


def _workers(record: Evidence) -> Iterator[str]:
    for event, work in events(record, Workload):
        if not 1 <= work.workers <= MOST_CORES * max(work.nodes, 1):
            yield f"{quote(event, 'id', 'nodes', 'workers')}: no such number of workers"


def _loads(record: Evidence) -> Iterator[str]:
    """The generator works, the machine has the cores, and each user sends a request."""
    cores = cores_of(record)
    for event, load in events(record, Load):
        shown = quote(event, "users", "generator_share", "others_cores")
        if load.generator_share < _LEAST_SHARE:
            yield f"{shown}: no generator takes so little"
        if load.others_cores > cores * 1.1 + SLACK_S:
            yield f"{shown}: the machine has {cores} cores"
        if load.users > len(load.reads) + len(load.submits) + load.streams:
            yield f"{shown}: fewer requests than users"


def _surveys(record: Evidence) -> Iterator[str]:
    for event, survey in events(record, Survey):
        if survey.processes > _MOST_PROCESSES or survey.evaluating > survey.processes:
            yield f"{quote(event, 'processes', 'evaluating')}: more than there can be"


def _phases(record: Evidence) -> Iterator[str]:
    """Phases of a recovery come in the order in which they happen, while the gate waits."""
    for event, recovery in events(record, Recovery):
        shown = quote(event, "target", "detected_s", "rescheduled_s", "first_result_s")
        detected, back = recovery.detected_s, recovery.node_back_s
        # The gate starts the node when its loss was detected.
        if detected is not None and back is not None and back < detected:
            yield f"{shown}: the node was back before its loss was noticed"
        first, again = recovery.first_result_s, recovery.rescheduled_s
        if first is not None and again is not None and first <= again:
            yield f"{shown}: the work had ended before it was begun"
        if recovery.window_s > _LONGEST_S:
            yield f"{quote(event, 'target', 'window_s')}: the gate waits for less than an hour"


def _scaled(record: Evidence) -> Iterator[str]:
    """A cluster grows and shrinks before that is written."""
    works = {work.id: work for _, work in events(record, Workload)}
    for event, scaling in events(record, Scaling):
        shown = quote(event, "workload", "up_s", "down_s", "window_s")
        if scaling.window_s > _LONGEST_S:
            yield f"{shown}: the gate waits for less than an hour"
        work, latest = works.get(scaling.workload), event.at + TOLERANCE_S
        if work is not None and work.started_at + (scaling.up_s or 0.0) > latest:
            yield f"{shown}: it grew after this was written"
        if work is not None and work.finished_at + (scaling.down_s or 0.0) > latest:
            yield f"{shown}: it shrank after this was written"


def _jobs(record: Evidence) -> Iterator[str]:
    """A job is written when it ends, and a start when the stack is steady."""
    if record.opening.backend not in OWN_STACKS:
        return
    for event, job in events(record, Job):
        late = event.at - job.asked_at - job.seconds
        if late > _WRITTEN_S:
            yield f"{quote(event, 'asked_at', 'seconds')} was written {late:+.1f} s later"
    for event, start in events(record, StartUp):
        if start.up_at - start.asked_at > 24 * _LONGEST_S:
            yield f"{quote(event, 'asked_at', 'up_at')}: the gate gives up after hours"
        late = 0.0 if start.steady_at is None else event.at - start.steady_at
        if late > _WRITTEN_S:
            yield f"{quote(event, 'steady_at')} was written {late:+.1f} s later"


def _extras(record: Evidence) -> Iterator[str]:
    """Disks, addresses and traffic cost what clouds take."""
    for event, price in events(record, NodePrice):
        if not (price.address_hour or 0.0) <= _ADDRESS_HOUR:
            yield f"{quote(event, 'address_hour')}: no cloud takes so much"
        if not (price.traffic_gb or 0.0) <= _TRAFFIC_GB:
            yield f"{quote(event, 'traffic_gb')}: no cloud takes so much"
        if price.spot_low is not None and price.spot_low < 0.05 * price.on_demand:
            yield f"{quote(event, 'spot_low', 'on_demand')}: no cloud gives it away"


def _distinct(record: Evidence, kind: type[Record]) -> Iterator[str]:
    """A probe or a sample has no time of its own: its line does."""
    found = record.of(kind.KIND)
    repeated = len(found) - len({(event.at, event.record) for event in found})
    if repeated:
        yield f"{plural(repeated, 'line')} of {kind.KIND} repeat others of the same moment"


RULES: Final = (
    Rule(name="only bad readings are excused", kinds=kinds(Scrape), check=_samples),
    Rule(name="good answers are noted as such", kinds=kinds(Probe), check=_answers),
    *(
        Rule(name="measured values differ", kinds=kinds(kind), check=partial(_differ, kind=kind))
        for kind in (Probe, Job, Load, Usage, CpuWindow, Recovery)
    ),
    Rule(name="measured values differ", kinds=kinds(RoundTrips), check=_trips),
    Rule(name="a machine has cores and memory", kinds=frozenset(), check=_machine),
    Rule(name="a workload has workers", kinds=kinds(Workload), check=_workers),
    Rule(name="a load comes from users", kinds=kinds(Load), check=_loads),
    Rule(name="a survey counts processes", kinds=kinds(Survey), check=_surveys),
    Rule(name="phases of a recovery are in order", kinds=kinds(Recovery), check=_phases),
    Rule(name="a cluster scales before that is written", kinds=kinds(Scaling), check=_scaled),
    Rule(name="jobs are written when they end", kinds=kinds(Job, StartUp), check=_jobs),
    Rule(name="extras have a possible price", kinds=kinds(NodePrice), check=_extras),
    *(
        Rule(name="a moment is read once", kinds=kinds(kind), check=partial(_distinct, kind=kind))
        for kind in (Probe, Scrape)
    ),
)
