"""Rules on work: counts of individuals, CPU time, memory."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from validation.consistency.rule import TOLERANCE_S, Rule, events, kinds, quote
from validation.evidence.log import Evidence
from validation.evidence.queries import ATTACHED, HEAD
from validation.evidence.records import CpuWindow, Environment, Usage, Workload
from validation.evidence.records_ledger import (
    Audit,
    Generation,
    LedgerCopy,
    NodeCheck,
    Restore,
)
from validation.evidence.records_load import Load, Scaling, ServiceRestart
from validation.evidence.records_self_check import HarnessReading

_BURST: Final = 1.10
"""The kernel accounts quotas in periods of 100 ms: over a second, a node may use so much more."""
SAMPLED: Final = 24
"""Evaluations that each audit repeats at least (``validation.stages.ledger_history``)."""
_LEAST_BYTES: Final = 10_000_000
"""A Ray node that runs holds more."""
_MOST_CORES: Final = 256
"""No machine that runs a stack on its own has more."""
_IDLE: Final = 1e-4
"""Share of a core below which nothing can have been read every few seconds."""
_LOAD_S: Final = 5.0
"""A load lasts at least so long."""
_FASTEST_REQUEST_S: Final = 5e-5


def _individuals(record: Evidence) -> Iterator[str]:
    """What was counted in several ways gives the same number."""
    works = {work.id: work for _, work in events(record, Workload)}
    committed: Counter[str] = Counter()
    for event, one in events(record, Generation):
        committed[one.workload] += one.individuals
        work = works.get(one.workload)
        if one.failed > one.individuals:
            yield f"{quote(event, 'workload', 'generation', 'failed')}: more than all"
        if work and one.generation > work.generations:
            yield f"{quote(event, 'workload', 'generation')}: more than were planned"
        if work and one.individuals > work.population_size:
            yield f"{quote(event, 'workload', 'individuals')}: more than a population"
    hits = {audit.workload: audit.from_cache for _, audit in events(record, Audit)}
    for event, work in events(record, Workload):
        if work.evaluations + (hits.get(work.id) or 0) > work.population_size * work.generations:
            yield f"{quote(event, 'id', 'evaluations')}: more than its individuals"
        if work.exit_code == 0 and not work.evaluations and not hits.get(work.id, 1):
            yield f"{quote(event, 'id', 'evaluations')}: it finished without one"
    for event, audit in events(record, Audit):
        work = works.get(audit.workload)
        if work is None:
            yield f"{quote(event, 'workload')}: there is no such workload"
            continue
        if audit.expected > work.population_size * work.generations:
            yield f"{quote(event, 'workload', 'expected')}: more than was asked for"
        if audit.committed > audit.expected + audit.doubled:
            yield f"{quote(event, 'workload', 'committed', 'doubled')}: more than expected"
        # Where rows are missing or doubled, the ledger is what contradicts itself.
        sound = not (audit.lost or audit.doubled)
        held = committed.get(audit.workload, audit.committed)
        if sound and audit.committed != held:
            yield f"{quote(event, 'workload', 'committed')}: its generations hold {held}"
        if audit.mismatched > audit.sampled:
            yield f"{quote(event, 'workload', 'sampled', 'mismatched')}: more than were repeated"
        if audit.sampled > audit.committed:
            yield f"{quote(event, 'workload', 'sampled')}: more than were committed"
        good = audit.committed - audit.failed
        if audit.sampled < min(SAMPLED, good):
            yield f"{quote(event, 'workload', 'sampled')}: an audit repeats {SAMPLED}"


def _repeats(record: Evidence) -> Iterator[str]:
    """Every audit repeats the winners and a sample of its own, on both paths where there are."""
    seeds: set[str] = set()
    for event, audit in events(record, Audit):
        shown = quote(event, "workload", "sampled", "winners", "independent", "undecided")
        if audit.winners is None or audit.independent is None:
            continue
        if not min(1, audit.committed) <= audit.winners <= audit.sampled:
            yield f"{shown}: winners are part of the sample"
        judged = audit.independent + (audit.undecided or 0)
        whole = not audit.without_path
        if judged > audit.sampled or (whole and judged < audit.sampled):
            yield f"{shown}: not every evaluation with an independent path was judged"
        if (audit.independent_differing or 0) > audit.independent:
            yield f"{shown}: more differ than were judged"
        if (audit.from_cache or 0) > audit.committed:
            yield f"{quote(event, 'workload', 'from_cache')}: more than were committed"
        if audit.sample_seed is not None:
            if audit.sample_seed in seeds:
                yield f"{quote(event, 'workload', 'sample_seed')}: the seed of another audit"
            seeds.add(audit.sample_seed)


def _shape(record: Evidence) -> Iterator[str]:
    """A distributed workload runs on the nodes of the stack."""
    nodes = record.opening.nodes
    if record.opening.backend == ATTACHED:
        return
    for event, work in events(record, Workload):
        shown = quote(event, "id", "nodes", "workers")
        if work.arm == "local" and work.nodes != 1:
            yield f"{shown}: a local workload has one node"
        if work.arm == "distributed" and work.purpose != "autoscaling" and work.nodes != nodes:
            yield f"{shown}: the stack has {nodes} nodes"
    read = {usage.node for _, usage in events(record, Usage)} - {HEAD}
    if read and len(read) != nodes:
        yield f"the stack has {nodes} nodes, memory was read of {', '.join(sorted(read))}"


def _cpu(record: Evidence) -> Iterator[str]:
    """A node uses at most its quota; what evaluations use is part of that."""
    opening = record.opening
    known = {usage.node for _, usage in events(record, Usage)}
    works = {work.id: work for _, work in events(record, Workload)}
    seen: defaultdict[str, set[str]] = defaultdict(set)
    for event, window in events(record, CpuWindow):
        shown = quote(event, "workload", "node", "used_s", "allotted_s", "useful_s")
        work = works.get(window.workload)
        if work is None:
            yield f"{shown}: there is no such workload"
            continue
        if window.node in seen[window.workload]:
            yield f"{shown}: the node was read twice"
        seen[window.workload].add(window.node)
        if known and window.node not in known:
            yield f"{shown}: the stack has no such node"
        if window.useful_s > window.used_s * _BURST + 0.05:
            yield f"{shown}: more in evaluations than in all"
        if opening.backend == ATTACHED or not opening.cpus_per_node:
            continue
        if window.used_s > window.allotted_s * _BURST + 0.1 * opening.cpus_per_node:
            yield f"{shown}: more than its quota"
        wall = work.finished_at - work.started_at
        if window.allotted_s > opening.cpus_per_node * (wall + TOLERANCE_S):
            yield f"{shown}: the workload ran for {wall:.1f} s only"
    if opening.backend == ATTACHED:
        return
    for name, nodes in seen.items():
        if name in works and len(nodes) != works[name].nodes:
            yield f"{name}: CPU time of {len(nodes)} of its {works[name].nodes} nodes"
    if seen and not any(window.used_s for _, window in events(record, CpuWindow)):
        yield "no node used any CPU time"


def _memory(record: Evidence) -> Iterator[str]:
    """Memory is between nothing and the limit, and the limit is one of this machine."""
    machine = next((e.values.get("memory_bytes") for _, e in events(record, Environment)), None)
    last: dict[str, Usage] = {}
    held: defaultdict[str, int] = defaultdict(int)
    for event, usage in events(record, Usage):
        shown = quote(event, "node", "memory_bytes", "limit_bytes")
        held[usage.node] = max(held[usage.node], usage.memory_bytes)
        if usage.limit_bytes is not None:
            if usage.memory_bytes > usage.limit_bytes * 1.01:
                yield f"{shown}: more than its limit"
            if isinstance(machine, int | float) and usage.limit_bytes > machine:
                yield f"{shown}: the machine has {machine:.0f} bytes"
        before = last.get(usage.node)
        if before is not None and usage.at < before.at:
            yield f"{quote(event, 'node', 'at')} is dated before the last one"
        last[usage.node] = usage
    for node, most in held.items():
        if most < _LEAST_BYTES:
            yield f"{node} never held more than {most} bytes"


def _usage_clock(record: Evidence) -> Iterator[str]:
    """CPU time goes on: a node that runs a Ray daemon uses some."""
    by_node: defaultdict[str, list[Usage]] = defaultdict(list)
    for _, usage in events(record, Usage):
        by_node[usage.node].append(usage)
    for node, readings in by_node.items():
        if readings[-1].at - readings[0].at < 60:
            continue
        used = sum(max(0.0, b.cpu_seconds - a.cpu_seconds) for a, b in pairwise(readings))
        passed = readings[-1].at - readings[0].at
        if not 0 < used <= _MOST_CORES * passed:
            yield f"{node} used {used:.0f} s of CPU time in {passed:.0f} s"
    harness = record.all(HarnessReading)
    if len(harness) > 1 and harness[-1].monotonic_s - harness[0].monotonic_s >= 60:
        share = harness[-1].harness_cpu_s - harness[0].harness_cpu_s
        share /= harness[-1].monotonic_s - harness[0].monotonic_s
        if 0 <= share < _IDLE:
            yield f"the gate used {share:.2%} of a core to measure"


def _restores(record: Evidence) -> Iterator[str]:
    """A backup up to the last generation has the digest of its workload."""
    works = {work.id: work for _, work in events(record, Workload)}
    for event, restore in events(record, Restore):
        shown = quote(event, "workload", "generation", "individuals_before")
        work = works.get(restore.workload)
        if work is None:
            yield f"{shown}: there is no such workload"
            continue
        if restore.generation >= work.generations:
            yield f"{shown}: it has {work.generations} generations"
        elif restore.individuals_before > work.population_size * (restore.generation + 1):
            yield f"{shown}: more than it had by then"
        whole = restore.generation == work.generations - 1 and not restore.while_running
        if whole and restore.digest_before != work.digest:
            yield f"{shown}: its digest is not that of the workload"


def _copies(record: Evidence) -> Iterator[str]:
    """A compared copy holds what its backup held, and all copies have the same tables."""
    restored: defaultdict[str, int] = defaultdict(int)
    for _, restore in events(record, Restore):
        moment = "running" if restore.while_running else "at rest"
        restored[moment] = max(restored[moment], restore.individuals_after)
    tables: set[frozenset[str]] = set()
    for event, copy in events(record, LedgerCopy):
        shown = quote(event, "moment", "source", "copy", "rows")
        least = restored[copy.moment]
        if not copy.differing and copy.rows.get("individuals", 0) < least:
            yield f"{shown}: {least} individuals were restored"
        if copy.moment not in ("running", "at rest", "every table"):
            yield f"{shown}: no such moment"
        tables.add(frozenset(copy.rows))
    if len(tables) > 1:
        yield f"copies of one ledger have {' and '.join(str(len(t)) for t in tables)} tables"


def _load(record: Evidence) -> Iterator[str]:
    """Users make one request at a time, and counts of runs add up."""
    for event, load in events(record, Load):
        spent = sum(load.reads) + sum(load.submits)
        shown = quote(event, "users", "seconds", "streams")
        if spent > load.users * (load.seconds + 60):
            yield f"{shown}: {len(load.reads)} requests took {spent:.0f} s"
        if max((*load.reads, *load.submits), default=0.0) > load.seconds + 60:
            yield f"{shown}: a request took longer than the load"
        if min((*load.reads, *load.submits), default=1.0) < _FASTEST_REQUEST_S:
            yield f"{shown}: no server answers as fast as the fastest request"
        if load.seconds < _LOAD_S:
            yield f"{shown}: a load lasts {_LOAD_S:.0f} s or more"
        if load.seconds > event.at - record.opening.started_at + TOLERANCE_S:
            yield f"{shown}: longer than the run"
    for event, restart in events(record, ServiceRestart):
        shown = quote(event, "accepted", "open_at_kill", "finished", "lost", "failed")
        if restart.finished + restart.lost + restart.failed > restart.accepted:
            yield f"{shown}: more than were accepted"
        if restart.open_at_kill > restart.accepted:
            yield f"{shown}: more were open than accepted"


def _scaling(record: Evidence) -> Iterator[str]:
    """A cluster that grew had its most nodes, and took some time."""
    for event, scaling in events(record, Scaling):
        shown = quote(event, "least", "most", "before", "peak", "up_s", "down_s")
        if not scaling.least <= scaling.before <= scaling.most or scaling.peak > scaling.most:
            yield f"{shown}: outside its bounds"
        slow = [s for s in (scaling.up_s, scaling.down_s) if s and s > scaling.window_s]
        if slow:
            yield f"{quote(event, 'up_s', 'down_s', 'window_s')}: seen after the window"
        if scaling.up_s is not None and scaling.peak < scaling.most:
            yield f"{shown}: it reached {scaling.most} nodes and had {scaling.peak}"
        if scaling.before < scaling.most and scaling.up_s is not None and scaling.up_s < 0.1:
            yield f"{shown}: no node starts in that time"
        if scaling.peak > scaling.least and scaling.down_s is not None and scaling.down_s < 0.1:
            yield f"{shown}: no node ends in that time"


def _same_bits(record: Evidence) -> Iterator[str]:
    """Nodes that got work of equal histories computed the same bits; the engine refuses any other.

    The digest covers the families of the workload, so that two histories may differ.
    """
    histories = {work.id: work.digest for _, work in events(record, Workload)}
    first: dict[str, NodeCheck] = {}
    for event, check in events(record, NodeCheck):
        if not check.digest or check.refused is not None:
            continue
        other = first.setdefault(histories.get(check.workload) or check.workload, check)
        if check.digest != other.digest:
            yield (
                f"{quote(event, 'workload', 'node', 'digest')}: {other.node} has"
                f" {other.digest}, and neither was refused"
            )


RULES: Final = (
    Rule(
        name="counts of individuals agree",
        kinds=kinds(Workload, Generation, Audit),
        check=_individuals,
    ),
    Rule(name="audits repeat winners and a new sample", kinds=kinds(Audit), check=_repeats),
    Rule(name="workloads run on the stack's nodes", kinds=kinds(Workload, Usage), check=_shape),
    Rule(name="CPU time is within the quota", kinds=kinds(CpuWindow), check=_cpu),
    Rule(name="memory is within the limit", kinds=kinds(Usage), check=_memory),
    Rule(
        name="whatever runs uses CPU time",
        kinds=kinds(Usage, HarnessReading),
        check=_usage_clock,
    ),
    Rule(name="a whole backup is that of its workload", kinds=kinds(Restore), check=_restores),
    Rule(name="a copy holds what was restored", kinds=kinds(LedgerCopy), check=_copies),
    Rule(name="requests fit into the load", kinds=kinds(Load, ServiceRestart), check=_load),
    Rule(name="a cluster that scaled had the nodes", kinds=kinds(Scaling), check=_scaling),
    Rule(
        name="nodes that got work computed the same bits",
        kinds=kinds(NodeCheck),
        check=_same_bits,
    ),
)
