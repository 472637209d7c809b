"""What a certification found, kept in a file and bound to the gate's code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Final

from validation import statistics

_ROOT = Path(__file__).resolve().parents[1]
HEALTHY = "none"
"""The defect's name where nothing was planted."""
_PASS: Final = "PASS"
_OPEN: Final = "INCONCLUSIVE"
_CODE: Final = (
    ("validation", "*.py"),
    ("fixtures", "*.py"),
    ("deploy", "*.yml"),
    ("deploy", "*.json"),
)


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """One defect that was planted, or none, and what the gate said."""

    criterion: str
    defect: str
    """``none``: the healthy system."""
    detected: bool
    """Of the healthy system: a FAIL, which is a false alarm."""
    verdict: str
    expected: str
    """What the defect had to give: FAIL, or INCONCLUSIVE where it takes evidence away. Of the
    healthy system: PASS, which it need not reach."""
    reason: str
    code: str
    """``code_hash`` of the gate that said so."""
    at: float
    stack: str = "processes"
    """Where it was tried: ``processes`` or ``containers``."""


@cache
def code_hash() -> str:
    """SHA-256 of the code of gate and fixtures, and of the rules and dashboards that they start
    with: another gate needs certificates of its own."""
    digest = hashlib.sha256()
    for package, names in _CODE:
        for file in sorted((_ROOT / package).rglob(names)):
            digest.update(str(file.relative_to(_ROOT)).encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def read_certificates(path: Path, *, codes: Collection[str] = ()) -> tuple[Certificate, ...]:
    """Those of this code; none where there is no file, and none from a line that was cut short.

    Args:
        codes: Of these instead.
    """
    wanted = codes or {code_hash()}
    if not path.exists():
        return ()
    found = []
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            fields = json.loads(line)
            # One of another gate may have other fields.
            if fields["code"] in wanted:
                found.append(Certificate(**fields))
    return tuple(found)


def append(path: Path, certificate: Certificate) -> None:
    """Add one to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(asdict(certificate)) + "\n")


def certified(certificates: Iterable[Certificate]) -> frozenset[str]:
    """Criteria of which every planted defect was detected, and that raised no false alarm.

    A defect that takes evidence away proves nothing where the healthy system was INCONCLUSIVE too.
    """
    kept = list(certificates)
    caught = {c.criterion for c in kept if c.defect != HEALTHY and c.detected}
    missed = {c.criterion for c in kept if c.detected == (c.defect == HEALTHY)}
    passed = {c.criterion for c in kept if c.defect == HEALTHY and c.verdict == _PASS}
    hollow = {c.criterion for c in kept if c.expected == _OPEN} - passed
    return frozenset(caught - missed - hollow)


def false_alarms(certificates: Iterable[Certificate]) -> str:
    """How often the healthy system failed, with the bound of that rate, in words."""
    healthy = [c for c in certificates if c.defect == HEALTHY]
    if not healthy:
        return "false alarms: the healthy system was not tried"
    wrong = [c.criterion for c in healthy if c.detected]
    bound = statistics.proportion(len(wrong), len(healthy)).upper
    passed = sum(c.verdict == _PASS for c in healthy)
    names = f" ({', '.join(wrong)})" if wrong else ""
    return (
        f"false alarms: {len(wrong)} of {len(healthy)} verdicts on the healthy system{names}, "
        f"{passed} of them PASS; the rate is at most {100 * bound:.1f} % (95 % confidence)"
    )
