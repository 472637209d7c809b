"""Which exit status a decision gives: that of the gate, or that of a check of a pull request."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from validation.decision import GateResult

PULL_REQUEST_MINUTES: Final = 10.0
"""Time budget of a pull request, if no other is given."""


class Policy(StrEnum):
    """What a status of 0 means."""

    PHASE2 = "phase2"
    """GO, as a release needs it."""
    PULL_REQUEST = "pull-request"
    """No required criterion failed. INCONCLUSIVE is a warning."""


POLICIES: Final = tuple(one.value for one in Policy)


def exit_status(result: GateResult, policy: Policy) -> int:
    """0, 1 or 2. By ``phase2``: GO, NO-GO, INCONCLUSIVE; by ``pull-request``: 1 for NO-GO, else
    0.
    """
    from validation.decision import Decision

    if policy is Policy.PULL_REQUEST and result.decision is Decision.INCONCLUSIVE:
        return 0
    return result.exit_code


def warning(result: GateResult) -> str:
    """What a pull request may leave open and a release may not; empty: nothing."""
    from validation.decision import Decision
    from validation.verdict import Status

    if result.decision is not Decision.INCONCLUSIVE:
        return ""
    opened = result.count(Status.INCONCLUSIVE)
    return (
        f"INCONCLUSIVE, {opened} of {len(result.verdicts)} criteria are open: it fails no pull"
        " request, but a release needs GO"
    )
