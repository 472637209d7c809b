"""Lines of JSON, each with a hash over the lines before it: the form of evidence and campaign logs.

A line carries ``chain``, the SHA-256 of the previous line's chain followed by the canonical JSON of
the rest of its own line (sorted keys, no spaces, ASCII).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from validation.evidence.errors import EvidenceError

GENESIS: Final = "0" * 64
"""The chain before the first line."""
_KEYS: Final = frozenset({"seq", "kind", "at", "data", "chain"})
MOST_DEPTH: Final = 64
"""Deepest nesting of lists and objects. Evidence has four levels."""
_YEAR_10000: Final = 253_402_300_800.0
"""Unix seconds; no calendar goes further."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line, read and checked."""

    seq: int
    """Line number minus one."""
    kind: str
    at: float
    """Unix seconds at which it was written."""
    data: dict[str, Any]
    chain: str
    escaped: bool
    """Whether the text holds escapes, so that it may hold what a terminal obeys."""


def write_line(
    seq: int, kind: str, at: float, data: Mapping[str, object], previous: str
) -> tuple[str, str]:
    """The text of one line with its line feed, and its chain.

    Raises:
        EvidenceError: the data are not JSON, or hold NaN or infinity.
    """
    text = canonical({"seq": seq, "kind": kind, "at": at, "data": data})
    chain = _link(previous, text)
    # Sorted keys put it between the time and the data.
    place = text.index('"data":')
    return f'{text[:place]}"chain":"{chain}",{text[place:]}\n', chain


def read_line(line: bytes, number: int, previous: str) -> Line:
    """Check one line.

    Args:
        line: Without its line feed.
        number: Its place in the file, from 0 on.
        previous: The chain of the line before it.

    Raises:
        EvidenceError: it is no JSON of this form, is out of place, or was changed.
    """
    fields = read_object(line)
    if fields.keys() != _KEYS:
        raise EvidenceError(f"must be an object of {', '.join(sorted(_KEYS))}")
    seq, kind, at, data = fields["seq"], fields["kind"], fields["at"], fields["data"]
    # A number such as 1e999 becomes infinite although the text does not say so.
    if isinstance(at, bool) or not isinstance(at, int | float) or not _finite(at):
        raise EvidenceError(f"at must be a finite number of seconds, not {_short(at)}")
    if not 0 <= at < _YEAR_10000:
        raise EvidenceError(
            f"at must be seconds since 1970, before the year 10000, not {_short(at)}"
        )
    if not isinstance(kind, str) or not isinstance(data, dict):
        raise EvidenceError("kind must be text and data an object")
    if type(seq) is not int or seq != number:
        raise EvidenceError(
            f"event {_short(seq)} where {number} belongs: lines are missing or moved"
        )
    # The text itself is hashed, so any other formatting counts as a change.
    text = line.decode("ascii")
    place = _CHAIN.match(text)
    if place is None or fields["chain"] != _link(
        previous, text[: place.end(1)] + text[place.end() :]
    ):
        raise EvidenceError("the chain does not fit: this line or one before it was changed")
    return Line(
        seq=seq, kind=kind, at=float(at), data=data, chain=fields["chain"], escaped="\\" in text
    )


def read_object(line: bytes, *, encoding: str = "ascii") -> dict[str, Any]:
    """A line of text as a JSON object.

    Raises:
        EvidenceError: it is none; a key appears twice, a number is NaN or infinite or too long, or
            it is nested too deeply.
    """
    try:
        fields = _DECODER.decode(line.decode(encoding))
    except EvidenceError:
        raise
    except (ValueError, RecursionError) as error:
        raise EvidenceError(f"not JSON ({error})") from None
    if not isinstance(fields, dict):
        raise EvidenceError("must be an object")
    # Most lines have fewer brackets than levels are allowed.
    if line.count(b"[") + line.count(b"{") > MOST_DEPTH:
        _refuse_depth(fields)
    return fields


def canonical(value: object) -> str:
    """JSON with sorted keys, no spaces and only ASCII.

    Raises:
        EvidenceError: the value is not JSON, or holds NaN or infinity.
    """
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise EvidenceError(f"not JSON: {error}") from error


def printable(value: Any) -> Any:
    """JSON without what a terminal would obey: control characters, and marks that turn the
    direction of writing. Half a surrogate pair cannot be printed at all.
    """
    if isinstance(value, str):
        return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {printable(name): printable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [printable(inner) for inner in value]
    return value


def _refuse_depth(fields: dict[str, Any]) -> None:
    """Whatever walks through the fields afterwards may then be recursive."""
    level: list[Any] = [fields]
    for _ in range(MOST_DEPTH):
        level = [
            each
            for one in level
            for each in (one.values() if isinstance(one, dict) else one)
            if isinstance(each, dict | list)
        ]
        if not level:
            return
    raise EvidenceError(f"nested more than {MOST_DEPTH} levels deep")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        # An integer that no float can hold.
        return False


def _link(previous: str, body: str) -> str:
    return hashlib.sha256((previous + body).encode("ascii")).hexdigest()


def _no_constant(name: str) -> object:
    raise EvidenceError(f"{name} is not a JSON number")


def _no_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise EvidenceError("a key appears twice in one object")
    return fields


_UNPRINTABLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""All but tab and newline."""
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_DECODER: Final = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_no_twins)
_CHAIN: Final = re.compile(r'(\{"at":[^,"]+,)"chain":"[0-9a-f]{64}",')
"""Start of a written line. Its hash covers everything except the chain."""
