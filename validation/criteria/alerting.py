"""An injected fault fires its alert, and the alert clears."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from validation.contract import (
    CLOCK,
    HARNESS_CPU,
    PROMETHEUS,
    RECEIPTS,
    SCRAPE_GAPS,
    Criterion,
    CriterionPlugin,
    Mutant,
)
from validation.criteria.helpers import refusals
from validation.evidence.log import Evidence
from validation.evidence.queries import HEAD, is_excused
from validation.evidence.records import Fault
from validation.evidence.records_monitoring import (
    AlertWatch,
    Notification,
)
from validation.limits import CLEARS, FIRES, HEAD_LOST, NODE_LOST
from validation.mutation import injectors
from validation.mutation.patches import patch
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    downgrade,
    format_list,
    plural,
)

_LOSSES: Final = (NODE_LOST, HEAD_LOST)
"""Alerts that only an injected fault may fire."""


ALERT_RULES: Final = 15
"""Alert rules that are deployed; a test counts them."""


_MATCH_S: Final = 5.0
"""How far the start of a watch may lie from the receipt of its fault."""


def alerting(records: Records) -> Verdict:
    """The alert of a lost node reaches the webhook in 60 s, and clears in 60 s once it is back.

    The same holds for other alerts that the gate provoked, but they need not clear. A watch counts
    if the receipts of its fault and of the undo are confirmed and the alert did not fire before.
    FAIL: an alert came late or never, or it cleared late, never or while the node was still down,
    or an alert reported the loss of a node that no receipt shows down.
    """
    times: list[tuple[str, float, float | None]] = []
    misses: list[str] = []
    problems: list[str] = []
    for record in records:
        notes = sorted(record.all(Notification), key=lambda note: note.received_at)
        watches = record.all(AlertWatch)
        for watch in watches:
            _watched(record, watch, notes, times, misses, problems)
        for note in notes:
            if note.firing and note.alert in _LOSSES:
                _explained(record, note, misses, problems)
    if misses:
        return Verdict(
            status=Status.FAIL,
            measured=plural(len(misses), "miss", "misses"),
            reason=format_list(misses),
        )
    needs = "a node killed and started again, with receipts, and the alerts in between"
    cleared = [after for _, _, after in times if after is not None]
    if not cleared:
        raise InconclusiveError(
            format_list(problems or refusals(records, "alertmanager") or ["no alert was watched"]),
            needs=needs,
        )
    names = sorted({name for name, _, _ in times})
    verdict = Verdict(
        status=Status.PASS,
        measured=f"fired after {max(fired for _, fired, _ in times):.1f} s, "
        f"cleared after {max(cleared):.1f} s",
        reason=f"{plural(len(times), 'watched alert')}, no false alarm; provoked on the stack: "
        f"{', '.join(names)} ({len(names)} of {ALERT_RULES} rules), with production's rules and "
        "times; the other rules are tested by promtool only",
    )
    return downgrade(verdict, problems, needs=needs)


def _explained(
    record: Evidence, note: Notification, misses: list[str], problems: list[str]
) -> None:
    """Find the fault behind an alert of a lost node; without one it is a false alarm."""
    target = note.target or HEAD
    watches = record.all(AlertWatch)
    # Before the first watch the stack was starting, and its nodes were not up yet.
    early = not any(note.received_at >= watch.fault_at for watch in watches)
    # Alerts during a watch are judged with that watch.
    own = any(
        w.alert == note.alert and w.target == target and w.fault_at <= note.received_at <= w.until
        for w in watches
    )
    if early or own or is_excused(record, (target,), note.received_at):
        return
    words = f"{note.alert} fired for {target}, which no receipt shows down"
    doubtful = any(f.target == target and not f.confirmed for f in record.all(Fault))
    (problems if doubtful else misses).append(words)


def _watched(
    record: Evidence,
    watch: AlertWatch,
    notes: Sequence[Notification],
    times: list[tuple[str, float, float | None]],
    misses: list[str],
    problems: list[str],
) -> None:
    """Judge one watch and append its findings to the lists."""
    name = f"{watch.alert} of {watch.target}"
    faults = [f for f in record.all(Fault) if f.target == watch.target and f.confirmed]
    fault = next(
        (
            f
            for f in faults
            if f.fault == watch.fault and abs(f.requested_at - watch.fault_at) <= _MATCH_S
        ),
        None,
    )
    if fault is None:
        problems.append(f"{name}: no receipt of the {watch.fault}")
        return
    back = next(
        (f for f in faults if f.fault == "start" and f.requested_at >= fault.confirmed_at), None
    )
    if watch.clears and back is None:
        problems.append(f"{name}: no receipt that the node came back")
        return
    said = [n for n in notes if n.alert == watch.alert and (n.target or HEAD) == watch.target]
    before = [n for n in said if n.received_at < fault.requested_at]
    if before and before[-1].firing:
        problems.append(f"{name} was firing before the fault")
        return
    held = back.requested_at if watch.clears and back is not None else math.inf
    fired = next((n for n in said if n.firing and n.received_at >= fault.requested_at), None)
    if fired is None or fired.received_at >= held:
        waited = min(held, watch.until) - fault.requested_at
        words = f"{name} did not fire within {waited:.0f} s of the {watch.fault}"
        (misses if waited >= FIRES.value else problems).append(words)
        return
    took = fired.received_at - fault.requested_at
    if not took <= FIRES.value:
        misses.append(f"{name} fired after {took:.0f} s")
    elif back is None or not watch.clears:
        times.append((watch.alert, took, None))
    else:
        _cleared(watch, fired, back, said, took, times, misses, problems)


def _cleared(
    watch: AlertWatch,
    fired: Notification,
    back: Fault,
    said: Sequence[Notification],
    took: float,
    times: list[tuple[str, float, float | None]],
    misses: list[str],
    problems: list[str],
) -> None:
    """Judge how an alert that fired in time ended."""
    name = f"{watch.alert} of {watch.target}"
    cleared = next((n for n in said if not n.firing and n.received_at >= fired.received_at), None)
    if cleared is None:
        waited = watch.until - back.confirmed_at
        words = f"{name} did not clear within {waited:.0f} s of the node's return"
        (misses if waited >= CLEARS.value else problems).append(words)
        return
    if cleared.received_at < back.requested_at:
        misses.append(f"{name} cleared while the node was down")
        return
    after = cleared.received_at - back.confirmed_at
    if not after <= CLEARS.value:
        misses.append(f"{name} cleared {after:.0f} s after the node's return")
    else:
        # An alert may clear in the moment between the node's start and its receipt.
        times.append((watch.alert, took, max(0.0, after)))


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="alerting",
            statement="An injected fault fires its alert, and the alert clears",
            target="fires within 60 s of a node's kill, clears within 60 s of its return",
            clause='Day 5-6: "Configure alerting for cluster health and performance"',
            evidence_needed="what Alertmanager sent before, during and after a kill with a receipt",
            passes=(
                "the alert for a killed node (with a receipt of the kill) reaches the webhook "
                "through Prometheus and Alertmanager in 60 s, and clears within 60 s of its "
                "return; the alerts for the restarted node, for the killed head, for a worker "
                "process, the database and the cache that are killed while an evolution runs reach "
                "it in 60 s, too, if they were watched (a node of a deployed target is cut off, "
                "and its services are stopped: what is killed is replaced before its alert is due)"
            ),
            fails="an alert came late, never, or for a node that no receipt shows down",
            measures=(
                "seconds from the request of the kill (for NodeRestarted: of the start) until the "
                "webhook has the alert, and from the receipt of the start until it has the news "
                "that NodeLost is over; rules, routes and intervals are those of production, "
                "unchanged"
            ),
            clock="the gate's: its requests, and its webhook's time of arrival",
            limits=(
                "the rules that were not provoked, which the reason counts: a test changes each "
                "threshold, wait, label and operator of every rule, and promtool's unit tests of "
                "the rules must notice; an engine is scraped every second here, every five in "
                "production"
            ),
            verdict=alerting,
            trusts=(
                HARNESS_CPU,
                CLOCK,
                SCRAPE_GAPS,
                PROMETHEUS,
                RECEIPTS,
            ),
            timed=True,
            position=160,
            thresholds=(FIRES, CLEARS),
        ),
    ),
    mutants=(
        Mutant(
            name="an alert that waits too long",
            criterion="alerting",
            stages=("alert",),
            patches=patch(
                "deploy/prometheus/alerts.yml",
                '!~"head-.+"} == 1\n        for: 15s\n        labels: {severity: warning}',
                '!~"head-.+"} == 1\n        for: 90s\n        labels: {severity: warning}',
            ),
            injector=injectors.rules_read_again,
        ),
        Mutant(
            name="an alert that looks at another service",
            criterion="alerting",
            stages=("alerts at work",),
            patches=patch(
                "deploy/prometheus/alerts.yml",
                'ga_reachable{service="cache"} == 0',
                'ga_reachable{service="redis"} == 0',
            ),
            injector=injectors.rules_read_again,
        ),
        Mutant(
            name="no alerts",
            criterion="alerting",
            stages=("alert",),
            injector=injectors.alerts_stopped,
        ),
    ),
)
