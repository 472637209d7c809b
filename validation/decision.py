"""The decision over all criteria: GO, NO-GO or INCONCLUSIVE, and its exit status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from types import MappingProxyType

from validation.campaigns.log import CampaignLog
from validation.certificates import Certificate, certified, false_alarms
from validation.consistency.check import ReadKinds, open_if_violated, violations
from validation.consistency.rule import Violation
from validation.consistency.times import in_future
from validation.contract import Criterion, CriterionPlugin, Mutant
from validation.criteria.registry import CRITERIA, MUTANTS
from validation.disturbance import open_if_disturbed
from validation.evidence.identity import (
    MAX_AGE_DAYS,
    SIMULATED,
    require_one_system,
    system_id,
    too_old,
)
from validation.evidence.log import Evidence, pool
from validation.left_out import LeftOut, left_out, open_if_left_out
from validation.left_out import reservations as reservations_of_log
from validation.missing_capabilities import with_missing
from validation.open_points import OpenPoints, Standing, open_for_go
from validation.provenance import (
    Plugin,
    Source,
    described_plugin,
    foreign_code,
    not_undone,
    source_of,
)
from validation.self_check import EvidenceSource, assess_sources, downgrade_untrusted
from validation.signing.state import Signature
from validation.thresholds import PLAN, Targets, Tier
from validation.verdict import Records, Status, Verdict, judge


class Decision(StrEnum):
    """What the gate says about Phase 2."""

    GO = "GO"
    NO_GO = "NO-GO"
    INCONCLUSIVE = "INCONCLUSIVE"


_EXIT_CODES = {Decision.GO: 0, Decision.NO_GO: 1, Decision.INCONCLUSIVE: 2}


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
    violations: tuple[Violation, ...] = ()
    """Records that contradict each other; the criteria that read them are open."""
    reservations: tuple[str, ...] = ()
    """Why there is no GO, whatever the verdicts: a simulated run, or one of another time."""
    not_undone: tuple[str, ...] = ()
    """Faults that a deployed target still suffers from; the loudest lines of every output."""
    left_out: tuple[LeftOut, ...] = ()
    """Runs of the same system that the campaign log lists, and that were not judged."""
    system_id: str = ""
    """Short name of the system, which each verdict bears."""

    plugins: tuple[Plugin, ...] = ()
    """Files of ``--with`` that gave criteria to this decision."""
    foreign_code: tuple[str, ...] = ()
    """Files of ``--with`` whose stages ran while the evidence was gathered, in words."""

    refused: tuple[str, ...] = ()
    """Why certificates that are there do not count."""
    signature: Signature = field(default_factory=Signature)
    """Who signed this decision, as far as it is known."""

    @property
    def system(self) -> str:
        """The system that the verdicts hold for, in words."""
        return self.sources[0].system if self.sources else "none"

    certified: frozenset[str] = frozenset()
    """Criteria all of whose mutants were detected on this backend."""

    open_points: tuple[OpenPoints, ...] = ()
    """What is still open for GO, grouped by cause."""

    targets: Targets = PLAN
    """Thresholds and tiers that the criteria were held to."""

    @property
    def differences(self) -> tuple[str, ...]:
        """Each threshold and tier that differs from the plan's, in words."""
        return self.targets.differences(self.criteria)

    @property
    def decision_text(self) -> str:
        """The decision, with the targets that it is on where they are not the plan's."""
        if not self.differences:
            return self.decision.value
        return (
            f"{self.decision.value} against {self.targets.name}'s targets, which differ from the"
            f" plan's in {'; '.join(self.differences)}"
        )

    @property
    def required(self) -> tuple[Criterion, ...]:
        """Criteria that decide; the verdicts on the others are only shown."""
        return _required(self.criteria, self.targets)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Criteria of the tier ``warn`` that are not PASS, in words."""
        return tuple(
            f"{one.id} is {self.verdicts[one.id].status.value}, and its tier is warn"
            for one in self.criteria
            if self.targets.tier(one.id) is Tier.WARN
            and self.verdicts[one.id].status is not Status.PASS
        )

    @property
    def uncertified(self) -> tuple[str, ...]:
        """Uncertified criteria; each of them blocks GO."""
        return tuple(one.id for one in self.required if one.id not in self.certified)

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


def decide(
    evidence: Sequence[Evidence],
    *,
    criteria: Sequence[Criterion] = CRITERIA,
    certificates: Sequence[Certificate] = (),
    mutants: Sequence[Mutant] = MUTANTS,
    now: float | None = None,
    max_age_days: float = MAX_AGE_DAYS,
    campaigns: CampaignLog | None = None,
    plugins: Sequence[CriterionPlugin] = (),
    refused: Sequence[str] = (),
    targets: Targets = PLAN,
) -> GateResult:
    """Judge every criterion on the pooled records, by the thresholds of ``targets``.

    Criteria that ``targets`` does not require decide nothing. What passes on a source of evidence
    that is untrusted is INCONCLUSIVE, and so is what rests on records that contradict each other.
    One FAIL makes it NO-GO; GO takes a PASS of every criterion, each certified, on a real system,
    with evidence of today; all else is INCONCLUSIVE.
    What failed in a run of the same system that was left out does not pass (``left_out``).

    Args:
        certificates: Of this very gate, as ``read_certificates`` gives them.
        mutants: Of all these criteria; each must have been detected.
        now: Unix seconds at which the evidence must be no older than ``max_age_days`` and not of
            the future; None: its age does not count.
        campaigns: All runs, which tell what was left out; None: not asked. An empty log rules out
            GO.
        plugins: Where custom criteria come from; they are named in every output.
        refused: Why other certificates do not count, as ``certificates.refused`` says.
        targets: What the criteria are held to.

    Raises:
        EvidenceError: no record, the same run twice, or runs of different systems.
        ValueError: no criterion, or two with the same id.
    """
    records = pool(evidence)
    require_one_system(records)
    aspects = assess_sources(records, criteria)
    contradictions = violations(records)
    with targets.in_force():
        verdicts = {one.id: _judged(one, records, aspects, contradictions) for one in criteria}
    if not criteria or len(verdicts) != len(criteria):
        raise ValueError("a gate needs criteria with unique ids")
    broken = not_undone(records)
    reservations = _reservations(records, now=now, days=max_age_days)
    reservations += ("a fault was not undone",) if broken else ()
    others: tuple[LeftOut, ...] = ()
    if campaigns is not None:
        failed = partial(_failed, criteria=criteria, targets=targets)
        others = left_out(
            campaigns, records, now=now, days=max_age_days, failed=failed,
            rejudge=bool(targets.differences(criteria)),
        )  # fmt: skip
        before, verdicts = verdicts, open_if_left_out(verdicts, others)
        verdicts = {name: _with_distrust(v, before[name].status) for name, v in verdicts.items()}
        reservations += reservations_of_log(campaigns, records, others)
    required = {one.id: verdicts[one.id] for one in _required(criteria, targets)}
    first = records[0].opening
    done = certified(certificates, mutants, backend=first.backend, at=first.started_at)
    result = GateResult(
        decision=_decided(required, unreserved=required.keys() <= done and not reservations),
        criteria=tuple(_held_to(targets, criterion) for criterion in criteria),
        verdicts=MappingProxyType(verdicts),
        targets=targets,
        sources=tuple(map(source_of, records)),
        observer=aspects,
        certificates=tuple(certificates),
        violations=contradictions,
        reservations=reservations,
        not_undone=broken,
        left_out=others,
        system_id=system_id(records),
        plugins=tuple(map(described_plugin, plugins)),
        foreign_code=foreign_code(records),
        refused=tuple(refused),
        certified=done,
    )
    return _with_open_points(result, records, mutants, campaigns, plugins)


def _decided(required: Mapping[str, Verdict], *, unreserved: bool) -> Decision:
    """The decision from the verdicts on the required criteria.

    Args:
        unreserved: Whether all are certified, and nothing else rules out GO.
    """
    statuses = {verdict.status for verdict in required.values()}
    if Status.FAIL in statuses:
        return Decision.NO_GO
    return Decision.GO if statuses == {Status.PASS} and unreserved else Decision.INCONCLUSIVE


def _required(criteria: Sequence[Criterion], targets: Targets) -> tuple[Criterion, ...]:
    return tuple(one for one in criteria if targets.tier(one.id) is Tier.REQUIRED)


def _held_to(targets: Targets, criterion: Criterion) -> Criterion:
    """The criterion with the target that it was held to, and the hours that this takes."""
    hours = [one for one in criterion.thresholds if one.unit == "h"]
    long = targets.values[hours[0].key] * 3600 if hours else criterion.soak_s
    return replace(criterion, target=targets.target_of(criterion), soak_s=long)


def _with_open_points(
    result: GateResult,
    records: Records,
    mutants: Sequence[Mutant],
    campaigns: CampaignLog | None,
    plugins: Sequence[CriterionPlugin],
) -> GateResult:
    standing = Standing(
        criteria=result.required,
        verdicts=result.verdicts,
        records=tuple(records),
        reservations=result.reservations,
        certified=result.certified,
        certificates=result.certificates,
        mutants=tuple(mutants),
        campaigns=campaigns,
        plugins=tuple(plugins),
    )
    return replace(result, open_points=open_for_go(standing))


def _reservations(records: Records, *, now: float | None, days: float) -> tuple[str, ...]:
    """Why no evidence of these runs allows GO."""
    found = [
        f"run {record.run} is SIMULATED"
        for record in records
        if record.opening.backend == SIMULATED
    ]
    if now is not None:
        found += too_old(records, now=now, days=days)
        found += [text for record in records for text in in_future(record, now)]
    return tuple(found)


def _judged(
    criterion: Criterion,
    records: Records,
    aspects: Sequence[EvidenceSource],
    contradictions: Sequence[Violation],
) -> Verdict:
    read = ReadKinds(records)
    verdict = judge(criterion.verdict, read.records)
    verdict = open_if_disturbed(criterion, verdict, records)
    before = verdict.status
    verdict = open_if_violated(
        downgrade_untrusted(criterion, verdict, aspects), read, contradictions
    )
    return with_missing(criterion, _with_distrust(verdict, before), records)


def _with_distrust(verdict: Verdict, before: Status) -> Verdict:
    """Mark what is INCONCLUSIVE only because its evidence is not trusted."""
    opened = verdict.status is Status.INCONCLUSIVE and before is not Status.INCONCLUSIVE
    return replace(verdict, distrusted=True) if opened else verdict


def _failed(record: Evidence, *, criteria: Sequence[Criterion], targets: Targets) -> list[str]:
    """Ids of the criteria that fail on one run alone."""
    aspects, contradictions = assess_sources([record], criteria), violations([record])
    with targets.in_force():
        return [
            criterion.id
            for criterion in criteria
            if _judged(criterion, [record], aspects, contradictions).status is Status.FAIL
        ]
