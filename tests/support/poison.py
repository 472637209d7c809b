"""Families that break the process that evaluates them, and the settings that bring them there.

``PoisonSettings`` registers the families where it is unpickled: in the workers. In the test's own
process they are registered by the fixture ``poison`` for as long as it lasts.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np

import ga.families
from ga.backtest.panel import Panel
from ga.evaluation.settings import Outcome, Settings
from ga.families import Changes, Family, Gene
from ga.genome import Genome

DEADLY = 0.8
"""A dose above this breaks the worker; below, the family is as harmless as any."""


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _exit() -> None:
    os._exit(3)


def _hang() -> None:
    # Holds the interpreter's lock, so that no thread of the process can do anything about it.
    ctypes.PyDLL(None).sleep(3600)


def _hog() -> None:
    held = []
    while True:
        held.append(np.ones(1 << 21))


def _raise() -> None:
    raise ZeroDivisionError("planted")


def _in_the_test() -> bool:
    return "pytest" in sys.modules and multiprocessing.parent_process() is None


def _family(name: str, poison: Callable[[], None]) -> Family:
    def signals(panel: Panel, genes: np.ndarray, changes: Changes) -> None:
        for lane, (dose,) in enumerate(genes):
            if dose > DEADLY:
                if poison is not _raise and _in_the_test():
                    raise RuntimeError("the poison was taken by the test itself")
                poison()
            above = panel.close > np.quantile(panel.close, dose)
            changes.put(lane, np.where(above, 1.0, -1.0))

    return Family(
        name=name,
        kind="poison",
        rule="long above a quantile of all closes",
        genes=(Gene(name="dose", low=0.0, high=1.0),),
        signals=signals,
        history=10,
    )


POISONS = {
    f"poison_{poison.__name__.strip('_')}": poison
    for poison in (_crash, _exit, _hang, _hog, _raise)
}


def families() -> MappingProxyType[str, Family]:
    """All families and the poisonous ones."""
    poisonous = {name: _family(name, poison) for name, poison in POISONS.items()}
    return MappingProxyType({**ga.families.FAMILIES, **poisonous})


def deadly(genome: Genome) -> bool:
    """Whether a genome breaks its worker."""
    return genome.family in POISONS and genome.genes[0] > DEADLY


class PoisonSettings(Settings):
    """Settings that register the poisonous families wherever they are unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, (dict(self.__dict__),)


def _arrive(state: dict[str, object]) -> PoisonSettings:
    ga.families.FAMILIES = families()
    settings = object.__new__(PoisonSettings)
    settings.__dict__.update(state)
    return settings


ERRORS = {
    "poison_crash": r"crashed its worker 3 times \(SIGSEGV\)",
    "poison_exit": r"crashed its worker 3 times \(exit status 3\)",
    "poison_hang": r"took longer than \d+ s",
    "poison_hog": "out of memory",
    "poison_raise": "ZeroDivisionError: planted",
}


def dosed(family: str, count: int, *, deadly_at: int) -> list[Genome]:
    return [
        Genome(f"poison_{family}", (0.95 if i == deadly_at else i / (2 * count),))
        for i in range(count)
    ]


def by_index(results) -> dict[int, Outcome]:
    found: dict[int, Outcome] = {}
    for result in results:
        for index, outcome in zip(result.indices, result.batch.outcomes, strict=True):
            assert index not in found, "answered twice"
            found[index] = outcome
    return found
