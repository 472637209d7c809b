"""Edits of evidence that no run of this gate gives: records left out, doubled or moved."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from validation.evidence.records import Note
from validation.simulation.records import T0, Timed

Edit = Callable[[list[Timed], random.Random], list[Timed]]
_UNUSED: Final = frozenset({Note.KIND, "machine"})
"""No PASS rests on these: notes are for the reader, other load can only withdraw a FAIL."""


def kinds(events: list[Timed]) -> list[str]:
    """The kinds on which a PASS may rest."""
    return sorted({record.KIND for _, record in events} - _UNUSED)


def dropped(events: list[Timed], dice: random.Random) -> list[Timed]:
    """All records of one kind are left out."""
    kind = dice.choice(kinds(events))
    return [event for event in events if kind != event[1].KIND]


def silent(events: list[Timed], dice: random.Random) -> list[Timed]:
    """The monitors stop during the work."""
    stop = T0 + dice.uniform(5, 400)
    watched = {"probe", "scrape", "usage", "services", "observer"}
    return [event for event in events if event[0] < stop or event[1].KIND not in watched]


def doubled(events: list[Timed], dice: random.Random) -> list[Timed]:
    """One record of work is there twice."""
    once = {"workload", "generation", "audit", "fault", "recovery", "restore", "refusal", "panel"}
    place = dice.choice([n for n, (_, record) in enumerate(events) if record.KIND in once])
    return [*events[: place + 1], *events[place:]]


def shortened(events: list[Timed], dice: random.Random) -> list[Timed]:
    """The run ends before its work does."""
    stop = T0 + dice.uniform(5, 400)
    return [event for event in events if event[0] < stop]


def set_back(events: list[Timed], dice: random.Random) -> list[Timed]:
    """A part of the file is moved to another place."""
    place = dice.randrange(len(events) // 4, len(events) // 2)
    return [*events[place:], *events[:place]]


EDITS: Final[dict[str, Edit]] = {
    "a kind of record left out": dropped,
    "monitors that stop": silent,
    "a record twice": doubled,
    "the end cut off": shortened,
    "parts in another order": set_back,
}
