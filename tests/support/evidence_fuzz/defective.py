"""Evidence of a defective system, by the defects of ``validation.error_rates``."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

from tests.support.evidence_fuzz.edits import Lines
from validation.error_rates.defects import DEFECTS
from validation.simulation.campaign import evidence, passing


def defects() -> Iterator[tuple[str, str]]:
    """Criterion and name of every defect."""
    for criterion, found in DEFECTS.items():
        for name in found:
            yield criterion, name


@cache
def healthy() -> Lines:
    """The evidence of a healthy system, which gives GO."""
    return Lines.of(evidence(passing()).events)


def defective(criterion: str, name: str) -> Lines:
    """The evidence of a system with one defect.

    An edit of one record changes the first one that shows it.
    """
    dice = random.Random(f"fuzz:{criterion}:{name}")
    events = evidence(DEFECTS[criterion][name](passing(), dice)).events
    same = {id(record) for _, record in passing()}
    marked: dict[str, int] = {}
    for place, event in enumerate(events[1:-1], start=1):
        if id(event.record) not in same:
            marked.setdefault(event.kind, place)
    return Lines.of(events, marked)
