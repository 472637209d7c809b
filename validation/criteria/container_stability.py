"""Nothing restarts or ends that was not made to."""

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
from validation.mutation import injectors
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


SPAN_S: Final = 30.0


CERTAIN_S: Final = 25.0
"""Between readings further apart a fault of ours may have begun and be forgotten again."""


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
    """No service is down or started anew without a receipt that says we did it.

    Every new incarnation of a service needs a receipt of a start at that time, and each receipt
    explains one. A service that is down needs a confirmed receipt of a fault. What the gate says it
    did itself and has no receipt for is neither: it leaves the verdict open. So does an incarnation
    that changed between readings more than 25 s apart. Of containers the engine's own events count
    too: an end that no receipt excuses is unexpected, whatever the readings missed.
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
            format_list(found.problems or ["no service was looked at"]),
            needs=f"{FEWEST_READINGS} readings of every service over {SPAN_S:.0f} s",
        )
    verdict = Verdict(
        status=Status.PASS,
        measured="0 unexpected restarts",
        interval=interval,
        reason=f"{plural(len(found.services), 'service')} watched, and "
        f"{plural(found.ours, 'start')} by receipt",
        budget=budget,
    )
    return downgrade(
        verdict,
        sorted(set(found.problems)),
        needs="readings of every service all through the work, and a receipt of each fault",
    )


def _judge(record: Evidence, found: _Found) -> None:
    readings = sorted(record.all(Services), key=lambda reading: reading.at)
    if not readings:
        found.problems.append(f"run {record.run}: no service was looked at")
        return
    unwatched = longest_gap(
        record, [reading.at for reading in readings], "the readings of services"
    )
    found.problems += [unwatched] if unwatched else []
    names = {name for reading in readings for name in reading.incarnations}
    if HEAD not in names or len(names) <= record.opening.nodes:
        found.problems.append(f"run {record.run}: not every service was looked at")
    for name in sorted(names):
        own = [reading for reading in readings if name in reading.incarnations]
        length = own[-1].at - own[0].at
        if len(own) < FEWEST_READINGS or length < SPAN_S:
            found.problems.append(f"{name} was looked at {len(own)} times in {length:.0f} s")
        if length:
            found.lengths.append(length)
        found.services.add(name)
        _follow(record, name, own, found)
    _engine_s_word(record, found)


def _engine_s_word(record: Evidence, found: _Found) -> None:
    """What the engine told of ends that lie between two readings."""
    for died in record.all(ContainerExit):
        if is_excused(record, (died.service,), died.at):
            continue
        if not any(what.startswith(f"{died.service} ") for what in found.unexpected):
            moment = span(max(died.at - record.opening.started_at, 0.0))
            found.unexpected.append(
                f"{died.service} ended with status {died.exit_code} {moment} after the run's begin,"
                " by the engine's word"
            )


def _follow(record: Evidence, name: str, readings: Sequence[Services], found: _Found) -> None:
    """One service through its readings."""
    starts = [f for f in record.all(Fault) if f.target == name and f.fault == "start"]
    begun = record.opening.started_at
    first = readings[0]
    known = first.incarnations[name]
    if known is None and not is_excused(record, (name,), first.at):
        _open(found, f"{name} was down from the first reading on", name, first, near=True)
    for before, after in pairwise(readings):
        now, near = after.incarnations[name], after.at - before.at <= CERTAIN_S
        moment = f"{span(max(after.at - begun, 0.0))} after the run's begin"
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
                _open(found, f"{name} was started anew {moment}", name, after, near=near)
        known = known if now is None else now


def _open(found: _Found, what: str, name: str, reading: Services, *, near: bool) -> None:
    """Unexpected, or unproven where the gate says that it did it, or did not look for long."""
    if name in reading.excused:
        found.problems.append(f"{what}, excused by a fault without a receipt")
    elif near:
        found.unexpected.append(what)
    else:
        found.problems.append(f"{what}, and nobody looked at the time")


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="container_stability",
            statement="Nothing restarts or ends that was not made to",
            target="0 unexpected restarts",
            unit="a day and service",
            clause=f'{METRICS}: "docker_container_stability ... No unexpected restarts"',
            evidence_needed="10 readings over 30 s of which incarnation of every service runs, all "
            "through "
            "the work, and a receipt for each that changed",
            passes=(
                "every restart of a service has a receipt, and so has every end of a container "
                "that the engine reported"
            ),
            fails="one has none",
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
    ),
)
