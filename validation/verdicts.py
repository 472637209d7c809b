"""What a verdict is, and the rule that a checker which fails to answer proves nothing.

A verdict function takes the pooled records and returns a ``Verdict``. It is pure: the same records
give the same verdict for ever. PASS and FAIL are both claims and need proof; everything else, and
above all missing, contradictory or unreadable evidence, is INCONCLUSIVE.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from validation.evidence import Evidence


class Status(StrEnum):
    """The three things that evidence can say about a criterion."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the evidence says about one criterion, and why."""

    status: Status
    measured: str = ""
    """The measurement in the criterion's unit; empty when there is none."""
    interval: tuple[float, float] | None = None
    """Lower and upper 95 % bounds (one-sided each) in the criterion's unit; may be infinite."""
    reason: str
    needs: str = ""
    """What evidence is missing; empty when the verdict is certain."""


Records: TypeAlias = Sequence[Evidence]
VerdictFunction: TypeAlias = Callable[[Records], Verdict]


class InconclusiveError(Exception):
    """Raised by a checker that finds the evidence unusable; becomes an INCONCLUSIVE verdict."""

    def __init__(self, reason: str, *, needs: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.needs = needs


def inconclusive(
    reason: str,
    *,
    needs: str = "",
    measured: str = "",
    interval: tuple[float, float] | None = None,
) -> Verdict:
    """An INCONCLUSIVE verdict."""
    return Verdict(
        status=Status.INCONCLUSIVE,
        measured=measured,
        interval=interval,
        reason=reason,
        needs=needs,
    )


def judge(function: VerdictFunction, records: Records) -> Verdict:
    """Run one verdict function so that neither a hole in the record nor a bug can pass.

    A record without its ``close`` event makes the verdict INCONCLUSIVE: nobody knows what the
    missing part said. So does a checker that raises.
    """
    cut = [record.source for record in records if not record.closed]
    if cut:
        return inconclusive(
            f"record not closed: the run was cut short ({', '.join(cut)})",
            needs="a run that reaches its end",
        )
    try:
        verdict = function(records)
    except InconclusiveError as finding:
        return inconclusive(finding.reason, needs=finding.needs)
    except Exception as error:
        # A checker with a bug must not decide anything, nor stop the other checkers.
        return inconclusive(
            f"the checker failed: {type(error).__name__}: {error}", needs="a repaired checker"
        )
    if verdict.interval is not None and any(math.isnan(bound) for bound in verdict.interval):
        return inconclusive("the bounds are no numbers", needs="readings that are numbers")
    return verdict


def not_measured(by: str) -> VerdictFunction:
    """The verdict function of a criterion that nothing measures yet."""

    def verdict(_records: Records) -> Verdict:
        return inconclusive(f"not measured: {by}", needs=by)

    return verdict


def settle(verdict: Verdict, problems: Sequence[str], *, needs: str) -> Verdict:
    """Turn a PASS into INCONCLUSIVE when part of its evidence is unusable; a FAIL stands."""
    if verdict.status is not Status.PASS or not problems:
        return verdict
    return inconclusive(
        listed(problems), needs=needs, measured=verdict.measured, interval=verdict.interval
    )


def listed(items: Sequence[str], *, most: int = 3) -> str:
    """The first few items as text, and how many more there are."""
    more = f"; and {len(items) - most} more" if len(items) > most else ""
    return "; ".join(items[:most]) + more


def plural(count: int, noun: str, nouns: str = "") -> str:
    """``1 pair``, ``2 pairs``."""
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"
