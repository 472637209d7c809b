"""Applies all rules of consistency, and finds which criteria a violation leaves open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from validation.consistency import (
    coverage,
    engine,
    faults,
    identity,
    ledger,
    names,
    nodes,
    quantities,
    times,
    work,
)
from validation.consistency.rule import Rule, Violation
from validation.evidence.log import Event, Evidence
from validation.verdict import Records, Status, Verdict, format_list, inconclusive

RULES: Final[tuple[Rule, ...]] = (
    *times.RULES,
    *faults.RULES,
    *work.RULES,
    *engine.RULES,
    *coverage.RULES,
    *identity.RULES,
    *names.RULES,
    *ledger.RULES,
    *nodes.RULES,
    *quantities.RULES,
)
_NEEDS: Final = "evidence that does not contradict itself"


def violations(records: Records) -> tuple[Violation, ...]:
    """Every violation in every run."""
    return tuple(
        violation for record in records for rule in RULES for violation in rule.violations(record)
    )


class ReadKinds:
    """Remembers which kinds of records were read of some evidence.

    A verdict depends on the kinds that its function asks for. No list of these has to be kept.
    """

    def __init__(self, records: Records) -> None:
        self.kinds: set[str] = set()
        self.records: tuple[Evidence, ...] = tuple(_Watched(record, self) for record in records)


class _Watched(Evidence):
    """Evidence that tells which kinds are asked for."""

    def __init__(self, record: Evidence, reader: ReadKinds) -> None:
        for name, value in vars(record).items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "reader", reader)

    reader: ReadKinds

    def of(self, kind: str) -> tuple[Event, ...]:
        """As ``Evidence.of``."""
        self.reader.kinds.add(kind)
        return super().of(kind)


def open_if_violated(verdict: Verdict, read: ReadKinds, found: Sequence[Violation]) -> Verdict:
    """The verdict, INCONCLUSIVE where its evidence contradicts itself.

    A FAIL stands, unless the whole run is in question, as when its clock was set back. Records that
    contradict each other can be the defect of the system that the FAIL is about: an engine that
    reports wrong times, or a ledger with missing rows.
    """
    failed = verdict.status is Status.FAIL
    own: dict[tuple[str, str], str] = {}
    for one in found:
        if not one.kinds or (one.kinds & read.kinds and not failed):
            text = f"run {one.run} breaks the rule that {one.rule}: {one.text}"
            own.setdefault((one.run, one.rule), text)
    if not own or verdict.status is Status.INCONCLUSIVE:
        return verdict
    return inconclusive(
        format_list(list(own.values())),
        needs=_NEEDS,
        measured=verdict.measured,
        interval=verdict.interval,
        budget=verdict.budget,
    )
