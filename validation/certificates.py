"""Results of a certification, stored in a file and bound to the gate's code."""

from __future__ import annotations

import json
import math
import os
import platform
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from ga.errors import InputError
from validation import statistics
from validation.code_hashes import code_hash, criterion_hash, engine_hash
from validation.evidence.base import Record
from validation.evidence.chained_lines import printable, read_object
from validation.evidence.errors import EvidenceError
from validation.evidence.files import complete_lines, read_file, require_short
from validation.evidence.schema import Schema

if TYPE_CHECKING:
    from validation.contract import Mutant

SHIPPED: Final = Path(__file__).parent / "shipped_certificates.jsonl"
"""Certificates that a release is shipped with, for its unchanged code and dependencies."""
MAX_AGE_DAYS: Final = 180.0
"""A certificate counts for evidence of this many days before and after it, because dependencies and
machines change."""
_DEPENDENCIES: Final = ("numba", "numpy", "pandas", "psycopg", "ray", "redis", "sqlalchemy")
HEALTHY = "none"
"""Name of the mutant for the healthy system, where nothing was planted."""
_PASS: Final = "PASS"
_OPEN: Final = "INCONCLUSIVE"
_VERDICTS: Final = (_PASS, "FAIL", _OPEN)
_MOST_SHOWN: Final = 60
"""Characters of a dependency's version that are shown."""


@cache
def dependencies() -> str:
    """Versions of the packages that the engine's work depends on: ``numba 0.68.1, ...``."""
    return ", ".join(f"{name} {_version(name)}" for name in _DEPENDENCIES)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


@dataclass(frozen=True, kw_only=True)
class Certificate(Record):
    """The gate's verdict on one planted mutant, or on the healthy system."""

    KIND = "certificate"
    criterion: str
    defect: str
    """``none``: the healthy system."""
    detected: bool
    """For the healthy system: a FAIL, which is a false alarm."""
    verdict: str
    expected: str
    """The status that the mutant must give: FAIL, or INCONCLUSIVE if it removes evidence. For the
    healthy system: PASS, which it need not reach.
    """
    reason: str
    code: str
    """``criterion_hash`` of the gate that gave the verdict, or the hash of a custom file."""
    at: float
    stack: str = "processes"
    """Backend of the trial: ``processes`` or ``containers``."""
    engine: str = field(default_factory=engine_hash)
    """``engine_hash`` of the engine under test; empty in a certificate of an older gate."""
    dependencies: str = field(default_factory=dependencies)
    """Versions of what the engine runs on, as ``dependencies`` gives them; empty: not known."""
    python: str = field(default_factory=platform.python_version)
    """Version of Python that the trial ran on; it is only stated."""


def stored(path: Path) -> bytes:
    """The content of a file of certificates; empty without a file.

    Raises:
        EvidenceError: it is too large, or not a regular file.
        OSError: it cannot be read.
    """
    return read_file(path) if os.path.lexists(path) else b""


def read_certificates(
    path: Path, *, codes: Collection[str] = (), content: bytes | None = None
) -> tuple[Certificate, ...]:
    """Certificates for this gate, engine and dependencies; empty without a file.

    An incomplete last line is left out.

    Args:
        path: The file.
        codes: Code hashes to accept instead. With ``code_hash`` among them, certificates of a
            built-in criterion need its ``criterion_hash``.
        content: What the file holds, as ``stored`` gives it; None: read it.

    Raises:
        InputError: a line is no certificate.
        EvidenceError, OSError: as ``stored``.
    """
    found = []
    for number, fields in _lines(path, content):
        # A certificate of another version may have other fields.
        if not _difference(fields, codes):
            try:
                one = cast("Certificate", _schema().read(fields))
                if one.verdict not in _VERDICTS or one.expected not in _VERDICTS:
                    raise EvidenceError(f"verdict and expected must be {', '.join(_VERDICTS)}")
            except EvidenceError as error:
                raise InputError(f"{path}, line {number}: no certificate: {error}") from None
            found.append(one)
    return tuple(found)


def known_certificates(
    path: Path, *, codes: Collection[str] = (), content: bytes | None = None
) -> tuple[Certificate, ...]:
    """Those that the release was shipped with, and those of a file; see ``read_certificates``."""
    shipped = read_certificates(SHIPPED, codes=codes)
    return shipped + read_certificates(path, codes=codes, content=content)


def refused(
    path: Path, *, codes: Collection[str] = (), content: bytes | None = None
) -> tuple[str, ...]:
    """Why certificates in a file do not count, with the number of them; as
    ``read_certificates``.
    """
    reasons = Counter(_difference(fields, codes) for _, fields in _lines(path, content))
    return tuple(f"{count} made with {reason}" for reason, count in reasons.items() if reason)


def _difference(fields: Mapping[str, object], codes: Collection[str]) -> str:
    """In what a certificate differs from this gate, engine and dependencies; empty: in nothing."""
    code, criterion = fields.get("code"), fields.get("criterion")
    hashes = frozenset(codes or {code_hash()})
    if code_hash() in hashes:
        if not isinstance(criterion, str):
            # Damaged, whatever the code: reading it says what is wrong.
            return ""
        hashes = hashes - {code_hash()} | {criterion_hash(criterion)}
    if not isinstance(code, str) or code not in hashes:
        return "another version of the gate"
    if fields.get("engine") != engine_hash():
        return "another engine"
    if (stated := fields.get("dependencies")) != dependencies():
        theirs = {one[:_MOST_SHOWN] for one in str(stated or "").split(", ")}
        ours = [one for one in dependencies().split(", ") if one not in theirs]
        names = {one.split(" ")[0] for one in ours}
        found = sorted(one for one in theirs if one.split(" ")[0] in names)
        return f"{', '.join(found) or 'unknown dependencies'} instead of {', '.join(ours)}"
    return ""


def _lines(path: Path, content: bytes | None) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in complete_lines(stored(path) if content is None else content):
        try:
            require_short(line)
            yield number + 1, printable(read_object(line))
        except EvidenceError as error:
            raise InputError(f"{path}, line {number + 1}: {error}") from None


@cache
def _schema() -> Schema:
    return Schema(Certificate)


def append(path: Path, certificate: Certificate) -> None:
    """Append a certificate to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(asdict(certificate)) + "\n")


def certified(
    certificates: Iterable[Certificate],
    mutants: Iterable[Mutant],
    *,
    backend: str = "processes",
    at: float | None = None,
) -> frozenset[str]:
    """Criteria all of whose mutants were detected, and that did not fail on the healthy system;
    see ``undetected``, also for the arguments.
    """
    planted = tuple(mutants)
    left = undetected(certificates, planted, backend=backend, at=at)
    return frozenset({one.criterion for one in planted} - {one.criterion for one in left})


def stack_of(mutant: Mutant, backend: str) -> str:
    """The kind of stack on which a mutant must be detected for evidence of a backend.

    For ``containers``, mutants of the engine's code must be detected on ``processes``, because an
    image holds the engine.
    """
    return "containers" if backend == "containers" and mutant.fits_containers else "processes"


def undetected(
    certificates: Iterable[Certificate],
    mutants: Iterable[Mutant],
    *,
    backend: str = "processes",
    at: float | None = None,
) -> tuple[Mutant, ...]:
    """Mutants that were not detected, or whose criterion failed on the healthy system.

    A mutant that removes evidence proves nothing if the healthy system was INCONCLUSIVE too.

    Args:
        mutants: Of all criteria; one without a mutant is not certified.
        backend: Where the evidence was gathered; see ``stack_of``.
        at: Time of the evidence, Unix seconds. Certificates of ``MAX_AGE_DAYS`` before or after it
            do not count. None: all count.
    """
    oldest = -math.inf if at is None else at - MAX_AGE_DAYS * 86400
    newest = math.inf if at is None else at + MAX_AGE_DAYS * 86400
    latest: dict[tuple[str, str, str], Certificate] = {}
    for one in certificates:
        key = one.criterion, one.defect, one.stack
        if oldest <= one.at <= newest and (key not in latest or latest[key].at <= one.at):
            latest[key] = one
    found: list[Mutant] = []
    for mutant in mutants:
        stack = stack_of(mutant, backend)
        tried = latest.get((mutant.criterion, mutant.name, stack))
        healthy = latest.get((mutant.criterion, HEALTHY, stack))
        good = (
            tried is not None
            and tried.detected
            and healthy is not None
            and not healthy.detected
            and (mutant.expects != _OPEN or healthy.verdict == _PASS)
        )
        if not good:
            found.append(mutant)
    return tuple(found)


def false_alarms(certificates: Iterable[Certificate]) -> str:
    """Describe how often the healthy system failed, with an upper bound of that rate."""
    healthy = [c for c in certificates if c.defect == HEALTHY]
    if not healthy:
        return "false-positive rate: not measured"
    wrong = [c.criterion for c in healthy if c.detected]
    bound = statistics.proportion(len(wrong), len(healthy)).upper
    passed = sum(c.verdict == _PASS for c in healthy)
    names = f" ({', '.join(wrong)})" if wrong else ""
    return (
        f"false alarms: {len(wrong)} of {len(healthy)} verdicts on the healthy system{names}, "
        f"{passed} of them PASS; the rate is at most {100 * bound:.1f} % (95 % confidence)"
    )
