"""Every edit of some evidence: over its kinds, their fields, and operations.

Kinds and fields are those of the record types, so that a new one is covered without a list.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from tests.support.evidence_fuzz.values import OPERATIONS, UNCHANGED, shape
from validation.evidence.base import Record
from validation.evidence.chained_lines import GENESIS, write_line
from validation.evidence.log import Event, read_evidence
from validation.evidence.records import RECORDS, Close, Environment, Open, parse

Line = tuple[float, Record]
"""The time of a line, and its record."""
Change = Callable[["Lines"], list[Line] | None]


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One change of an evidence file."""

    kind: str
    field: str
    """Empty: whole records."""
    operation: str
    change: Change
    """The lines afterwards; None: it changes nothing. EvidenceError: no file can hold it."""
    everything: bool = False
    """Whether records of other kinds change, too."""

    @property
    def place(self) -> str:
        """The kind and field."""
        return f"{self.kind}.{self.field}" if self.field else self.kind

    @property
    def name(self) -> str:
        """Names the edit among all of them."""
        return f"{self.place}: {self.operation}"


class Lines:
    """The lines of an evidence file, ``open`` and ``close`` included.

    Args:
        lines: The file.
        marked: By kind the place of the record that an edit of one record changes, where it is not
            drawn; for example the one that shows a defect.
    """

    def __init__(self, lines: Sequence[Line], marked: dict[str, int] | None = None) -> None:
        self.lines: Final = list(lines)
        self._places: dict[str, list[int]] = {}
        for place, (_, record) in enumerate(self.lines):
            self._places.setdefault(record.KIND, []).append(place)
        self._marked: Final = marked or {}
        values = (value for _, record in self.lines for value in record.data().values())
        self._texts: Final = sorted({str(value) for value in values if shape(value) == "text"})

    @classmethod
    def of(cls, events: Sequence[Event], marked: dict[str, int] | None = None) -> Lines:
        """The lines of evidence."""
        return cls([(event.at, event.record) for event in events], marked)

    @property
    def kinds(self) -> list[str]:
        """Kinds that are there."""
        return list(self._places)

    def places(self, kind: str) -> list[int]:
        """Where records of a kind are."""
        return self._places.get(kind, [])

    def one(self, kind: str, key: str) -> int:
        """The place of the record that an edit of one record changes."""
        if kind in self._marked:
            return self._marked[kind]
        return random.Random(f"one:{kind}:{key}").choice(self._places[kind])

    def text(self, key: str, but: object) -> str:
        """Some text of the file."""
        return random.Random(f"text:{key}").choice([one for one in self._texts if one != but])

    def with_records(self, records: dict[int, Record]) -> list[Line] | None:
        """The lines with other records at some places; None if they are equal to the old ones."""
        if all(record == self.lines[place][1] for place, record in records.items()):
            return None
        changed = list(self.lines)
        for place, record in records.items():
            changed[place] = (changed[place][0], record)
        return changed

    def replaced(self, place: int, values: dict[str, Any]) -> Record:
        """The record of a place with other values, if a file can hold them.

        Raises:
            EvidenceError: the gate refuses to read it.
        """
        record = self.lines[place][1]
        data = {**record.data(), **values}
        return parse(record.KIND, data)


def counted(lines: list[Line]) -> list[Line]:
    """The same with the right number in ``close``."""
    *rest, (at, last) = lines
    assert isinstance(last, Close)
    return [*rest, (at, dataclasses.replace(last, events=len(rest)))]


def all_edits(lines: Lines) -> Iterator[Edit]:
    """Every edit of these lines."""
    for kind in lines.kinds:
        if kind not in (Open.KIND, Close.KIND):
            yield from _record_edits(kind, many=len(lines.places(kind)) > 1)
        yield from _field_edits(lines, kind)


def fields_of(lines: Lines, kind: str) -> list[str]:
    """Fields of a kind; those of the environment are the keys of its map."""
    if kind == Environment.KIND:
        return list(lines.lines[lines.places(kind)[0]][1].data())
    return [field.name for field in dataclasses.fields(RECORDS[kind])]


def _field_edits(lines: Lines, kind: str) -> Iterator[Edit]:
    names = fields_of(lines, kind)
    scopes = ("all", "one") if len(lines.places(kind)) > 1 else ("all",)
    for field in names:
        for operation in OPERATIONS:
            for scope in scopes:
                yield Edit(
                    kind=kind,
                    field=field,
                    operation=operation if scope == "all" else f"{operation} (one)",
                    change=_operated(kind, field, operation, scope),
                )
        if len(scopes) > 1:
            swap, equal = _swapped(kind, field), _equal(kind, field)
            yield Edit(kind=kind, field=field, operation="swap records", change=swap)
            yield Edit(kind=kind, field=field, operation="like the first", change=equal)
    for one, other in combinations(names, 2):
        exchange = _exchanged(kind, one, other)
        yield Edit(kind=kind, field=one, operation=f"swap with {other}", change=exchange)


def _operated(kind: str, field: str, operation: str, scope: str) -> Change:
    def change(lines: Lines) -> list[Line] | None:
        key = f"{kind}.{field}: {operation}"
        places = lines.places(kind) if scope == "all" else [lines.one(kind, key)]
        found: dict[int, Record] = {}
        for place in places:
            old = lines.lines[place][1].data().get(field)
            new = OPERATIONS[operation](old, lines.text(key, old))
            if new is not UNCHANGED and new != old:
                found[place] = lines.replaced(place, {field: new})
        return lines.with_records(found)

    return change


def _swapped(kind: str, field: str) -> Change:
    """Two records exchange their values of a field."""

    def change(lines: Lines) -> list[Line] | None:
        a = lines.one(kind, f"{kind}.{field}: swap")
        mine = lines.lines[a][1].data()[field]
        others = [b for b in lines.places(kind) if lines.lines[b][1].data()[field] != mine]
        if not others:
            return None
        b = min(others, key=lambda place: abs(place - a))
        theirs = lines.lines[b][1].data()[field]
        return lines.with_records(
            {a: lines.replaced(a, {field: theirs}), b: lines.replaced(b, {field: mine})}
        )

    return change


def _equal(kind: str, field: str) -> Change:
    """All records have the value of the first one."""

    def change(lines: Lines) -> list[Line] | None:
        first = lines.lines[lines.places(kind)[0]][1].data()[field]
        found = {
            place: lines.replaced(place, {field: first})
            for place in lines.places(kind)
            if lines.lines[place][1].data()[field] != first
        }
        return lines.with_records(found)

    return change


def _exchanged(kind: str, one: str, other: str) -> Change:
    """Two fields of each record exchange their values, where both are of one type."""

    def change(lines: Lines) -> list[Line] | None:
        found: dict[int, Record] = {}
        for place in lines.places(kind):
            data = lines.lines[place][1].data()
            a, b = data.get(one), data.get(other)
            if a != b and shape(a) == shape(b):
                found[place] = lines.replaced(place, {one: b, other: a})
        return lines.with_records(found)

    return change


def _record_edits(kind: str, *, many: bool) -> Iterator[Edit]:
    changes: dict[str, Callable[[Lines], list[Line] | None]] = {
        "drop all": lambda lines: _without(lines, lines.places(kind)),
        "repeat": lambda lines: _repeated(lines, [lines.one(kind, kind)]),
        "move to the start": lambda lines: _moved(lines, lines.one(kind, kind), 1),
        "move to the end": lambda lines: _moved(lines, lines.one(kind, kind), -2),
    }
    if many:
        changes |= {
            "drop one": lambda lines: _without(lines, [lines.one(kind, kind)]),
            "drop first": lambda lines: _without(lines, lines.places(kind)[:1]),
            "drop last": lambda lines: _without(lines, lines.places(kind)[-1:]),
            "drop every other": lambda lines: _without(lines, lines.places(kind)[1::2]),
            "repeat all": lambda lines: _repeated(lines, lines.places(kind)),
            "swap neighbours": lambda lines: _neighbours(lines, kind),
            "reverse": lambda lines: _reversed(lines, kind),
        }
    for name, change in changes.items():
        yield Edit(kind=kind, field="", operation=name, change=change)
    for name, place, after in (
        ("cut the file before the first", 0, 0),
        ("cut the file after the first", 0, 1),
        ("cut the file before the last", -1, 0),
    ):
        yield Edit(
            kind=kind,
            field="",
            operation=name,
            change=lambda lines, place=place, after=after: counted(  # type: ignore[misc]
                [*lines.lines[: lines.places(kind)[place] + after], lines.lines[-1]]
            ),
            everything=True,
        )


def _without(lines: Lines, places: Sequence[int]) -> list[Line]:
    gone = set(places)
    return counted([line for place, line in enumerate(lines.lines) if place not in gone])


def _repeated(lines: Lines, places: Sequence[int]) -> list[Line]:
    twice = set(places)
    found: list[Line] = []
    for place, line in enumerate(lines.lines):
        found += [line, line] if place in twice else [line]
    return counted(found)


def _moved(lines: Lines, place: int, target: int) -> list[Line] | None:
    """A record elsewhere, with the time of the line that was there."""
    rest = [line for n, line in enumerate(lines.lines) if n != place]
    where = target if target >= 0 else len(rest) + 1 + target
    at = rest[min(where, len(rest) - 1)][0]
    changed = [*rest[:where], (at, lines.lines[place][1]), *rest[where:]]
    return None if changed == lines.lines else changed


def _neighbours(lines: Lines, kind: str) -> list[Line] | None:
    places = lines.places(kind)
    n = min(places.index(lines.one(kind, kind)), len(places) - 2)
    a, b = places[n], places[n + 1]
    return lines.with_records({a: lines.lines[b][1], b: lines.lines[a][1]})


def _reversed(lines: Lines, kind: str) -> list[Line] | None:
    places = lines.places(kind)
    return lines.with_records(
        {a: lines.lines[b][1] for a, b in zip(places, reversed(places), strict=True)}
    )


def applied(edit: Edit, lines: Lines) -> list[Line] | None:
    """The lines after an edit; None: it changes nothing.

    Raises:
        EvidenceError: the gate refuses to read them.
    """
    changed = edit.change(lines)
    if changed is not None and edit.kind in (Open.KIND, Close.KIND):
        # What no record shows alone: the schema, and the number of lines.
        with TemporaryDirectory() as folder:
            path = Path(folder) / "evidence.jsonl"
            write_file(changed, path)
            read_evidence(path)
    return changed


def write_file(lines: Sequence[Line], path: Path) -> None:
    """The lines as a file, with a right chain of hashes."""
    chain, text = GENESIS, []
    for seq, (at, record) in enumerate(lines):
        line, chain = write_line(seq, record.KIND, at, record.data(), chain)
        text.append(line)
    path.write_text("".join(text))
