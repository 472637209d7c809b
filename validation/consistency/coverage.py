"""Rules on completeness: what each reading covers, and how often readings were taken."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Final

from evolution_gate.fixtures.protocols import SERVICES
from validation.consistency.rule import TOLERANCE_S, Rule, events, kinds, quote
from validation.evidence.identity import SIMULATED
from validation.evidence.log import Event, Evidence
from validation.evidence.queries import HEAD, OWN_STACKS
from validation.evidence.records import Services, Usage
from validation.evidence.records_monitoring import Job, Panel, Probe, Scrape, StartUp
from validation.evidence.records_network import Listener, RoundTrips, Search, Survey
from validation.evidence.records_target import NotRun
from validation.monitors.dashboards import ENGINE_PANELS, checked_in, is_of_engine

_SHARE: Final = 0.8
"""The monitor reads all parts in turn: each has as many readings as any other. One that fails is
written too, so that only the first and the last turn can be incomplete."""
_FASTEST_S: Final = 2e-6
"""No message passes two network stacks of a kernel, and back, in less."""
_FASTEST_ANSWER_S: Final = 2e-5
_FASTEST_JOB_S: Final = 1e-4
"""Ray sends no task to another process, and back, in less."""
_UNTIMED: Final = frozenset({"grafana"})
"""Probes whose answers were not timed by earlier versions."""
_MANY: Final = 10
_SOCKETS: Final = 2
"""A Ray node listens on more."""


def _turns(record: Evidence) -> Iterator[str]:
    """In each turn, the monitor reads every target, every node and the services; it asks the
    dashboard at least as often.
    """
    counts: dict[str, Counter[str]] = {
        "scrapes": Counter(scrape.target for _, scrape in events(record, Scrape)),
        "readings of memory": Counter(usage.node for _, usage in events(record, Usage)),
    }
    if services := len(record.all(Services)):
        counts["readings of services"] = Counter({"all": services})
    if asked := sum(probe.probe == "dashboard" for _, probe in events(record, Probe)):
        counts["questions"] = Counter({"the dashboard": asked})
    read = [
        number for what, count in counts.items() if what != "questions" for number in count.values()
    ]
    turns = max(read, default=0)
    for what, count in counts.items():
        for name, number in count.items():
            if number < _SHARE * turns - 2:
                yield f"{number} {what} of {name}, {turns} turns of the monitor"


def _ages(record: Evidence) -> Iterator[str]:
    """Samples are taken every few seconds, so their age differs from reading to reading."""
    if record.opening.backend == SIMULATED:
        return
    ages: defaultdict[str, list[float]] = defaultdict(list)
    for _, scrape in events(record, Scrape):
        if scrape.age_s is not None:
            ages[scrape.target].append(scrape.age_s)
    for target, found in ages.items():
        if len(found) >= _MANY and max(found) - min(found) < _FASTEST_S * 1000:
            yield f"{len(found)} samples of {target} were {max(found)} s old, all of them"


def _answers(record: Evidence) -> Iterator[str]:
    """An answer over a socket takes some time."""
    for event, probe in events(record, Probe):
        timed = probe.latency_s or probe.probe not in _UNTIMED
        if probe.ok and timed and probe.latency_s < _FASTEST_ANSWER_S:
            yield f"{quote(event, 'probe', 'latency_s')}: no server answers in that time"


def _jobs(record: Evidence) -> Iterator[str]:
    """A job was submitted to every declared node, and takes some time; starts are in order."""
    for event, job in events(record, Job):
        shown = quote(event, "right", "wrong", "missing", "seconds")
        named = [*job.right, *job.wrong, *job.missing]
        if len(named) != len(set(named)) or len(named) != record.opening.nodes:
            yield f"{shown}: {record.opening.nodes} nodes were declared"
        if job.right and job.seconds < _FASTEST_JOB_S:
            yield f"{shown}: no cluster answers in that time"
        if job.asked_at + job.seconds > event.at + TOLERANCE_S:
            yield f"{quote(event, 'asked_at', 'seconds')}: it ended after it was written"
    for event, start in events(record, StartUp):
        steady = event.at if start.steady_at is None else start.steady_at
        if not start.asked_at <= start.up_at <= steady <= event.at + TOLERANCE_S:
            yield f"{quote(event, 'asked_at', 'up_at', 'steady_at')}: not in this order"


def _services(record: Evidence) -> Iterator[str]:
    """Every part of a stack of the gate's own is looked at, in every reading."""
    if record.opening.backend not in OWN_STACKS or not record.all(Services):
        return
    absent = {probe.probe for _, probe in events(record, Probe) if not probe.ok}
    nodes = {usage.node for _, usage in events(record, Usage)} - {HEAD}
    wanted = {HEAD, *nodes, *(name for name in SERVICES if name not in absent)}
    for event, reading in events(record, Services):
        if missing := sorted(wanted - reading.incarnations.keys()):
            yield f"line {event.seq + 1} (services) says nothing of {', '.join(missing)}"
            return


def _sockets(record: Evidence) -> Iterator[str]:
    """A survey finds the sockets of every node and of every service."""
    surveys = list(events(record, Survey))
    if record.opening.backend not in OWN_STACKS or not surveys:
        return
    for event, survey in surveys:
        yield from _surveyed(record, event, survey)
    _, survey = surveys[0]
    for event, search in events(record, Search):
        if search.secrets < len(survey.credentials):
            yield (
                f"{quote(event, 'files', 'secrets')}: the stack has"
                f" {len(survey.credentials)} services with a secret"
            )


def _surveyed(record: Evidence, event: Event, survey: Survey) -> Iterator[str]:
    shown = quote(event, "processes", "listeners")
    found = [one for _, one in events(record, Listener) if one.at_work == survey.at_work]
    nodes = {usage.node for _, usage in events(record, Usage)} - {HEAD}
    networks = Counter(listener.network for listener in found)
    poor = sorted(node for node in nodes if networks[node] < _SOCKETS)
    if poor and not _share_a_network(record):
        yield f"{shown}: it found no sockets of {', '.join(poor)}"
    if len(found) < _SOCKETS * (record.opening.nodes + 1):
        yield f"{shown}: {record.opening.nodes} nodes and the head listen on more sockets"
    if survey.processes < record.opening.nodes + 1:
        yield f"{shown}: {record.opening.nodes} nodes and the head are more processes"


def _share_a_network(record: Evidence) -> bool:
    """Whether nodes have no network namespace of their own, as without root."""
    trips = [trip for _, trip in events(record, RoundTrips) if trip.via == "tcp"]
    return any(not trip.source_network for trip in trips)


def _round_trips(record: Evidence) -> Iterator[str]:
    """Messages take some time, not always the same, and nodes keep their networks."""
    networks: defaultdict[str, set[str]] = defaultdict(set)
    for event, trip in events(record, RoundTrips):
        shown = quote(event, "source", "target", "via")
        networked = bool(trip.source_network), bool(trip.target_network)
        if trip.seconds and (trip.detail or networked[0] != networked[1]):
            yield f"{shown}: there are none without two networks, or with {trip.detail[:40]!r}"
        if trip.seconds and min(trip.seconds) < _FASTEST_S:
            yield f"{shown}: a round trip of {min(trip.seconds):.1e} s"
        if len(trip.seconds) > 1 and min(trip.seconds) == max(trip.seconds):
            yield f"{shown}: all took exactly {trip.seconds[0]} s"
        if sum(trip.seconds) > event.at - record.opening.started_at + TOLERANCE_S:
            yield f"{shown}: they took longer than the run"
        for node, network in (
            (trip.source, trip.source_network),
            (trip.target, trip.target_network),
        ):
            if network:
                networks[node].add(network)
                if record.opening.backend in OWN_STACKS and not network.isdecimal():
                    yield f"{shown}: {network!r} is no identity of a network namespace"
    for node, found in networks.items():
        if len(found) > 1:
            yield f"{node} is in {len(found)} networks: {', '.join(sorted(found))}"
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for node, found in networks.items():
        for network in found:
            owners[network].add(node)
    for network, nodes in owners.items():
        if len(nodes) > 1:
            yield f"{', '.join(sorted(nodes))} are in the same network {network}"


@cache
def _shipped() -> frozenset[tuple[str, str, str]]:
    return frozenset((query.dashboard, query.panel, query.query) for query in checked_in())


def _panels(record: Evidence) -> Iterator[str]:
    """Every panel of every dashboard that is shipped was asked."""
    asked = list(events(record, Panel))
    if not asked:
        return
    event, _ = asked[0]
    shown = quote(event, "dashboard", "panel", "of")
    missing = _shipped() - {(panel.dashboard, panel.panel, panel.query) for _, panel in asked}
    if any(one.stage == ENGINE_PANELS for _, one in events(record, NotRun)):
        # Said, and then there is no PASS.
        missing = frozenset(key for key in missing if not is_of_engine(key[2]))
    if missing:
        first = " / ".join(min(missing)[:2])
        yield f"{shown}: {len(missing)} queries were not asked, the first is that of {first}"
    if {panel.of for _, panel in asked} != {len(asked)}:
        yield f"{shown}: the record holds {len(asked)} queries"


RULES: Final = (
    Rule(
        name="the monitor reads all parts in every turn",
        kinds=kinds(Scrape, Usage, Services),
        check=_turns,
    ),
    Rule(name="samples differ in age", kinds=kinds(Scrape), check=_ages),
    Rule(name="answers take time", kinds=kinds(Probe), check=_answers),
    Rule(name="jobs go to every node", kinds=kinds(Job, StartUp), check=_jobs),
    Rule(name="services are all looked at", kinds=kinds(Services), check=_services),
    Rule(
        name="a survey covers all nodes and services",
        kinds=kinds(Survey, Listener, Search),
        check=_sockets,
    ),
    Rule(name="round trips take time", kinds=kinds(RoundTrips), check=_round_trips),
    Rule(name="all shipped panels are asked", kinds=kinds(Panel), check=_panels),
)
