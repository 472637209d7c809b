"""What a certification found, kept in a file and bound to the gate's code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
HEALTHY = "none"
"""The defect's name where nothing was planted."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """One defect that was planted, or none, and what the gate said."""

    criterion: str
    defect: str
    """``none``: the healthy system."""
    detected: bool
    """Of the healthy system: a FAIL, which is a false alarm."""
    verdict: str
    reason: str
    code: str
    """``code_hash`` of the gate that said so."""
    at: float


@cache
def code_hash() -> str:
    """SHA-256 of the code of gate and fixtures: another gate needs certificates of its own."""
    digest = hashlib.sha256()
    for package in ("validation", "fixtures"):
        for file in sorted((_ROOT / package).rglob("*.py")):
            digest.update(str(file.relative_to(_ROOT)).encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def read_certificates(path: Path) -> tuple[Certificate, ...]:
    """Those of this code; none where there is no file, and none from a line that was cut short."""
    if not path.exists():
        return ()
    found = []
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            one = Certificate(**json.loads(line))
            if one.code == code_hash():
                found.append(one)
    return tuple(found)


def append(path: Path, certificate: Certificate) -> None:
    """Add one to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(asdict(certificate)) + "\n")


def certified(certificates: Iterable[Certificate]) -> frozenset[str]:
    """Criteria of which every planted defect was detected, and that raised no false alarm."""
    kept = list(certificates)
    caught = {c.criterion for c in kept if c.defect != HEALTHY and c.detected}
    missed = {c.criterion for c in kept if c.detected == (c.defect == HEALTHY)}
    return frozenset(caught - missed)
