"""How long the evidence of each criterion took to gather, from the records of the stages."""

from __future__ import annotations

from collections.abc import Sequence

from validation.contract import Criterion
from validation.evidence.log import Evidence
from validation.evidence.records_target import StageRun


def wall_seconds(record: Evidence) -> float:
    """Seconds from the first record of a run to the last."""
    return max(0.0, record.events[-1].at - record.events[0].at) if record.events else 0.0


def gathering_seconds(criterion: Criterion, evidence: Sequence[Evidence]) -> float:
    """Seconds of the stages that gathered evidence for a criterion, in all runs.

    A stage that feeds several criteria counts for each of them. A run without stages is a soak: it
    counts as a whole for the criteria that are judged on one.
    """
    found = 0.0
    for record in evidence:
        stages = record.all(StageRun)
        found += sum(
            max(0.0, one.finished_at - one.started_at)
            for one in stages
            if criterion.id in one.criteria
        )
        if not stages and criterion.soak_s > 0:
            found += wall_seconds(record)
    return found
