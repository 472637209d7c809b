"""An INCONCLUSIVE verdict names what the target could not do for it."""

from __future__ import annotations

from dataclasses import replace

from validation.contract import Criterion
from validation.evidence.records_target import NotRun
from validation.verdict import Records, Status, Verdict


def with_missing(criterion: Criterion, verdict: Verdict, records: Records) -> Verdict:
    """Add to the reason which stage was not run, and for which missing capability.

    A PASS or a FAIL has evidence enough, and is not changed.
    """
    if verdict.status is not Status.INCONCLUSIVE:
        return verdict
    found = {
        f"stage {one.stage!r} was not run, for the target lacks {kind!r}: {why}"
        for record in records
        for one in record.all(NotRun)
        if criterion.id in one.criteria
        for kind, why in one.missing.items()
    }
    if not found:
        return verdict
    text = " ".join("; ".join(sorted(found)).split())
    return replace(verdict, reason=f"{verdict.reason}; {text}")
