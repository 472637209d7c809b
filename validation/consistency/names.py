"""Rules on names: each refers to a part, a workload or a form that the run declares."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from functools import partial
from typing import Final

from validation.consistency.rule import Rule, events, kinds, quote
from validation.evidence.base import Record
from validation.evidence.identity import SIMULATED
from validation.evidence.log import Event, Evidence
from validation.evidence.queries import ATTACHED, DEPLOYED, HEAD, OWN_STACKS
from validation.evidence.records import (
    RECORDS,
    Environment,
    Fault,
    Invocation,
    Recovery,
    Services,
    Usage,
    Workload,
)
from validation.evidence.records_ledger import Audit, LedgerCopy, NodeCheck, Restore
from validation.evidence.records_monitoring import AlertWatch, Job, Panel, Scrape
from validation.evidence.records_network import Drain, Listener, RoundTrips
from validation.evidence.records_price import NodePrice
from validation.monitors.panel_expectations import EXPECTATIONS

_BACKENDS: Final = OWN_STACKS | DEPLOYED.keys() | {ATTACHED, SIMULATED}
_NETWORKS: Final = frozenset({"host", "of its own"})
"""Networks of sockets that are no node's."""
_ADDRESS: Final = re.compile(r"(?:\[[0-9a-fA-F:.%\w]*\]|[\w.:*-]+):\d{1,5}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_CHECK: Final = re.compile(r"[0-9a-f]{16}|")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?: with changes)?|unknown \([\w ]+\)")
_VERSION: Final = re.compile(r"\d+\.\d+[\w.+-]*")
_TOKEN: Final = re.compile(r"[A-Za-z][\w.-]+")
_LINK: Final = re.compile(r"https?://\S{4,}(?: \S.*)?")
_DATABASES: Final = frozenset({"sqlite", "postgresql"})
_CORE_TABLES: Final = frozenset(
    {"runs", "generations", "individuals", "evaluations", "attempts", "strategies"}
)
"""Tables that every version of the ledger has."""
_LOCAL: Final = "local"
_NAMING: Final[tuple[type[Record], ...]] = (
    *(Fault, Recovery, Drain, AlertWatch, Scrape),
    *(Job, RoundTrips, Listener, Services),
)
_OF_PARTS: Final = frozenset({"kill", "start", "pause", "resume", "partition", "heal", "drain"})
_UNRELATED: Final = frozenset({"fault", "phases", "memory_error"})
"""Kinds whose workload may be one of a custom criterion, which has no record of its own."""
_WITH_WORKLOAD: Final[tuple[type[Record], ...]] = tuple(
    cls
    for kind, cls in RECORDS.items()
    if kind not in _UNRELATED and any(f.name == "workload" for f in dataclasses.fields(cls))
)


def _stack(record: Evidence) -> Iterator[str]:
    """The run is of a kind of stack that there is, with nodes and a quota."""
    opening = record.opening
    if opening.backend not in _BACKENDS:
        yield f"line 1 (open): {opening.backend!r} is no kind of stack"
    if opening.backend in OWN_STACKS and not (opening.nodes and opening.cpus_per_node):
        yield (
            f"line 1 (open): a stack of {opening.nodes} nodes with {opening.cpus_per_node} cores"
            " each"
        )
    if opening.backend not in OWN_STACKS:
        return
    for event, environment in events(record, Environment):
        for name, form in (("commit", _COMMIT), ("python", _VERSION), ("ray", _VERSION)):
            text = str(environment.values.get(name, "not installed"))
            if not form.fullmatch(text) and text != "not installed":
                yield f"{quote(event, name)}: no {'commit' if name == 'commit' else 'version'}"
        if not environment.values.get("cpu", "?"):
            yield f"{quote(event, 'cpu')}: it names no processor"


def _known(record: Evidence) -> frozenset[str]:
    """Every part of the stack that the monitor read."""
    read = {usage.node for _, usage in events(record, Usage)}
    for _, reading in events(record, Services):
        read |= reading.incarnations.keys()
    return frozenset(read)


def _names(event: Event) -> Iterator[str]:
    """The parts of the stack that a record names."""
    record = event.record
    if isinstance(record, Fault):
        # Others are of a link, a process or a disk.
        if record.fault in _OF_PARTS:
            yield record.target
    elif isinstance(record, Recovery | Drain | AlertWatch | Scrape):
        yield record.target
    elif isinstance(record, Job):
        yield from (*record.right, *record.wrong, *record.missing)
    elif isinstance(record, RoundTrips):
        yield from (record.source, record.target)
    elif isinstance(record, Listener) and record.network not in _NETWORKS:
        yield record.network
    elif isinstance(record, Services):
        yield from record.excused


def _parts(record: Evidence, kind: type[Record]) -> Iterator[str]:
    """Every node and service that a record names was read by the monitor."""
    known = _known(record)
    if record.opening.backend not in OWN_STACKS or not known:
        return
    for event in record.of(kind.KIND):
        for name in _names(event):
            # The head has several targets: head-dashboard, head-autoscaler.
            if name not in known and not name.startswith(f"{HEAD}-"):
                yield f"line {event.seq + 1} ({event.kind}): the stack has no part {name[:40]!r}"


def _workloads(record: Evidence, kind: type[Record]) -> Iterator[str]:
    """A workload that a record names was announced."""
    known = {work.id for _, work in events(record, Workload)}
    known |= {invocation.workload for _, invocation in events(record, Invocation)}
    if not known:
        return
    for event in record.of(kind.KIND):
        if event.data["workload"] not in known:
            yield f"{quote(event, 'workload')}: there is no such workload"


def _plans(record: Evidence) -> Iterator[str]:
    """Equal histories are of equal plans."""
    first: dict[str, tuple[Event, tuple[object, ...]]] = {}
    for event, work in events(record, Workload):
        if work.digest is None:
            continue
        plan = (work.market, work.seed, work.population_size, work.generations)
        other, theirs = first.setdefault(work.digest, (event, plan))
        if theirs != plan:
            yield (
                f"{quote(event, 'id', 'market', 'population_size', 'generations')}: the same"
                f" history as line {other.seq + 1}, which had another plan"
            )


def _contents(record: Evidence) -> Iterator[str]:
    """Equal contents of the ledger are of equal histories."""
    histories: dict[str, str | None] = {}
    for event, audit in events(record, Audit):
        if audit.content is None:
            continue
        if histories.setdefault(audit.content, audit.digest) != audit.digest:
            yield f"{quote(event, 'workload', 'content')}: that of another history"


def _histories(record: Evidence) -> Iterator[str]:
    """Digests of histories are SHA-256."""
    for event, work in events(record, Workload):
        if work.digest is not None and not _DIGEST.fullmatch(work.digest):
            yield f"{quote(event, 'id', 'digest')}: no digest"
        if not work.market:
            yield f"{quote(event, 'id', 'market')}: no market"
        shown = quote(event, "id", "exit_code", "error")
        if work.exit_code and work.error is None:
            yield f"{shown}: it failed without an error"
        if work.exit_code == 0 and (work.error is None) != (work.digest is not None):
            yield f"{shown}: it ended well, and said its digest or why there is none"


def _audits(record: Evidence) -> Iterator[str]:
    for event, audit in events(record, Audit):
        for name in ("digest", "recomputed_digest", "content"):
            text = getattr(audit, name)
            if text is not None and not _DIGEST.fullmatch(text):
                yield f"{quote(event, 'workload', name)}: no digest"
        if audit.sample_seed is not None and not audit.sample_seed.isdecimal():
            yield f"{quote(event, 'workload', 'sample_seed')}: no number"


def _checks(record: Evidence) -> Iterator[str]:
    """A check of numerics is that of an address, and local workloads have one of this machine."""
    arms = {work.id: work.arm for _, work in events(record, Workload)}
    parts = _known(record)
    for event, check in events(record, NodeCheck):
        if not _CHECK.fullmatch(check.digest):
            yield f"{quote(event, 'node', 'digest')}: no digest of a numerics check"
        if not re.fullmatch(r"[\w.:-]+", check.node) or check.node in parts:
            yield f"{quote(event, 'node')}: no address"
        if arms.get(check.workload) == "local" and check.node != _LOCAL:
            yield f"{quote(event, 'workload', 'node')}: a local workload has no nodes"


def _addresses(record: Evidence) -> Iterator[str]:
    for event, listener in events(record, Listener):
        if not _ADDRESS.fullmatch(listener.address):
            yield f"{quote(event, 'network', 'address')}: no address"


def _copies(record: Evidence) -> Iterator[str]:
    """A ledger is in one of two databases, and its copy has its tables."""
    for event, copy in events(record, LedgerCopy):
        shown = quote(event, "moment", "source", "copy")
        if not {copy.source, copy.copy} <= _DATABASES:
            yield f"{shown}: no such database"
        if missing := sorted(_CORE_TABLES - copy.rows.keys()):
            yield f"{shown}: a ledger has the table {missing[0]}, too"
    rows = [copy.rows for _, copy in events(record, LedgerCopy) if copy.moment == "every table"]
    if any(one != rows[0] for one in rows):
        yield "copies of one ledger with rows in every table differ in their number of rows"
    for event, restore in events(record, Restore):
        for name in ("digest_before", "digest_after"):
            text = getattr(restore, name)
            if text is not None and not _DIGEST.fullmatch(text):
                yield f"{quote(event, 'workload', name)}: no digest"


def _panels(record: Evidence) -> Iterator[str]:
    """What a panel must show is asked as the gate's own list says."""
    numbers: dict[tuple[str, str], int] = {}
    for event, panel in events(record, Panel):
        place = panel.dashboard, panel.panel
        number = numbers.get(place, 0)
        numbers[place] = number + 1
        if panel.points and panel.detail:
            yield f"{quote(event, 'dashboard', 'panel', 'detail')}: it has an answer"
        if panel.expected_mean is None or number >= len(EXPECTATIONS.get(place, ())):
            continue
        wanted = EXPECTATIONS[place][number]
        shown = quote(event, "dashboard", "panel", "tolerance", "expected_unit", "own")
        if (panel.tolerance, panel.expected_unit) != (wanted.tolerance, wanted.unit):
            yield f"{shown}: the gate compares with {wanted.tolerance} and {wanted.unit!r}"
        if panel.own is not None and wanted.own is None:
            yield f"{shown}: the gate does not count it"


def _sources(record: Evidence) -> Iterator[str]:
    """A price is that of a named machine, region and page."""
    for event, price in events(record, NodePrice):
        for name, form in (("instance", _TOKEN), ("region", _TOKEN), ("source", _LINK)):
            if not form.fullmatch(getattr(price, name)):
                yield f"{quote(event, name)}: no {name} of a price list"


RULES: Final = (
    Rule(name="a run names its stack and versions", kinds=frozenset(), check=_stack),
    *(
        Rule(
            name="parts that are named were read",
            kinds=kinds(kind),
            check=partial(_parts, kind=kind),
        )
        for kind in _NAMING
    ),
    *(
        Rule(
            name="workloads that are named exist",
            kinds=kinds(kind),
            check=partial(_workloads, kind=kind),
        )
        for kind in _WITH_WORKLOAD
    ),
    Rule(name="equal histories have equal plans", kinds=kinds(Workload), check=_plans),
    Rule(name="equal contents are of equal histories", kinds=kinds(Audit), check=_contents),
    Rule(name="histories have digests", kinds=kinds(Workload), check=_histories),
    Rule(name="audits have digests", kinds=kinds(Audit), check=_audits),
    Rule(name="numerics are checked on nodes", kinds=kinds(NodeCheck), check=_checks),
    Rule(name="sockets have addresses", kinds=kinds(Listener), check=_addresses),
    Rule(name="a copy is that of a ledger", kinds=kinds(LedgerCopy, Restore), check=_copies),
    Rule(name="panels are compared as listed", kinds=kinds(Panel), check=_panels),
    Rule(name="prices have a source", kinds=kinds(NodePrice), check=_sources),
)
