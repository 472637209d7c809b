"""Operation history: invocations, completions, faults, and the fate of each individual.

A workload is an operation: its ``invocation`` is written when its process starts, its ``workload``
when that has ended. An operation without its end has an unknown outcome. Everything
here is a pure function of the record.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from validation.evidence.log import Evidence
from validation.evidence.queries import workload_of, workloads
from validation.evidence.records import Fault, Gap, Invocation, Workload
from validation.evidence.records_ledger import Audit, Individuals
from validation.verdict import InconclusiveError

MOST_WITNESSES: Final = 5
MOST_PLACES: Final = 1_000_000
"""Individuals of one generation, and generations of one workload: more are not judged. Otherwise
one changed number could fill the memory."""
_RANGE: Final = re.compile("[0-9]{1,9}(-[0-9]{1,9})?")


class Fate(StrEnum):
    """The fate of one individual, planned or not."""

    COMMITTED = "committed"
    LOST = "lost"
    """Acknowledged as committed, and not in the ledger."""
    DOUBLED = "doubled"
    """In the ledger more than once, or not planned."""
    UNKNOWN = "unknown"
    """Neither acknowledged nor found, or the ledger was not read."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One workload, from its invocation to the content of its ledger."""

    id: str
    population_size: int
    generations: int
    completion: Workload | None
    """``None``: its end was not observed."""
    explained: bool
    """A ``gap`` shows that the harness was not running before the next workload began. So its end
    was not observed, and its ledger was not read.
    """
    audit: Audit | None
    places: Mapping[int, Individuals]
    """Content of the ledger by generation; empty when the record has counts only."""
    faults: Sequence[Fault]
    """Faults that name the workload."""

    @property
    def planned(self) -> int:
        """Number of planned individuals."""
        return self.population_size * self.generations


@dataclass(frozen=True, kw_only=True)
class FateCounts:
    """Number of individuals of an operation by fate; each planned individual has one."""

    counts: Mapping[Fate, int]
    witnesses: tuple[str, ...]
    """Names of the first few lost and doubled individuals."""


def operations(record: Evidence) -> list[Operation]:
    """Every workload of a record, in the order of their start.

    Raises:
        InconclusiveError: the record contradicts itself: two workloads with one name, a completion
            that does not match its invocation, or individuals of a workload that was not invoked.
    """
    completed = workloads(record)
    asked: dict[str, tuple[int, int]] = {}
    begun: dict[str, float] = {}
    for event in record.of(Invocation.KIND):
        call = event.record
        if not isinstance(call, Invocation):
            continue
        if call.workload in asked:
            raise InconclusiveError(f"run {record.run}: {call.workload} was invoked twice")
        asked[call.workload] = (call.population_size, call.generations)
        begun[call.workload] = event.at
    for workload in completed.values():
        size = (workload.population_size, workload.generations)
        # A record made before invocations were written has completions alone.
        if asked.setdefault(workload.id, size) != size:
            raise InconclusiveError(
                f"the completion of {workload.id} does not match its invocation"
            )
    for name, sizes in asked.items():
        if max(sizes) > MOST_PLACES:
            raise InconclusiveError(f"{name} has {max(sizes)} of a kind; {MOST_PLACES} are judged")
    audits = _audits(record, completed)
    places = _places(record, asked)
    gaps = [gap.begin for gap in record.all(Gap)]
    starts = sorted(begun.values())

    def explained(name: str) -> bool:
        start = begun.get(name, 0.0)
        following = next((at for at in starts if at > start), math.inf)
        return any(start <= begin < following for begin in gaps)

    return [
        Operation(
            id=name,
            population_size=size,
            generations=generations,
            completion=completed.get(name),
            explained=explained(name),
            audit=audits.get(name),
            places=places.get(name, {}),
            faults=[fault for fault in record.all(Fault) if fault.workload == name],
        )
        for name, (size, generations) in asked.items()
    ]


def classify_individuals(operation: Operation) -> FateCounts:
    """Classify every individual of an operation, with witnesses.

    Uses the places in the ledger, or else the audit's counts. All fates are unknown if the ledger
    was not read.
    """
    if operation.places:
        return _from_places(operation)
    audit = operation.audit
    if audit is None:
        return FateCounts(counts={Fate.UNKNOWN: operation.planned}, witnesses=())
    committed = min(audit.committed, operation.planned)
    lost = min(max(audit.lost, audit.expected - audit.committed), operation.planned - committed)
    doubled = max(audit.doubled, audit.committed - audit.expected, 0)
    return FateCounts(
        counts={
            Fate.COMMITTED: committed,
            Fate.LOST: max(lost, audit.lost),
            Fate.DOUBLED: doubled,
            Fate.UNKNOWN: operation.planned - committed - lost,
        },
        witnesses=audit.witnesses,
    )


def format_ranges(text: str) -> list[int]:
    """The places of a text like ``0-4,7``; a place written twice is returned twice.

    Raises:
        InconclusiveError: the text has another format, or names more places than a generation has.
    """
    found: list[int] = []
    for part in text.split(",") if text else []:
        if _RANGE.fullmatch(part) is None:
            raise InconclusiveError(f"places cannot be read: {part!r}")
        first, _, last = part.partition("-")
        places = range(int(first), int(last or first) + 1)
        if len(found) + len(places) > MOST_PLACES:
            raise InconclusiveError(f"places cannot be read: {part!r} and more than {MOST_PLACES}")
        found.extend(places)
    return found


def parse_ranges(places: Sequence[int]) -> str:
    """The inverse of ``spread`` for rising places."""
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][1] + 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
    return ",".join(f"{a}-{b}" if b > a else f"{a}" for a, b in runs)


def _audits(record: Evidence, completed: Mapping[str, Workload]) -> dict[str, Audit]:
    audits: dict[str, Audit] = {}
    for audit in record.all(Audit):
        workload_of(dict(completed), audit.workload, said_by="an audit")
        if audit.workload in audits:
            raise InconclusiveError(f"{audit.workload} was audited twice")
        audits[audit.workload] = audit
    return audits


def _places(
    record: Evidence, asked: Mapping[str, tuple[int, int]]
) -> dict[str, dict[int, Individuals]]:
    found: dict[str, dict[int, Individuals]] = {}
    for places in record.all(Individuals):
        if places.workload not in asked:
            raise InconclusiveError(f"individuals of {places.workload}, which was not invoked")
        of = found.setdefault(places.workload, {})
        if places.generation in of:
            raise InconclusiveError(
                f"{places.workload}: generation {places.generation} was read twice"
            )
        of[places.generation] = places
    return found


def _from_places(operation: Operation) -> FateCounts:
    counts = dict.fromkeys(Fate, 0)
    witnesses: dict[Fate, list[str]] = {Fate.LOST: [], Fate.DOUBLED: []}
    size = operation.population_size
    for generation in sorted({*range(operation.generations), *operation.places}):
        held = operation.places.get(generation)
        planned = range(size if generation < operation.generations else 0)
        if planned and held and held.found == _whole(size) and not held.again:
            # Two days hold millions of individuals, nearly all of them in whole generations.
            counts[Fate.COMMITTED] += size
            continue
        for index, fate, why in _each(operation, planned, held):
            counts[fate] += 1
            if fate in witnesses and len(witnesses[fate]) < MOST_WITNESSES:
                name = f"{fate.value}: generation {generation} index {index}"
                witnesses[fate].append(f"{name} ({why}{_meanwhile(operation)})")
    return FateCounts(counts=counts, witnesses=(*witnesses[Fate.LOST], *witnesses[Fate.DOUBLED]))


def _whole(size: int) -> str:
    """All places of a generation in the format of the record."""
    return f"0-{size - 1}" if size > 1 else "0"


def _each(
    operation: Operation, planned: range, held: Individuals | None
) -> Iterator[tuple[int, Fate, str]]:
    """Index, fate and reason of every individual of one generation, planned or found."""
    finished = operation.completion is not None and operation.completion.exit_code == 0
    found = set(format_ranges(held.found)) if held else set()
    again = set(format_ranges(held.again)) if held else set()
    promised = finished or (held is not None and held.acknowledged)
    for index in sorted({*planned, *found, *again}):
        if index not in planned:
            yield index, Fate.DOUBLED, "not planned"
        elif index in again:
            yield index, Fate.DOUBLED, "stored more than once"
        elif index in found:
            yield index, Fate.COMMITTED, ""
        elif promised and held is not None:
            yield index, Fate.LOST, "acknowledged, but not in the ledger"
        else:
            yield index, Fate.UNKNOWN, ""


def _meanwhile(operation: Operation) -> str:
    """Describe the faults of an operation, for a witness."""
    broken = [f"{fault.fault} of {fault.target}" for fault in operation.faults if fault.confirmed]
    return f"; after {', '.join(broken[:3])}" if broken else ""
