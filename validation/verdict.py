"""Verdicts, and the rule that a verdict function that raises gives INCONCLUSIVE.

A verdict function takes the pooled records and returns a ``Verdict``. It is pure: the same records
always give the same verdict. PASS and FAIL are both claims and need proof. Everything else is
INCONCLUSIVE, above all missing, contradictory or unreadable evidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from validation.evidence.log import Evidence


class Status(StrEnum):
    """The three statuses of a criterion."""

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
    """What evidence is missing, and how long it takes to gather; empty when nothing is."""
    budget: str = ""
    """What the target allows, and how much of it was used: "99 % allows 14 min a day; 0 s used"."""
    more_s: float | None = None
    """Seconds that must still be watched for a PASS; None: not known, or time is not what it lacks.
    """
    distrusted: bool = False
    """Whether it is INCONCLUSIVE only because its evidence is not trusted: it was PASS or FAIL."""


Records: TypeAlias = Sequence[Evidence]
VerdictFunction: TypeAlias = Callable[[Records], Verdict]


class InconclusiveError(Exception):
    """Raised by a verdict function for unusable evidence; becomes an INCONCLUSIVE verdict."""

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
    budget: str = "",
    more_s: float | None = None,
) -> Verdict:
    """An INCONCLUSIVE verdict."""
    return Verdict(
        status=Status.INCONCLUSIVE,
        measured=measured,
        interval=interval,
        reason=reason,
        needs=needs,
        budget=budget,
        more_s=more_s,
    )


def judge(function: VerdictFunction, records: Records) -> Verdict:
    """Run one verdict function so that neither missing evidence nor a bug can pass.

    A record without its ``close`` event makes the verdict INCONCLUSIVE, because the missing part is
    unknown. So does a value that is NaN, and a verdict function that raises.
    """
    cut = [record.source for record in records if not record.closed]
    if cut:
        return inconclusive(
            f"record not closed: the run was cut short ({', '.join(cut)})",
            needs="a run that reaches its end",
        )
    if unreadable := [record.not_finite for record in records if record.not_finite]:
        return inconclusive(format_list(unreadable), needs="finite readings")
    try:
        verdict = _in_one_line(function(records))
    except InconclusiveError as finding:
        needs = finding.needs or "a record that does not contradict itself"
        return _in_one_line(inconclusive(finding.reason, needs=needs))
    except Exception as error:
        # A verdict function with a bug must not decide anything, nor stop the others.
        return inconclusive(
            f"the verdict function failed: {type(error).__name__}: {error}",
            needs="a corrected verdict function",
        )
    if verdict.interval is not None and any(math.isnan(bound) for bound in verdict.interval):
        return inconclusive("the confidence bounds are NaN", needs="finite readings")
    return verdict


def _in_one_line(verdict: Verdict) -> Verdict:
    """Texts from evidence must not add lines to a summary."""
    return replace(
        verdict,
        measured=" ".join(verdict.measured.split()),
        reason=" ".join(verdict.reason.split()),
        needs=" ".join(verdict.needs.split()),
        budget=" ".join(verdict.budget.split()),
    )


def downgrade(verdict: Verdict, problems: Sequence[str], *, needs: str) -> Verdict:
    """Turn a PASS into INCONCLUSIVE when part of its evidence is unusable; a FAIL does not
    change.
    """
    if verdict.status is not Status.PASS or not problems:
        return verdict
    return inconclusive(
        format_list(problems),
        needs=needs,
        measured=verdict.measured,
        interval=verdict.interval,
        budget=verdict.budget,
    )


def format_list(items: Sequence[str], *, most: int = 3) -> str:
    """The first few items as text, and how many more there are."""
    more = f"; and {len(items) - most} more" if len(items) > most else ""
    return "; ".join(items[:most]) + more


def plural(count: int, noun: str, nouns: str = "") -> str:
    """``1 pair``, ``2 pairs``."""
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"


def span(seconds: float) -> str:
    """A duration in the unit that reads best: ``8 s``, ``13 min``, ``5.3 h``, ``2.1 days``."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 9.95 and seconds % 1 else f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def format_shortfall(count: int | None, noun: str, nouns: str = "", *, each_s: float) -> str:
    """What is still needed and how long that takes: ``54 more recoveries, about 9 min``."""
    many = f"more {nouns or noun + 's'}"
    if count is None:
        return f"very many {many}: the true value is close to the target"
    return f"{plural(count, f'more {noun}', many)}, about {span(count * each_s)}"


def bounds(verdict: Verdict, unit: str) -> str:
    """The interval with its unit, ``8.1 to 16.8 s``; empty when there is none."""
    if verdict.interval is None:
        return ""
    lower, upper = (_number(bound) for bound in verdict.interval)
    return f"{lower} to {upper} {unit}".strip()


def format_explanation(verdict: Verdict) -> str:
    """Reason, what is still needed where that says more, and the reading of the error budget."""
    words = verdict.reason
    if verdict.needs and verdict.needs not in words:
        words += f". Needs: {verdict.needs}"
    return f"{words}. Budget: {verdict.budget}" if verdict.budget else words


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "∞" if value > 0 else "-∞"
    if value == 0 or abs(value) >= 1e5 or abs(value) < 1e-3:
        return f"{value:.2g}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
