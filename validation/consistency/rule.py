"""What a rule of consistency is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar, cast

from validation.evidence.base import Record
from validation.evidence.log import Event, Evidence

TOLERANCE_S: Final = 1.0
"""Two readings of the same clock, taken by two threads one after the other, may differ by so much
on a busy machine."""
_QUOTED: Final = 160
_SHOWN: Final = 3
"""One wrong limit is in every reading: the first few say enough."""
R = TypeVar("R", bound=Record)


@dataclass(frozen=True, kw_only=True)
class Violation:
    """Records that contradict each other, or that no run of this gate can have written."""

    rule: str
    kinds: frozenset[str]
    """Kinds of records that cannot be trusted any more; empty: all of the run's."""
    run: str
    text: str
    """What is wrong, with the records quoted."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One relation that holds in every run."""

    name: str
    """What holds, in a sentence."""
    kinds: frozenset[str]
    """Kinds that a violation makes unusable; empty: all."""
    check: Callable[[Evidence], Iterator[str]]
    """Describes every violation in one run."""

    def violations(self, record: Evidence) -> tuple[Violation, ...]:
        """The first violations in one run, each once, and how many more there are.

        A check that raises is a violation too.
        """
        try:
            found = list(dict.fromkeys(self.check(record)))
        except Exception as error:
            found = [f"the rule could not be checked: {type(error).__name__}: {error}"]
        if len(found) > _SHOWN:
            found[_SHOWN:] = [f"and {len(found) - _SHOWN} more like these"]
        return tuple(
            # Names in a record must not add lines to a summary.
            Violation(rule=self.name, kinds=self.kinds, run=record.run, text=" ".join(text.split()))
            for text in found
        )


def kinds(*records: type[Record]) -> frozenset[str]:
    """The kinds of some records."""
    return frozenset(record.KIND for record in records)


def events(record: Evidence, kind: type[R]) -> Iterator[tuple[Event, R]]:
    """Events of one kind with their records, in the order of the file."""
    for event in record.of(kind.KIND):
        yield event, cast("R", event.record)


def quote(event: Event, *fields: str) -> str:
    """An event as text: its line, kind and the fields that matter."""
    shown = ", ".join(f"{name} {event.data.get(name)!r}" for name in fields)
    text = f"line {event.seq + 1} ({event.kind}: {shown})"
    return text if len(text) <= _QUOTED else text[: _QUOTED - 1] + "…"
