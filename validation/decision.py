"""The decision over all criteria: GO, NO-GO or INCONCLUSIVE, and its exit status."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from types import MappingProxyType

from validation.certificates import Certificate, certified, false_alarms
from validation.contract import Criterion
from validation.criteria.registry import CRITERIA
from validation.evidence.log import Evidence, pool
from validation.self_check import EvidenceSource, assess_sources, downgrade_untrusted
from validation.verdict import Status, Verdict, judge


class Decision(StrEnum):
    """What the gate says about Phase 2."""

    GO = "GO"
    NO_GO = "NO-GO"
    INCONCLUSIVE = "INCONCLUSIVE"


_EXIT_CODES = {Decision.GO: 0, Decision.NO_GO: 1, Decision.INCONCLUSIVE: 2}


@dataclass(frozen=True, kw_only=True)
class Source:
    """An evidence file that the decision is based on."""

    path: str
    run: str
    sha256: str
    events: int
    closed: bool
    replay: str
    """Shell command that repeats the run."""
    started_at: float
    """Unix seconds."""
    backend: str
    nodes: int


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """The decision and everything that it rests on."""

    decision: Decision
    criteria: tuple[Criterion, ...]
    verdicts: Mapping[str, Verdict]
    """By id of the criterion, in the order of ``criteria``."""
    sources: tuple[Source, ...]
    observer: tuple[EvidenceSource, ...] = ()
    """Sources of evidence, and whether each is trusted."""
    certificates: tuple[Certificate, ...] = ()
    """Certificates of this gate: the mutants that it was tested with."""

    @property
    def uncertified(self) -> tuple[str, ...]:
        """Uncertified criteria; each of them blocks GO."""
        done = certified(self.certificates)
        return tuple(name for name in self.verdicts if name not in done)

    @property
    def false_alarms(self) -> str:
        """Describe how often the healthy system failed in the certification."""
        return false_alarms(self.certificates)

    @property
    def exit_code(self) -> int:
        """0 GO, 1 NO-GO, 2 INCONCLUSIVE."""
        return _EXIT_CODES[self.decision]

    def verdict(self, criterion: str) -> Verdict:
        """Verdict on one criterion; KeyError names an unknown id."""
        return self.verdicts[criterion]

    def count(self, status: Status) -> int:
        """How many criteria have a status."""
        return sum(1 for verdict in self.verdicts.values() if verdict.status is status)


def as_object(result: GateResult) -> dict[str, object]:
    """A result as JSON-serialisable values; infinite bounds become ``null``."""
    return {
        "decision": result.decision.value,
        "exit_code": result.exit_code,
        "uncertified": list(result.uncertified),
        "false_alarms": result.false_alarms,
        "verdicts": [
            {
                "criterion": criterion.id,
                "status": result.verdicts[criterion.id].status.value,
                "target": criterion.target,
                "unit": criterion.unit,
                "measured": result.verdicts[criterion.id].measured,
                "interval": _bounds(result.verdicts[criterion.id]),
                "reason": result.verdicts[criterion.id].reason,
                "needs": result.verdicts[criterion.id].needs,
                "budget": result.verdicts[criterion.id].budget,
            }
            for criterion in result.criteria
        ],
        "observer": [asdict(aspect) for aspect in result.observer],
        "sources": [asdict(source) for source in result.sources],
    }


def _bounds(verdict: Verdict) -> list[float | None] | None:
    if verdict.interval is None:
        return None
    return [bound if math.isfinite(bound) else None for bound in verdict.interval]


def decide(
    evidence: Sequence[Evidence],
    *,
    criteria: Sequence[Criterion] = CRITERIA,
    certificates: Sequence[Certificate] = (),
) -> GateResult:
    """Judge every criterion on the pooled records.

    A PASS that depends on an untrusted source is INCONCLUSIVE. One FAIL gives NO-GO. GO needs PASS
    and a certificate for every criterion. Anything else is INCONCLUSIVE.

    Args:
        certificates: Certificates of this gate's code, from ``read_certificates``.

    Raises:
        EvidenceError: there is no record, or the same run twice.
        ValueError: no criterion, or two with the same id.
    """
    records = pool(evidence)
    aspects = assess_sources(records, criteria)
    verdicts = {
        criterion.id: downgrade_untrusted(criterion, judge(criterion.verdict, records), aspects)
        for criterion in criteria
    }
    if not criteria or len(verdicts) != len(criteria):
        raise ValueError("a gate needs criteria with unique ids")
    statuses = {verdict.status for verdict in verdicts.values()}
    if Status.FAIL in statuses:
        decision = Decision.NO_GO
    elif statuses == {Status.PASS} and set(verdicts) <= certified(certificates):
        decision = Decision.GO
    else:
        decision = Decision.INCONCLUSIVE
    return GateResult(
        decision=decision,
        criteria=tuple(criteria),
        verdicts=MappingProxyType(verdicts),
        sources=tuple(
            Source(
                path=record.source,
                run=record.run,
                sha256=record.sha256,
                events=len(record.events),
                closed=record.closed,
                replay=record.opening.replay,
                started_at=record.opening.started_at,
                backend=record.opening.backend,
                nodes=record.opening.nodes,
            )
            for record in records
        ),
        observer=aspects,
        certificates=tuple(certificates),
    )
