"""Does it grow and shrink, give up a node in order, and carry many individuals and users?"""

from __future__ import annotations

import math
from typing import Final

from validation import statistics
from validation.criteria.operations import undisturbed, unlike
from validation.evidence.log import Evidence
from validation.evidence.queries import workloads
from validation.evidence.records import Fault, Usage, Workload
from validation.evidence.records_ledger import Generation
from validation.evidence.records_load import Load, Scaling, ServiceRestart
from validation.evidence.records_network import Drain
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    listed,
    plural,
    settle,
    span,
)

SCALING_S: Final = 120.0
GENERATION_S: Final = 300.0
LEAST_POPULATION: Final = 500
READ_S: Final = 0.050
USERS: Final = 50
SHARE: Final = 0.95
SATURATED: Final = 0.9
"""Share of a core above which a generator measures itself."""
OTHERS: Final = 0.5
"""Cores of other work above which slow answers are not put down to the service."""


def autoscaling(records: Records) -> Verdict:
    """The cluster grows to what a run asks for, shrinks when it is idle, and loses nothing.

    Both within 120 s, by the control service's own count of nodes.
    """
    wrong: list[str] = []
    problems: list[str] = []
    ups: list[float] = []
    downs: list[float] = []
    for record in records:
        known = workloads(record)
        for scaling in record.all(Scaling):
            workload = known.get(scaling.workload)
            name = scaling.workload
            if workload is None:
                problems.append(f"nobody saw the end of {name}")
                continue
            if not scaling.before <= scaling.least < scaling.most:
                problems.append(f"{name} began with {plural(scaling.before, 'node')}")
                continue
            wrong += [f"{name}: {what}" for what in _unscaled(scaling)]
            found, doubts = _history(record, workload)
            wrong += found
            problems += doubts
            if scaling.up_s is not None and scaling.down_s is not None:
                ups.append(scaling.up_s)
                downs.append(scaling.down_s)
    if wrong:
        return _failed(wrong)
    if not ups:
        raise InconclusiveError(
            listed(problems or ["no cluster was seen to grow and shrink"]), needs=_SCALING_NEEDS
        )
    verdict = Verdict(
        status=Status.PASS,
        measured=f"up in {max(ups):.1f} s, down in {max(downs):.1f} s",
        reason=f"{plural(len(ups), 'run')} under Ray's autoscaler, nodes counted by the control "
        "service; nothing lost, and the history is the undisturbed one",
    )
    return settle(verdict, problems, needs=_SCALING_NEEDS)


_SCALING_NEEDS: Final = "a run on a cluster that autoscales, about 60 s"


def _unscaled(scaling: Scaling) -> list[str]:
    """What the autoscaler failed to do."""
    found = []
    if scaling.up_s is None or scaling.up_s > SCALING_S:
        found.append(
            f"{scaling.peak} of {scaling.most} nodes came within {span(scaling.window_s)}"
            if scaling.up_s is None
            else f"{span(scaling.up_s)} until all nodes were there"
        )
    if scaling.down_s is None or scaling.down_s > SCALING_S:
        after = scaling.window_s if scaling.down_s is None else scaling.down_s
        found.append(f"more than {plural(scaling.least, 'node')} {span(after)} after the run")
    return found


def preemption(records: Records) -> Verdict:
    """A node that is drained with a deadline, and then killed, costs no individual and no bit.

    It counts only with the control service's own word that the node was draining or gone before
    the kill, and with the kill's receipt.
    """
    wrong: list[str] = []
    problems: list[str] = []
    proven = 0
    for record in records:
        known = workloads(record)
        kills = {f.workload: f for f in record.all(Fault) if f.fault == "kill" and f.confirmed}
        for drain in record.all(Drain):
            workload, kill = known.get(drain.workload), kills.get(drain.workload)
            if workload is None:
                problems.append(f"nobody saw the end of {drain.workload}")
            elif not drain.accepted or not drain.confirmed:
                problems.append(f"{drain.target} was not seen to drain ({drain.detail})")
            elif kill is None or kill.target != drain.target:
                problems.append(f"no receipt that {drain.target} was killed at its deadline")
            else:
                found, doubts = _history(record, workload)
                if not drain.requested_at < kill.requested_at <= workload.finished_at:
                    doubts.append(f"{workload.id} had ended before the deadline of {drain.target}")
                wrong += found
                problems += doubts
                proven += not found and not doubts
    if wrong:
        return _failed(wrong)
    needs = "a run during which a node is drained, confirmed, and killed at its deadline"
    if not proven:
        raise InconclusiveError(listed(problems or ["no node was drained"]), needs=needs)
    verdict = Verdict(
        status=Status.PASS,
        measured=f"0 lost in {plural(proven, 'run')}",
        reason="drained by the control service's own word, killed by receipt; all individuals "
        "committed, and the history is the undisturbed one",
    )
    return settle(verdict, problems, needs=needs)


def population_load(records: Records) -> Verdict:
    """Populations from 500 individuals on are evolved whole, a generation within 300 s, and no node
    comes near its memory limit."""
    wrong: list[str] = []
    problems: list[str] = []
    said: dict[int, str] = {}
    for record in records:
        usage = record.all(Usage)
        seconds: dict[str, dict[int, float]] = {}
        for generation in record.all(Generation):
            seconds.setdefault(generation.workload, {})[generation.generation] = generation.seconds
        for workload in workloads(record).values():
            if workload.purpose != "population":
                continue
            found = unlike(record, workload)
            timed = seconds.get(workload.id, {})
            slowest = max(timed.values(), default=0.0)
            if not found and slowest > GENERATION_S:
                found = [f"a generation took {span(slowest)}"]
            wrong += [f"{workload.id}: {what}" for what in found]
            if len(timed) < workload.generations:
                planned = plural(workload.generations, "generation")
                problems.append(f"{workload.id}: {len(timed)} of {planned} timed")
                continue
            peak = _peak(usage, workload)
            if peak is None:
                problems.append(f"{workload.id}: nobody read the nodes' memory")
                continue
            said[workload.population_size] = (
                f"{workload.population_size:,}: {span(slowest)} a generation, "
                f"{100 * peak:.0f} % of a node's memory"
            )
    if wrong:
        return _failed(wrong)
    largest = max(said, default=0)
    if largest < LEAST_POPULATION or len(said) < 2:
        raise InconclusiveError(
            listed(problems or [f"{plural(len(said), 'population')} tried"]),
            needs=f"runs of two populations of {LEAST_POPULATION} or more, about 30 s",
        )
    verdict = Verdict(
        status=Status.PASS,
        measured=f"{largest:,} individuals",
        reason="; ".join(said[size] for size in sorted(said)),
    )
    return settle(verdict, problems, needs="readings of every node's memory while they ran")


def _peak(usage: list[Usage] | tuple[Usage, ...], workload: Workload) -> float | None:
    """The largest share of its limit that a node used; None if nobody looked."""
    shares = [
        one.memory_bytes / one.limit_bytes
        for one in usage
        if one.limit_bytes and workload.started_at <= one.at <= workload.finished_at
    ]
    return max(shares, default=None)


def service_load(records: Records) -> Verdict:
    """With 50 users, 95 % of reads take 50 ms or less, no answer is unexpected, and no accepted run
    is lost through a SIGKILL of the service.

    Bounds are those of order statistics. A generator that is short of CPU measures itself, and a
    machine that is busy with other work is slow: then slow answers decide nothing.
    """
    loads = [load for record in records for load in record.all(Load)]
    restarts = [restart for record in records for restart in record.all(ServiceRestart)]
    needs = f"{USERS} users for 15 s, and a kill with accepted runs, about 40 s"
    if not loads:
        raise InconclusiveError("no load on the service", needs=needs)
    reads = [value for load in loads for value in load.reads]
    errors = [error for load in loads for error in load.errors]
    if len(reads) < statistics.samples_for_quantile(SHARE):
        raise InconclusiveError(f"only {plural(len(reads), 'read')}", needs=needs)
    p95 = statistics.quantile_bounds(reads, SHARE)
    p99 = statistics.quantile_bounds(reads, 0.99).point
    total = math.fsum(load.seconds for load in loads)
    measured = (
        f"p95 {1000 * p95.point:.1f} ms, p99 {1000 * p99:.1f} ms over {plural(len(reads), 'read')}"
    )
    interval = (1000 * p95.lower, 1000 * p95.upper)
    over = sum(value > READ_S for value in reads)
    budget = f"{1 - SHARE:.0%} of reads may take more than {1000 * READ_S:.0f} ms; "
    budget += f"{over} of {len(reads):,} did"
    users = min(load.users for load in loads)
    share = max(load.generator_share for load in loads)
    others = max(load.others_cores for load in loads)
    doubts = []
    if users < USERS:
        doubts.append(f"{users} users, not {USERS}")
    if share > SATURATED:
        doubts.append(f"the generator used {share:.0%} of a core: it may have measured itself")
    if others > OTHERS and p95.upper > READ_S:
        doubts.append(f"other work used {others:.1f} cores: it may have slowed the answers")
    if not sum(load.streams for load in loads):
        doubts.append("no event stream was read")
    if not any(restart.killed and restart.open_at_kill for restart in restarts):
        doubts.append("no service was killed with open runs")
    wrong = errors + [
        f"{count} of {restart.accepted} accepted runs {what}"
        for restart in restarts
        for count, what in (
            (restart.lost, "lost"),
            (restart.failed, "failed"),
            (restart.accepted - restart.finished - restart.lost - restart.failed, "did not end"),
            (restart.differing, "with another history than their like"),
        )
        if count
    ]
    # A slow answer of a starved generator or machine is no finding about the service.
    if p95.lower > READ_S and share <= SATURATED and others <= OTHERS:
        wrong.append(f"p95 of reads is at least {1000 * p95.lower:.0f} ms")
    if wrong:
        return Verdict(
            status=Status.FAIL,
            measured=measured,
            interval=interval,
            reason=listed(wrong),
            budget=budget,
        )
    if not p95.upper <= READ_S:
        doubts.insert(0, f"p95 of reads may be {1000 * p95.upper:.0f} ms")
    accepted = sum(restart.accepted for restart in restarts)
    verdict = Verdict(
        status=Status.PASS,
        measured=measured,
        interval=interval,
        reason=f"{users} users for {total:.0f} s, no unexpected answer; 0 of {accepted} accepted "
        f"runs lost by SIGKILL; the generator used {share:.0%} of a core",
        budget=budget,
    )
    return settle(verdict, doubts, needs=needs)


def _history(record: Evidence, workload: Workload) -> tuple[list[str], list[str]]:
    """Findings and doubts about what a disturbed run left."""
    if found := unlike(record, workload):
        return [f"{workload.id}: {what}" for what in found], []
    equals = undisturbed(workloads(record), workload)
    if not equals:
        return [], [f"{workload.id} has no undisturbed run to be compared with"]
    if any(one.digest != workload.digest for one in equals):
        return [f"{workload.id}: its history is not that of {equals[0].id}"], []
    return [], []


def _failed(wrong: list[str]) -> Verdict:
    return Verdict(status=Status.FAIL, measured=plural(len(wrong), "finding"), reason=listed(wrong))
