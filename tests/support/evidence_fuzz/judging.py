"""Whether the gate says GO on edited evidence: by its own rules and verdicts, without repeating
those that read nothing that changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from tests.support.evidence_fuzz.edits import Line
from validation.consistency.check import RULES, ReadKinds, open_if_violated
from validation.consistency.rule import Violation
from validation.contract import Criterion
from validation.criteria.registry import CRITERIA
from validation.evidence.log import Event, Evidence
from validation.evidence.records import Close, Open
from validation.self_check import EvidenceSource, assess_sources, downgrade_untrusted
from validation.verdict import Status, Verdict, judge

T = TypeVar("T")
ANY: Final = "*"
"""In place of a kind: all lines were read."""


class Tracked(Evidence):
    """Evidence that notes which kinds are read of it."""

    def __init__(self, record: Evidence) -> None:
        for field in dataclasses.fields(Evidence):
            object.__setattr__(self, field.name, getattr(record, field.name))
        object.__setattr__(self, "reads", set())
        object.__setattr__(self, "inner", record)

    reads: set[str]
    inner: Evidence

    def __getattribute__(self, name: str) -> Any:
        if name == "events":
            object.__getattribute__(self, "reads").add(ANY)
        return super().__getattribute__(name)

    def of(self, kind: str) -> tuple[Event, ...]:
        """As ``Evidence.of``."""
        self.reads.add(kind)
        return self.inner.of(kind)

    @property
    def opening(self) -> Open:
        """As ``Evidence.opening``."""
        self.reads.add(Open.KIND)
        return self.inner.opening

    @property
    def not_finite(self) -> str:
        """As ``Evidence.not_finite``; an edit cannot make one, since a file cannot hold it."""
        return ""


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A result, and the kinds that it depends on."""

    value: Any
    reads: frozenset[str]

    def is_stale(self, changed: Collection[str] | None) -> bool:
        return changed is None or ANY in self.reads or not self.reads.isdisjoint(changed)


def _seen(record: Evidence, function: Callable[[Evidence], object]) -> _Seen:
    tracked = Tracked(record)
    value = function(tracked)
    return _Seen(value=value, reads=frozenset(tracked.reads))


def as_evidence(lines: Sequence[Line]) -> Evidence:
    """The lines as evidence that was read from a file."""
    return Evidence(
        source="fuzzed.jsonl",
        sha256="0" * 64,
        closed=isinstance(lines[-1][1], Close),
        events=tuple(
            Event(seq=seq, kind=record.KIND, at=at, data=record.data(), record=record)
            for seq, (at, record) in enumerate(lines)
        ),
    )


class Judge:
    """Judges edits of one evidence file."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = list(lines)
        self._events = as_evidence(lines).events
        record = as_evidence(lines)
        self._rules: Final = [_seen(record, rule.violations) for rule in RULES]
        self._verdicts: Final = [_seen(record, _verdict(criterion)) for criterion in CRITERIA]
        self._sources: Final = _seen(record, _sources)

    def open_criteria(self) -> list[str]:
        """Ids of the criteria that do not pass before any edit."""
        return [
            criterion.id
            for criterion, seen in zip(CRITERIA, self._verdicts, strict=True)
            if self._final(criterion, seen, self._found(), self._sources.value) is not Status.PASS
        ]

    def can_change(self, kind: str) -> bool:
        """Whether an edit of one kind can open or close what is not PASS."""
        kept = [seen for seen in self._verdicts if not seen.is_stale([kind])]
        if any(seen.value.status is not Status.PASS for seen in kept):
            return False
        # A violation that stays leaves those criteria open that read the same as before.
        stays = [v for seen in self._rules if not seen.is_stale([kind]) for v in seen.value]
        return not any(not one.kinds or one.kinds & seen.reads for one in stays for seen in kept)

    def gives_go(self, lines: Sequence[Line], changed: Collection[str] | None) -> bool:
        """Whether these lines give GO.

        Args:
            lines: Edited lines.
            changed: Kinds that the edit changed; None: any.
        """
        record = self._edited(lines)
        verdicts = list(self._verdicts)
        # What was open before comes first: most edits change nothing there.
        order = sorted(range(len(CRITERIA)), key=lambda n: verdicts[n].value.status is Status.PASS)
        for n in order:
            if verdicts[n].is_stale(changed):
                verdicts[n] = _seen(record, _verdict(CRITERIA[n]))
            if verdicts[n].value.status is not Status.PASS:
                return False
        found: list[Violation] = []
        for rule, seen in zip(RULES, self._rules, strict=True):
            found += rule.violations(record) if seen.is_stale(changed) else seen.value
        sources = self._sources
        if sources.is_stale(changed):
            sources = _seen(record, _sources)
        return all(
            self._final(criterion, seen, found, sources.value) is Status.PASS
            for criterion, seen in zip(CRITERIA, verdicts, strict=True)
        )

    def _edited(self, lines: Sequence[Line]) -> Evidence:
        if len(lines) != len(self._lines):
            return as_evidence(lines)
        events = list(self._events)
        for place, (line, old) in enumerate(zip(lines, self._lines, strict=True)):
            if line is not old:
                at, record = line
                events[place] = Event(
                    seq=place, kind=record.KIND, at=at, data=record.data(), record=record
                )
        return Evidence(
            source="fuzzed.jsonl",
            sha256="0" * 64,
            closed=isinstance(lines[-1][1], Close),
            events=tuple(events),
        )

    def _found(self) -> list[Violation]:
        return [violation for seen in self._rules for violation in seen.value]

    @staticmethod
    def _final(
        criterion: Criterion,
        seen: _Seen,
        found: Sequence[Violation],
        sources: Sequence[EvidenceSource],
    ) -> Status:
        read = ReadKinds(())
        read.kinds |= seen.reads
        verdict = downgrade_untrusted(criterion, seen.value, sources)
        return open_if_violated(verdict, read, found).status


def _verdict(criterion: Criterion) -> Callable[[Evidence], Verdict]:
    return lambda record: judge(criterion.verdict, [record])


def _sources(record: Evidence) -> tuple[EvidenceSource, ...]:
    return assess_sources([record], CRITERIA)
