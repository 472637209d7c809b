"""Which system a run was made on: runs of different systems are not judged together."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Final

from validation.evidence.base import Record
from validation.evidence.chained_lines import canonical
from validation.evidence.errors import EvidenceError
from validation.evidence.log import Evidence
from validation.evidence.records import (
    Environment,
    Fault,
    Recovery,
    Usage,
    Workload,
)
from validation.evidence.records_ledger import Generation
from validation.evidence.records_target import DeployedTarget

SIMULATED: Final = "simulated"
"""Backend of a run whose clock and cluster were simulated."""
PLUGIN: Final = "plug-in "
"""Begin of the environment's keys under which a run names its files of ``--with``, with their
SHA-256."""
DAY_S: Final = 86400.0
MAX_AGE_DAYS: Final = 30.0
"""Evidence that is older says little of the system of today."""
_FACTS: Final = (
    *("commit", "gate", "python", "ray", "numpy", "numba"),
    *("cpu", "cores", "memory_bytes", "workload"),
)
"""Of the environment; those that both runs state must be equal."""
_EXACT: Final[tuple[type[Record], ...]] = (
    Workload,
    Generation,
    Fault,
    Recovery,
    Usage,
)
"""Records with times to the microsecond: no two runs have the same one."""


def identity(record: Evidence) -> Mapping[str, object]:
    """The system of one run: its stack, software and machine. Facts that are unknown are left
    out.
    """
    opening = record.opening
    known: dict[str, object] = {
        "backend": opening.backend,
        "nodes": opening.nodes,
        "cpus_per_node": opening.cpus_per_node,
    }
    for target in record.all(DeployedTarget):
        known["target"] = f"{target.kind} {target.name}"
    for environment in record.all(Environment):
        known.update(facts_of(environment.values))
    return known


def described(record: Evidence) -> str:
    """The system of one run in words: ``4 nodes of 0.4 CPU (processes), Ray 2.60.0, ...``."""
    known = identity(record)
    words = [
        f"{record.opening.nodes} nodes of {record.opening.cpus_per_node:g} CPU"
        f" ({known.get('target', record.opening.backend)})"
    ]
    if "ray" in known:
        words.append(f"Ray {known['ray']}")
    if "cpu" in known:
        words.append(f"{known['cpu']}, {known.get('cores', '?')} cores")
    if "commit" in known:
        first, _, rest = str(known["commit"]).partition(" ")
        words.append(f"commit {first[:10] if len(first) == 40 else first} {rest}".rstrip())
    text = ", ".join(words)
    return f"SIMULATED: {text}" if record.opening.backend == SIMULATED else text


def facts_of(environment: Mapping[str, object]) -> dict[str, object]:
    """The facts of a machine and its software that belong to the identity of a system."""
    return {name: environment[name] for name in _FACTS if name in environment}


def difference(one: Mapping[str, object], other: Mapping[str, object]) -> str | None:
    """The first fact in which two systems differ; None: they may be the same one."""
    for name in sorted(one.keys() & other.keys()):
        if not _equal(one[name], other[name]):
            return name
    return None


def system_id(records: Sequence[Evidence]) -> str:
    """Eight digits for the system of a pool, the same wherever its identity is the same."""
    known: dict[str, object] = {}
    for record in records:
        known |= identity(record)
    return hashlib.sha256(canonical(known).encode()).hexdigest()[:8]


def require_one_system(records: Sequence[Evidence]) -> None:
    """Check that runs may be judged together.

    Raises:
        EvidenceError: two runs are of different systems, or the same run under two names.
    """
    for a, b in combinations(records, 2):
        one, other = identity(a), identity(b)
        if (name := difference(one, other)) is not None:
            raise EvidenceError(
                f"{b.source}: run {b.run!r} is of another system than run {a.run!r}: {name}"
                f" {other[name]!r}, not {one[name]!r}; judge them separately"
            )
        for kind in _EXACT:
            mine = {_key(record) for record in a.all(kind)}
            if any(_key(record) in mine for record in b.all(kind)):
                raise EvidenceError(
                    f"{b.source}: run {b.run!r} holds the same {kind.KIND} as run {a.run!r}; "
                    "evidence counts once"
                )


def _equal(a: object, b: object) -> bool:
    if isinstance(a, float) or isinstance(b, float):
        return math.isclose(float(str(a)), float(str(b)), rel_tol=1e-3)
    return a == b


def _key(record: Record) -> str:
    return repr(sorted(record.data().items()))


def too_old(records: Sequence[Evidence], *, now: float, days: float) -> list[str]:
    """Which runs began so long before a moment that they count no more, in words.

    Args:
        now: Unix seconds.
        days: How old evidence may be.
    """
    return [
        f"run {record.run} is {(now - record.opening.started_at) / DAY_S:.0f} days old,"
        f" {days:g} are allowed"
        for record in records
        if now - record.opening.started_at > days * DAY_S
    ]
