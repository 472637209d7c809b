"""The baseline file with the measured costs of this machine: format, key and location."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from ga.environment import cache_home
from ga.errors import InputError
from ga.families import FAMILIES, KERNEL_VERSION
from ga.files import read_text

FORMAT: Final = 1
MAKE_ONE: Final = "make one in a minute with: python -m ga plan --measure"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine of a measurement; it is valid only while all of these values are equal."""

    cpu: str
    cores: int
    python: str
    numba: str
    system: str
    """The operating system's kernel."""
    kernels: int
    """``KERNEL_VERSION`` of the families."""

    @property
    def key(self) -> str:
        """A short name for it."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def unlike(self, other: Machine) -> str:
        """Describe the differences; empty if there are none."""
        mine, theirs = asdict(self), asdict(other)
        return ", ".join(
            f"{name} {theirs[name]} instead of {mine[name]}"
            for name in mine
            if mine[name] != theirs[name]
        )


def this_machine() -> Machine:
    """The machine of this process."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return Machine(
        cpu=names[0] if names else platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        numba=version("numba"),
        system=f"{platform.system()} {platform.release()}",
        kernels=KERNEL_VERSION,
    )


@dataclass(frozen=True, kw_only=True)
class FamilyCost:
    """CPU seconds of one genome, one value per repeat, on the small and on the large market."""

    small: tuple[float, ...]
    large: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Raw samples, in seconds."""

    machine: Machine
    measured_at: str
    """ISO time, UTC."""
    cells: tuple[int, int]
    """Assets times visible bars of the small and of the large market."""
    families: Mapping[str, FamilyCost]
    populations: tuple[int, int]
    """Population sizes for which the coordinator's work was measured."""
    breeding: tuple[tuple[float, ...], tuple[float, ...]]
    """A generation's keys, digest and breeding, for the two sizes; one value per repeat."""
    commit: tuple[tuple[float, ...], tuple[float, ...]]
    """A generation's commit to SQLite on this disk, for the two sizes."""
    in_flight: tuple[int, ...]
    """Numbers of batches in flight for which dispatching was measured."""
    dispatch: tuple[tuple[float, ...], ...]
    """The coordinator's time per batch, for each of ``in_flight``."""
    task: tuple[float, ...]
    """Overhead of a batch: its round trip to a worker process of this machine."""

    def as_json(self) -> dict[str, object]:
        """The content of the file."""
        return {"format": FORMAT, **asdict(self)}


def folder() -> Path:
    """Folder of baselines in the user's cache."""
    return cache_home() / "evolution-gate" / "capacity"


def kept_at(machine: Machine) -> Path:
    """The file of a machine's baseline."""
    return folder() / f"{machine.key}.json"


def save(baseline: Baseline, path: Path) -> None:
    """Write the file atomically.

    Raises:
        InputError: the folder cannot be written.
    """
    text = json.dumps(baseline.as_json(), indent=1) + "\n"
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text)
        draft.replace(path)
    except OSError as error:
        raise InputError(
            f"baseline {path}: cannot be written ({error.strerror}); set GA_CACHE_DIR to a folder"
            " that can"
        ) from None


def load(path: Path | None) -> Baseline:
    """Read a baseline: a file, or with ``None`` the stored one of this machine.

    Raises:
        InputError: it does not exist, cannot be read, or was measured with other kernels.
    """
    here = this_machine()
    file = kept_at(here) if path is None else path
    named = "no baseline of this machine" if path is None else f"--baseline {path}"
    if not file.is_file():
        raise InputError(f"{named}: no such file; {MAKE_ONE}")
    try:
        found = _parsed(json.loads(read_text(file)))
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"{named}: is not a baseline ({why}); {MAKE_ONE}") from None
    if found.machine.kernels != KERNEL_VERSION:
        raise InputError(
            f"{named}: measured with kernels {found.machine.kernels}, not {KERNEL_VERSION};"
            f" {MAKE_ONE}"
        )
    return found


def _parsed(data: Mapping[str, Any]) -> Baseline:
    if data["format"] != FORMAT:
        raise ValueError(f"format {data['format']}, not {FORMAT}")
    unknown = sorted(set(data["families"]) - set(FAMILIES))
    if unknown or not data["families"]:
        raise ValueError(f"families {', '.join(unknown) or 'missing'}")
    first, second = (int(c) for c in data["cells"])
    few, many = (int(p) for p in data["populations"])
    if not (0 < first < second and 0 < few < many):
        raise ValueError("sizes must rise")
    flights = tuple(int(n) for n in data["in_flight"])
    dispatch = tuple(_seconds(row) for row in data["dispatch"])
    if len(flights) < 2 or len(flights) != len(dispatch):
        raise ValueError("dispatch must have a row for each of in_flight")
    return Baseline(
        machine=Machine(**data["machine"]),
        measured_at=str(data["measured_at"]),
        cells=(first, second),
        families={
            name: FamilyCost(small=_seconds(cost["small"]), large=_seconds(cost["large"]))
            for name, cost in data["families"].items()
        },
        populations=(few, many),
        breeding=(_seconds(data["breeding"][0]), _seconds(data["breeding"][1])),
        commit=(_seconds(data["commit"][0]), _seconds(data["commit"][1])),
        in_flight=flights,
        dispatch=dispatch,
        task=_seconds(data["task"]),
    )


def _seconds(values: Any) -> tuple[float, ...]:
    found = tuple(float(value) for value in values)
    if len(found) < 3 or not all(0.0 < value < 1e6 for value in found):
        raise ValueError("needs at least 3 positive times each")
    return found
