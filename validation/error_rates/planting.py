"""Means to plant defects in a simulated campaign: in some records, in all, or for some time."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any, Final, TypeVar

from validation.evidence.base import Record
from validation.simulation.records import T0, Timed

Plant = Callable[[list[Timed], random.Random], list[Timed]]
"""Makes the events of a defective system of those of a healthy one."""
R = TypeVar("R", bound=Record)
WORK_S: Final = 450.0
"""A defect that lasts begins in this part of the work, so that it shows."""


def some(
    kind: type[R],
    fields: Callable[[R, random.Random], dict[str, Any]],
    *,
    when: Callable[[R], bool] = lambda _: True,
    least: int = 1,
    most: int = 1,
) -> Plant:
    """Change some records of a kind, between ``least`` and ``most``."""

    def plant(events: list[Timed], dice: random.Random) -> list[Timed]:
        places = [n for n, (_, r) in enumerate(events) if isinstance(r, kind) and when(r)]
        chosen = dice.sample(places, min(len(places), dice.randint(least, most)))
        changed = list(events)
        for place in chosen:
            at, record = events[place]
            assert isinstance(record, kind)
            changed[place] = (at, dataclasses.replace(record, **fields(record, dice)))
        return changed

    return plant


def every(
    kind: type[R],
    draw: Callable[[random.Random], Any],
    fields: Callable[[R, Any], dict[str, Any]],
    *,
    when: Callable[[R], bool] = lambda _: True,
) -> Plant:
    """Change all records of a kind by a size that is drawn once."""

    def plant(events: list[Timed], dice: random.Random) -> list[Timed]:
        size = draw(dice)
        return [
            (at, dataclasses.replace(r, **fields(r, size)))
            if isinstance(r, kind) and when(r)
            else (at, r)
            for at, r in events
        ]

    return plant


def lasting(
    kind: type[R],
    seconds: tuple[float, float],
    fields: Callable[[R, float], dict[str, Any]],
    *,
    when: Callable[[R], bool] = lambda _: True,
    within: float = WORK_S,
) -> Plant:
    """Change all records of a kind for some time; ``fields`` gets the seconds since it began."""

    def plant(events: list[Timed], dice: random.Random) -> list[Timed]:
        begin = T0 + dice.uniform(10.0, within)
        end = begin + dice.uniform(*seconds)
        return [
            (at, dataclasses.replace(r, **fields(r, at - begin)))
            if isinstance(r, kind) and begin <= at <= end and when(r)
            else (at, r)
            for at, r in events
        ]

    return plant
