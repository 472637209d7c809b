"""Evidence that is edited: of a healthy system, and of one with a defect."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

from tests.support.evidence_fuzz.edits import Lines
from validation.error_rates.defects import DEFECTS
from validation.error_rates.planting import Plant
from validation.evidence.base import Record
from validation.evidence.records import Gap, MemoryFailure, Note
from validation.evidence.records_faults import Phases
from validation.evidence.records_network import Leak
from validation.evidence.records_self_check import ContainerExit
from validation.simulation.campaign import evidence, passing
from validation.simulation.records import NODES, T0, Timed

HEALTHY: Final = "healthy"
"""In place of a defect."""


def _added(at: float, *records: Record) -> Plant:
    """Records that are written in addition, at a time."""

    def plant(events: list[Timed], _: random.Random) -> list[Timed]:
        return sorted([*events, *((at, one) for one in records)], key=lambda event: event[0])

    return plant


_ADDED: Final[dict[str, Plant]] = {
    "exposure: a secret in a file": _added(T0 + 400, Leak(secret="ray", file="run.log")),
    "memory_stability: an out-of-memory error": _added(
        T0 + 400, MemoryFailure(workload=None, detail="Cannot allocate memory")
    ),
    "container_stability: a container ended": _added(
        T0 + 400, ContainerExit(service="redis", exit_code=137, at=T0 + 400)
    ),
}
"""Defects that show as a record."""
DEFECTIVE: Final[Mapping[str, Plant]] = MappingProxyType(
    {
        **{
            f"{name}: {what}": plant
            for name, found in DEFECTS.items()
            for what, plant in found.items()
        },
        **_ADDED,
    }
)
"""``criterion: defect`` to what plants it."""


@cache
def _events() -> tuple[Timed, ...]:
    """A healthy run, with records of kinds that only some runs have."""
    away = T0 + 100_000.0
    phases = Phases(
        workload="recovery-0", fault="kill", target=NODES[0], asked_at=T0 + 76.0, confirmed_s=0.2,
        noticed_s=1.2, undo_s=4.0, undone_s=4.2, back_s=9.0,
    )  # fmt: skip
    return tuple(
        sorted(
            [
                *passing(),
                (T0 + 99.0, phases),
                (T0 + 420.0, Note(text="a note")),
                (away, Gap(begin=away - 20.0, end=away - 1.0, reason="the harness was stopped")),
            ],
            key=lambda event: event[0],
        )
    )


@cache
def base(name: str = HEALTHY) -> Lines:
    """Evidence of a system that is healthy, or has the defect of a name.

    An edit of one record changes the first one that shows the defect.
    """
    if name == HEALTHY:
        return Lines.of(evidence(_events()).events)
    plant = DEFECTIVE[name]
    events = evidence(plant(list(_events()), random.Random(f"fuzz:{name}"))).events
    same = {id(record) for _, record in _events()}
    marked: dict[str, int] = {}
    for place, event in enumerate(events[1:-1], start=1):
        if id(event.record) not in same:
            marked.setdefault(event.kind, place)
    return Lines.of(events, marked)
