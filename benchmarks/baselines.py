"""Stored results, one file per run and machine, and changes over them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from evolution_gate.benchmarks.decide import Shift, shifts
from ga.capacity.calibration_file import Machine, this_machine
from ga.environment import cache_home

FORMAT: Final = 1


class BaselineError(ValueError):
    """A baseline that cannot be used: one line with the reason and what to do. Exit status 2."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A stored run."""

    path: Path
    stamp: str
    machine: Machine
    commit: str
    effort: str
    medians: Mapping[str, float]
    """``suite: name`` -> median."""


def folder(machine: Machine) -> Path:
    """Folder of the runs of a machine, in the user's cache."""
    return cache_home() / "evolution-gate" / "benchmarks" / machine.key


def keep(summary: Mapping[str, object]) -> Path:
    """Store a run's summary; returns the file."""
    place = folder(this_machine())
    place.mkdir(parents=True, exist_ok=True)
    file = place / f"{summary['stamp']}.json"
    draft = file.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(summary) + "\n")
    draft.replace(file)
    return file


def read_stored(path: Path) -> Stored:
    """Read a baseline of this machine.

    Raises:
        BaselineError: not a baseline, or of another machine or version.
    """
    file = path / "summary.json" if path.is_dir() else path
    stored = _read(file)
    if other := this_machine().unlike(stored.machine):
        raise BaselineError(
            f"{file}: a baseline of another machine or version ({other}); make one here with:"
            " python -m evolution_gate.benchmarks"
        )
    return stored


def history(machine: Machine) -> list[Stored]:
    """All stored runs of a machine, oldest first."""
    place = folder(machine)
    return [_read(file) for file in sorted(place.glob("*.json"))] if place.is_dir() else []


def changes(runs: Sequence[Stored], effort: str) -> dict[str, tuple[Shift, str]]:
    """Measurements whose level changed over runs of one effort, and the first stamp of the new
    level.
    """
    alike = [run for run in runs if run.effort == effort]
    if not alike:
        return {}
    names = set.intersection(*(set(run.medians) for run in alike))
    found = shifts({name: [run.medians[name] for run in alike] for name in sorted(names)})
    return {name: (shift, alike[shift.at].stamp) for name, shift in found.items()}


def _read(file: Path) -> Stored:
    try:
        data: Mapping[str, Any] = json.loads(file.read_text())
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']}, not {FORMAT}")
        return Stored(
            path=file,
            stamp=str(data["stamp"]),
            machine=Machine(**data["machine"]),
            commit=str(data["environment"]["commit"]),
            effort=str(data["environment"]["effort"]),
            medians={
                f"{m['suite']}: {m['name']}": float(m["median"]) for m in data["measurements"]
            },
        )
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BaselineError(
            f"{file}: is not a baseline ({why}); make one with: python -m evolution_gate.benchmarks"
        ) from None
