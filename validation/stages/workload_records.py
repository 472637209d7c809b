"""What evidence says of a workload that ended: its outcome, nodes, ledger and lost work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace

from evolution_gate.fixtures.protocols import Node, NodeUsage
from validation.evidence.base import Record
from validation.evidence.records import (
    Arm,
    CpuWindow,
    MemoryFailure,
    Note,
    Purpose,
    Recovery,
    Workload,
)
from validation.evidence.records_ledger import Coordinator, Fallback, NodeCheck
from validation.stages.evolve_process import LOCAL, BatchEvent, EvolveResult, WorkloadSpec
from validation.stages.ledger_audit import audit, find_run, read_generations, read_places


def outcome(
    name: str,
    spec: WorkloadSpec,
    ended: EvolveResult,
    *,
    purpose: Purpose,
    arm: Arm,
    pair: int | None,
    nodes: int,
    workers: int,
) -> Workload:
    """How a workload ended."""
    error, code = ended.error, ended.exit_code
    if ended.fallbacks and arm == "distributed" and purpose != "rollback":
        # It ended well, but not on the cluster: as evidence about the cluster it is a failure.
        error, code = f"cluster lost, {len(ended.fallbacks)} fall-backs to this machine", 1
    return Workload(
        id=name,
        purpose=purpose,
        arm=arm,
        pair=pair,
        seed=spec.seed,
        market=spec.market,
        nodes=nodes,
        workers=workers,
        population_size=spec.population_size,
        generations=spec.generations,
        exit_code=code,
        seconds=ended.number("seconds"),
        evaluations=int(ended.number("evaluations")),
        digest=ended.digest,
        started_at=ended.started_at,
        finished_at=ended.finished_at,
        error=error,
    )


def node_records(name: str, arm: Arm, ended: EvolveResult) -> Iterator[Record]:
    """Each node's numerics check, workers that lacked memory, what this machine did of it, and the
    coordinator's memory.

    A node that evaluated unchecked has a check without a digest.
    """
    for check in ended.checks:
        yield NodeCheck(workload=name, **asdict(check))
    evaluated = set(_cpu_seconds_by_node(ended))
    for node in evaluated - {check.node for check in ended.checks}:
        yield NodeCheck(workload=name, node=node, processor="", digest="", refused=None)
    for line in ended.out_of_memory:
        yield MemoryFailure(workload=name, detail=line)
    if arm == "distributed":
        yield Fallback(
            workload=name,
            count=len(ended.fallbacks),
            generations=ended.local_generations,
            at=ended.fallbacks,
        )
        times, held, done = zip(*ended.memory, strict=True) if ended.memory else ((), (), ())
        yield Coordinator(workload=name, at=times, memory_bytes=held, generations=done)


def ledger_records(
    store: str, seed: int, name: str, spec: WorkloadSpec, ended: EvolveResult, *, cached: bool
) -> Iterator[Record]:
    """What the ledger holds of a workload, and its audit; a note if it holds no run."""
    run = ended.run or find_run(store, since=ended.started_at)
    if run is None:
        yield Note(text=f"{name} left no run in the ledger")
        return
    yield from read_generations(store, run, name)
    yield from read_places(store, run, name, spec, acknowledged=ended.acknowledged)
    yield audit(store, run, name, spec, seed=seed, cached=cached)


def cpu_windows(
    name: str,
    nodes: Sequence[Node],
    before: Mapping[str, NodeUsage],
    after: Mapping[str, NodeUsage],
    ended: EvolveResult,
) -> Iterator[CpuWindow]:
    """CPU time of every node that has a quota and was read before and after.

    Args:
        before: Readings by the name of the node.
    """
    useful = _cpu_seconds_by_node(ended)
    for node in nodes:
        if node.name not in before or node.name not in after:
            continue
        first, last = before[node.name], after[node.name]
        # As the kernel states it: a quota that was requested may not be in force.
        cpus = last.cpus
        if cpus is None or cpus != first.cpus or last.at <= first.at:
            continue
        yield CpuWindow(
            workload=name,
            node=node.name,
            used_s=last.cpu_seconds - first.cpu_seconds,
            allotted_s=cpus * (last.at - first.at),
            useful_s=float(useful.get(node.address, 0.0)),
        )


def _cpu_seconds_by_node(ended: EvolveResult) -> Mapping[str, float]:
    """By address, as the engine answered; nothing if it did not."""
    answered = ended.result.get("cpu_seconds_by_node")
    return answered if isinstance(answered, dict) else {}


def with_lost_work(recovery: Recovery, batches: Sequence[BatchEvent]) -> Recovery:
    """Add when the lost work ran elsewhere, from the engine's batch log.

    Lost work shows as a batch with an attempt above 0. When the killed node held none, the first
    batch that was started after the fault stands for it.
    """
    at = recovery.fault_at
    # A batch done by the fall-back on this machine is no recovery of the cluster.
    later = [b for b in batches if b.started_at >= at and b.node != LOCAL]
    again = [b for b in later if b.attempt > 0] or later
    if not again:
        return recovery
    return replace(
        recovery,
        rescheduled_s=min(b.started_at for b in again) - at,
        first_result_s=min(b.finished_at for b in again) - at,
    )
