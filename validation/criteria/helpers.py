"""Helpers that several criteria share."""

from __future__ import annotations

from typing import Final

from validation.criteria.rollback import undisturbed, unlike
from validation.evidence.log import Evidence
from validation.evidence.queries import (
    used_cluster,
    workload_of,
    workloads,
)
from validation.evidence.records import (
    Workload,
)
from validation.evidence.records_ledger import Fallback, Generation
from validation.evidence.records_monitoring import Probe
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    format_list,
    plural,
)

DIGEST_LETTERS: Final = 12


def short(digest: str | None) -> str:
    """The first letters of a digest, for messages."""
    return "none" if digest is None else digest[:DIGEST_LETTERS]


FEWEST_PROBES: Final = 10


FEWEST: Final = 3
"""Fewest generations, pairs or workloads from which a mean is judged."""


def wall(workload: Workload) -> float:
    """A workload's time by the gate's clock, seconds."""
    return workload.finished_at - workload.started_at


def distributed(record: Evidence) -> list[Workload]:
    """Workloads that used the cluster to their end."""
    return [w for w in workloads(record).values() if used_cluster(w)]


def generations(record: Evidence) -> dict[str, dict[int, Generation]]:
    """Committed generations by workload and number."""
    known = workloads(record)
    found: dict[str, dict[int, Generation]] = {}
    for generation in record.all(Generation):
        name = generation.workload
        workload = workload_of(known, name, said_by="a generation")
        of = found.setdefault(name, {})
        if generation.generation in of:
            raise InconclusiveError(f"{name} has generation {generation.generation} twice")
        of[generation.generation] = generation
        if len(of) > workload.generations:
            raise InconclusiveError(f"{name} has more generations than were planned")
    return found


def local_generations(record: Evidence) -> dict[str, frozenset[int] | None]:
    """Generations of which this machine evaluated individuals, of each workload that used the
    cluster; ``None`` where that is not known.
    """
    known = {fallback.workload: fallback for fallback in record.all(Fallback)}
    found: dict[str, frozenset[int] | None] = {}
    for workload in distributed(record):
        fallback = known.get(workload.id)
        if fallback is None or fallback.generations is None:
            found[workload.id] = None
        else:
            found[workload.id] = frozenset(fallback.generations)
    return found


def unknown_place(workload: Workload) -> str:
    """Say that the record does not tell where a workload's generations were evaluated."""
    return f"{workload.id}: it is not known which generations the cluster did"


def refusals(records: Records, service: str) -> list[str]:
    """Why a service is absent, as the stack reported it."""
    return [
        probe.detail
        for record in records
        for probe in record.all(Probe)
        if probe.probe == service and not probe.ok
    ]


def history(record: Evidence, workload: Workload) -> tuple[list[str], list[str]]:
    """Findings and doubts about the history of a disturbed run."""
    if found := unlike(record, workload):
        return [f"{workload.id}: {what}" for what in found], []
    equals = undisturbed(workloads(record), workload)
    if not equals:
        return [], [f"{workload.id} has no undisturbed run to compare with"]
    if any(one.digest != workload.digest for one in equals):
        return [f"{workload.id}: its history differs from that of {equals[0].id}"], []
    return [], []


def failed(wrong: list[str]) -> Verdict:
    """FAIL with a list of findings."""
    return Verdict(
        status=Status.FAIL, measured=plural(len(wrong), "finding"), reason=format_list(wrong)
    )
