"""No service restarts or ends without a confirmed fault."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from validation import statistics
from validation.contract import CLOCK, RECEIPTS, Criterion, CriterionPlugin, Mutant
from validation.criteria.plan import METRICS
from validation.evidence.log import Evidence
from validation.evidence.queries import HEAD, is_excused, longest_gap
from validation.evidence.records import Fault, Services
from validation.evidence.records_self_check import ContainerExit
from validation.limits import SPAN_S
from validation.mutation import guard_injectors, injectors
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    downgrade,
    format_list,
    plural,
    span,
)

FEWEST_READINGS: Final = 10


CERTAIN_S: Final = 25.0
"""Between readings that are further apart an injected fault may have begun and ended."""


_SLACK_S: Final = 5.0
"""A receipt's times and a reading's are taken by different threads."""


@dataclass
class _Found:
    unexpected: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    ours: int = 0
    services: set[str] = field(default_factory=set)
    lengths: list[float] = field(default_factory=list)


def container_stability(records: Records) -> Verdict:
    """No service is down or restarted without the receipt of an injected fault.

    Every new incarnation of a service needs its own receipt of a start at that time. A service that
    is down needs a confirmed receipt of a fault. A fault that the gate reports without a receipt
    leaves the verdict INCONCLUSIVE. So does an incarnation that changed between readings more than
    25 s apart. For containers the engine's own events count too: an exit without a receipt is
    unexpected, even if no reading shows it.
    """
    found = _Found()
    for record in records:
        _judge(record, found)
    seconds = math.fsum(found.lengths)
    rate = statistics.daily_rate(len(found.unexpected), seconds) if seconds else None
    interval = None if rate is None else (rate.lower, rate.upper)
    budget = (
        f"no unexpected restart is allowed; {len(found.unexpected)} seen in "
        f"{span(seconds)} of {plural(len(found.services), 'service')} together"
    )
    if found.unexpected:
        return Verdict(
            status=Status.FAIL,
            measured=plural(len(found.unexpected), "unexpected restart"),
            interval=interval,
            reason=format_list(found.unexpected),
            budget=budget,
        )
    if not found.lengths:
        raise InconclusiveError(
            format_list(found.problems or ["no reading of services"]),
            needs=f"{FEWEST_READINGS} readings of every service over {SPAN_S:.0f} s",
        )
    verdict = Verdict(
        status=Status.PASS,
        measured="0 unexpected restarts",
        # No bound: a few minutes say nothing of a day.
        reason=f"{plural(len(found.services), 'service')} watched, and "
        f"{plural(found.ours, 'start')} with a receipt",
        budget=budget,
    )
    return downgrade(
        verdict,
        sorted(set(found.problems)),
        needs="readings of every service throughout the work, and a receipt of each fault",
    )


def _judge(record: Evidence, found: _Found) -> None:
    readings = sorted(record.all(Services), key=lambda reading: reading.at)
    if not readings:
        found.problems.append(f"run {record.run}: no reading of services")
        return
    unwatched = longest_gap(
        record, [reading.at for reading in readings], "the readings of services"
    )
    found.problems += [unwatched] if unwatched else []
    names = {name for reading in readings for name in reading.incarnations}
    if HEAD not in names or len(names) <= record.opening.nodes:
        found.problems.append(f"run {record.run}: not every service was read")
    for name in sorted(names):
        own = [reading for reading in readings if name in reading.incarnations]
        length = own[-1].at - own[0].at
        if len(own) < FEWEST_READINGS or length < SPAN_S:
            found.problems.append(f"{name} was read {len(own)} times in {length:.0f} s")
        if length:
            found.lengths.append(length)
        found.services.add(name)
        _follow(record, name, own, found)
    _engine_s_word(record, found)


def _engine_s_word(record: Evidence, found: _Found) -> None:
    """Exits that the container engine reported between two readings."""
    for died in record.all(ContainerExit):
        if is_excused(record, (died.service,), died.at):
            continue
        if not any(what.startswith(f"{died.service} ") for what in found.unexpected):
            moment = span(max(died.at - record.opening.started_at, 0.0))
            found.unexpected.append(
                f"{died.service} ended with status {died.exit_code} {moment} after the start of "
                "the run, as the engine reported"
            )


def _follow(record: Evidence, name: str, readings: Sequence[Services], found: _Found) -> None:
    """Follow one service through its readings."""
    starts = [f for f in record.all(Fault) if f.target == name and f.fault == "start"]
    begun = record.opening.started_at
    first = readings[0]
    known = first.incarnations[name]
    if known is None and not is_excused(record, (name,), first.at):
        _open(found, f"{name} was down from the first reading on", name, first, near=True)
    for before, after in pairwise(readings):
        now, near = after.incarnations[name], after.at - before.at <= CERTAIN_S
        moment = f"{span(max(after.at - begun, 0.0))} after the start of the run"
        if now is None:
            if before.incarnations[name] is not None and not is_excused(record, (name,), after.at):
                _open(found, f"{name} ended {moment}", name, after, near=near)
        elif known is not None and now != known:
            by = [
                start
                for start in starts
                if start.requested_at <= after.at and before.at <= start.confirmed_at + _SLACK_S
            ]
            if by:
                starts.remove(by[0])
                found.ours += 1
            else:
                _open(found, f"{name} was restarted {moment}", name, after, near=near)
        known = known if now is None else now


def _open(found: _Found, what: str, name: str, reading: Services, *, near: bool) -> None:
    """Unexpected, or unproven: the gate reports its own fault, or readings are too far apart."""
    if name in reading.excused:
        found.problems.append(f"{what}, excused by a fault without a receipt")
    elif near:
        found.unexpected.append(what)
    else:
        found.problems.append(f"{what}, but no reading was taken at that time")


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="container_stability",
            statement="No service restarts or ends without a confirmed fault",
            target="0 unexpected restarts",
            unit="a day and service",
            clause=f'{METRICS}: "docker_container_stability ... No unexpected restarts"',
            evidence_needed="10 readings over 30 s of the incarnation of every service, throughout "
            "the work, and a receipt for each change",
            passes=(
                "every restart of a service has a receipt, and so has every end of a container "
                "that the engine reported"
            ),
            fails="a restart or an end has none",
            measures=(
                "the identity of every service (process id and start time, or the container's "
                "id and start), read every few seconds and compared with the receipts of the "
                "gate's own faults; with containers also each exit that the engine reports"
            ),
            clock=(
                "the kernel's or the container engine's identities and start times, read by the "
                "gate"
            ),
            limits=(
                "a day: the campaign lasts minutes, and its readings bound no daily rate; a "
                "restart of a process inside a node that keeps the node's identity"
            ),
            verdict=container_stability,
            trusts=(
                CLOCK,
                RECEIPTS,
            ),
            position=90,
        ),
    ),
    mutants=(
        Mutant(
            name="a kill that spares the workers",
            criterion="container_stability",
            stages=("watch", "recovery"),
            injector=injectors.workers_spared,
            expects="INCONCLUSIVE",
        ),
        Mutant(
            name="a watch that stops half-way",
            criterion="container_stability",
            stages=("watch", "recovery"),
            injector=injectors.watch_stopped,
            on_containers=True,
            expects="INCONCLUSIVE",
        ),
        Mutant(
            name="a node that restarts by itself",
            criterion="container_stability",
            stages=("watch",),
            injector=injectors.node_restarted,
            on_containers=True,
        ),
        Mutant(
            name="a fault without consent",
            criterion="container_stability",
            stages=("watch", "safety"),
            injector=guard_injectors.consent_ignored,
            on_containers=True,
        ),
        Mutant(
            name="a fault on a cluster that is not steady",
            criterion="container_stability",
            stages=("watch", "safety"),
            injector=guard_injectors.steady_state_ignored,
            on_containers=True,
        ),
        Mutant(
            name="a fault that is not undone at the end",
            criterion="container_stability",
            stages=("watch", "safety"),
            injector=guard_injectors.nothing_undone,
            on_containers=True,
        ),
    ),
)
