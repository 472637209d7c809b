"""A decision as JSON: for ``--json``, the pages, and the signed statement."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING

from validation.open_points import as_objects

if TYPE_CHECKING:
    from validation.decision import GateResult
    from validation.verdict import Verdict


def as_object(result: GateResult) -> dict[str, object]:
    """A result as JSON-serialisable values; infinite bounds become ``null``."""
    return {
        "decision": result.decision_text,
        "outcome": result.decision.value,
        "exit_code": result.exit_code,
        "system": result.system,
        "system_id": result.system_id,
        "signature": {"state": result.signature.state.value, "key_id": result.signature.key_id},
        "not_undone": list(result.not_undone),
        "reservations": list(result.reservations),
        "targets": {
            "file": result.targets.name,
            "sha256": result.targets.sha256,
            "differences": list(result.differences),
            "warnings": list(result.warnings),
        },
        "uncertified": list(result.uncertified),
        "open": as_objects(result.open_points),
        "false_alarms": result.false_alarms,
        "verdicts": [
            {
                "criterion": criterion.id,
                "status": result.verdicts[criterion.id].status.value,
                "target": criterion.target,
                "tier": result.targets.tier(criterion.id).value,
                "unit": criterion.unit,
                "measured": result.verdicts[criterion.id].measured,
                "interval": _bounds(result.verdicts[criterion.id]),
                "reason": result.verdicts[criterion.id].reason,
                "needs": result.verdicts[criterion.id].needs,
                "budget": result.verdicts[criterion.id].budget,
                "system": result.system_id,
            }
            for criterion in result.criteria
        ],
        "observer": [asdict(aspect) for aspect in result.observer],
        "violations": [
            {"rule": violation.rule, "run": violation.run, "text": violation.text}
            for violation in result.violations
        ],
        "refused_certificates": list(result.refused),
        "plugins": [asdict(one) for one in result.plugins],
        "foreign_code": list(result.foreign_code),
        "left_out": [{**asdict(one), "text": one.text} for one in result.left_out],
        "sources": [asdict(source) for source in result.sources],
    }


def _bounds(verdict: Verdict) -> list[float | None] | None:
    if verdict.interval is None:
        return None
    return [bound if math.isfinite(bound) else None for bound in verdict.interval]
