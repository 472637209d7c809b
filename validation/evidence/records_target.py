"""Records of a campaign on its target: stages that were run or left out, what the target can do,
and what its guard did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import NonNegativeFloat

from validation.evidence.base import Record
from validation.evidence.schema import Facts

GuardWord = Literal["refused", "stopped", "undone", "not undone", "unsteady"]


@dataclass(frozen=True, kw_only=True)
class DeployedTarget(Record):
    """The system that a team deployed and that this run was made on."""

    KIND = "target"
    kind: str
    """``compose`` or ``kubernetes``."""
    name: str
    replaced_by: str
    """What starts a killed node again."""
    capabilities: tuple[str, ...]
    missing: Facts
    """Capability that it has not -> why."""
    consent: tuple[str, ...]
    """Kinds of faults that were allowed."""


@dataclass(frozen=True, kw_only=True)
class NotRun(Record):
    """A stage that was not run, because the target lacks what it needs."""

    KIND = "not_run"
    stage: str
    criteria: tuple[str, ...]
    """For which it gathers evidence."""
    missing: Facts
    """Capability that it needs -> why it is missing."""


@dataclass(frozen=True, kw_only=True)
class StageRun(Record):
    """A stage that was run, for the reader; no verdict depends on it."""

    KIND = "stage"
    stage: str
    criteria: tuple[str, ...]
    """For which it gathered evidence."""
    started_at: NonNegativeFloat
    finished_at: NonNegativeFloat


@dataclass(frozen=True, kw_only=True)
class GuardEvent(Record):
    """What the guard did: refused a fault, stopped the campaign, or undid what was left."""

    KIND = "guard"
    event: GuardWord
    fault: str
    target: str
    detail: str
    at: NonNegativeFloat
