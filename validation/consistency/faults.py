"""Rules on faults: what a receipt shows, and what others saw of the same fault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from validation.consistency.rule import TOLERANCE_S, Rule, events, kinds, quote
from validation.evidence.log import Event, Evidence
from validation.evidence.queries import ATTACHED
from validation.evidence.records import Fault, Invocation, Recovery, Services, Workload
from validation.evidence.records_network import Drain

_IDENTITY: Final = ("pid", "start_time", "node_id", "id", "started_at")
"""Facts of which at least one differs in a process or container that was started again."""
_EFFECTS: Final = frozenset({"kill", "start", "pause", "partition", "drain"})
"""Faults that change what is observed. The undo of a pause or a partition need not: the node may
have ended meanwhile."""
_COUNTS: Final = {"pid": 2**22, "processes": 2**22}
"""Facts that are counts, and the most that Linux has."""
_LEAST_NOTICE_S: Final = 1.0
_LOOK_S: Final = 0.1
"""The gate looks for the loss only after the kill was confirmed; both are read by one thread."""
_LATE_S: Final = 60.0
"""A node whose notice has ended is killed at once; on a busy machine, later."""


def _effects(record: Evidence) -> Iterator[str]:
    """The facts before and after a confirmed fault show that it happened."""
    if record.opening.backend == ATTACHED:
        return
    for event, fault in events(record, Fault):
        if fault.confirmed and (why := _no_effect(fault)):
            yield f"{quote(event, 'fault', 'target')} is confirmed, but {why}"


def _no_effect(fault: Fault) -> str:
    before, after = fault.before, fault.after
    if not after:
        return "it shows no facts"
    if fault.fault == "start" and "already running" in fault.detail:
        return ""
    if fault.fault in _EFFECTS and dict(before) == dict(after):
        return "nothing differs afterwards"
    if fault.fault == "kill":
        left = after.get("processes")
        if isinstance(left, int) and left > 0:
            return f"{left} processes were left"
        if after.get("running") is True or after.get("alive") is True:
            return "its process still ran"
    if fault.fault == "start" and _same_process(before, after):
        return "the process afterwards is the one from before"
    if fault.fault == "start" and after.get("running") is False:
        return "its process does not run"
    if fault.fault == "kill" and before.get("processes") == 0:
        return "there was no process before"
    return next((why for facts in (before, after) if (why := _impossible(facts))), "")


def _impossible(facts: Mapping[str, object]) -> str:
    """What no kernel says of a process; empty if there is nothing."""
    for name, most in _COUNTS.items():
        value = facts.get(name)
        if isinstance(value, int | float) and not 0 <= value <= most:
            return f"{name} is {value}"
    return ""


def _lives(record: Evidence) -> Iterator[str]:
    """A node that was started is the process that is killed next, and receipts show the same
    facts before and after.
    """
    if record.opening.backend == ATTACHED:
        return
    nodes = {recovery.target for _, recovery in events(record, Recovery)}
    nodes |= {drain.target for _, drain in events(record, Drain)}
    last: dict[str, Fault] = {}
    for event, fault in sorted(events(record, Fault), key=lambda pair: pair[1].requested_at):
        before, last[fault.target] = last.get(fault.target), fault
        if not fault.confirmed or fault.fault not in ("kill", "start"):
            continue
        shown = quote(event, "fault", "target")
        if fault.target in nodes and fault.before.keys() != fault.after.keys():
            yield f"{shown}: other facts afterwards than before"
        if fault.fault != "kill" or before is None or before.fault != "start":
            continue
        if before.confirmed and _another_process(before.after, fault.before):
            yield f"{shown}: the process is not the one that was started"


def _another_process(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    return any(
        one[name] != other[name]
        for name in _IDENTITY
        if one.get(name) is not None and other.get(name) is not None
    )


def _same_process(before: Mapping[str, object], after: Mapping[str, object]) -> bool:
    known = [name for name in _IDENTITY if name in before and name in after]
    return bool(known) and all(before[name] == after[name] for name in known)


def _seen_by_others(record: Evidence) -> Iterator[str]:
    """The monitor's readings agree with receipts: gone after a kill, another one after a start."""
    readings = [reading for _, reading in events(record, Services)]
    faults = sorted(events(record, Fault), key=lambda pair: pair[1].requested_at)
    for place, (event, fault) in enumerate(faults):
        if not fault.confirmed or fault.fault not in ("kill", "start"):
            continue
        later = [
            other.requested_at for _, other in faults[place + 1 :] if other.target == fault.target
        ]
        until = min(later, default=float("inf"))
        after = [
            reading.incarnations[fault.target]
            for reading in readings
            if fault.confirmed_at + TOLERANCE_S < reading.at < until
            and fault.target in reading.incarnations
        ]
        before = [
            reading.incarnations[fault.target]
            for reading in readings
            if reading.at < fault.requested_at and fault.target in reading.incarnations
        ]
        if not after or not before:
            continue
        shown = quote(event, "fault", "target", "confirmed_at")
        if fault.fault == "kill" and after[0] is not None and after[0] == before[-1]:
            yield f"{shown}: the monitor saw the same process afterwards"
        past = [seen for seen in before if seen is not None]
        if fault.fault == "start" and past and after[0] == past[-1] and before[-1] is None:
            yield f"{shown}: the monitor saw the process from before it was killed"


def _recoveries(record: Evidence) -> Iterator[str]:
    """A recovery begins with the kill of a receipt, and ends no sooner than the node is back."""
    faults = [fault for _, fault in events(record, Fault)]
    for event, recovery in events(record, Recovery):
        shown = quote(event, "workload", "target", "fault_at", "node_back_s")
        kill = next(
            (
                fault
                for fault in faults
                if fault.fault == "kill"
                and fault.target == recovery.target
                and fault.workload == recovery.workload
                and abs(fault.requested_at - recovery.fault_at) <= TOLERANCE_S
            ),
            None,
        )
        if kill is None:
            yield f"{shown}: no receipt of its kill"
            continue
        detected = recovery.detected_s
        gone = kill.confirmed_at - kill.requested_at - _LOOK_S
        if kill.confirmed and detected is not None and detected < gone:
            yield f"{shown}: noticed after {detected:.2f} s, before its kill was confirmed"
        back = min(
            (
                fault.confirmed_at
                for fault in faults
                if fault.fault == "start"
                and fault.target == recovery.target
                and fault.confirmed
                and fault.requested_at >= kill.requested_at
            ),
            default=None,
        )
        ended = recovery.node_back_s
        if back is not None and ended is not None and recovery.fault_at + ended < back - 1:
            yield f"{shown}: its start took until {back - recovery.fault_at:.1f} s"
        for name, seconds in recovery.phases.items():
            if seconds is not None and seconds > recovery.window_s + TOLERANCE_S:
                window = f"watched for {recovery.window_s:.0f} s"
                yield f"{shown}: {name} after {seconds:.1f} s, {window}"


def _drains(record: Evidence) -> Iterator[str]:
    """A drained node is killed when its notice has ended."""
    faults = [fault for _, fault in events(record, Fault)]
    for event, drain in events(record, Drain):
        shown = quote(event, "target", "requested_at", "deadline_s")
        own = [fault for fault in faults if fault.target == drain.target]
        if drain.deadline_s < _LEAST_NOTICE_S:
            yield f"{shown}: a notice is longer"
        receipts = [
            fault
            for fault in own
            if fault.fault == "drain"
            and abs(fault.requested_at - drain.requested_at) <= TOLERANCE_S
        ]
        if not receipts:
            yield f"{shown}: no receipt of it"
        if any(fault.confirmed != (drain.accepted and drain.confirmed) for fault in receipts):
            yield f"{shown}: its receipt says another thing about its confirmation"
        kills = [
            fault.requested_at - drain.requested_at
            for fault in own
            if fault.fault == "kill" and fault.requested_at >= drain.requested_at
        ]
        early = drain.deadline_s - TOLERANCE_S
        if kills and not early <= min(kills) <= drain.deadline_s + _LATE_S:
            yield f"{shown}: the node was killed {min(kills):.1f} s after it was requested"


def _workloads(record: Evidence) -> Iterator[str]:
    known = {work.id for _, work in events(record, Workload)}
    known |= {invocation.workload for _, invocation in events(record, Invocation)}
    # The workload of a fault may be one of a custom criterion, which has no record of that kind.
    linked: list[tuple[Event, str | None]] = [
        *((event, recovery.workload) for event, recovery in events(record, Recovery)),
        *((event, drain.workload) for event, drain in events(record, Drain)),
    ]
    for event, name in linked:
        if name is not None and name not in known:
            yield f"{quote(event, 'target', 'workload')}: there is no such workload"


RULES: Final = (
    Rule(
        name="a confirmed fault had an effect",
        kinds=kinds(Fault, Recovery, Drain),
        check=_effects,
    ),
    Rule(
        name="receipts of one node follow each other",
        kinds=kinds(Fault, Recovery, Drain),
        check=_lives,
    ),
    Rule(
        name="the monitor saw what receipts say",
        kinds=kinds(Fault, Services),
        check=_seen_by_others,
    ),
    Rule(name="a recovery lasts until its node is back", kinds=kinds(Recovery), check=_recoveries),
    Rule(name="a notice lasts until the node is killed", kinds=kinds(Drain), check=_drains),
    Rule(
        name="recoveries and drains refer to known workloads",
        kinds=kinds(Recovery, Drain),
        check=_workloads,
    ),
)
