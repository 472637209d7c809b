"""Judges simulated campaigns by the gate's own verdicts, and counts its errors.

Every campaign is SIMULATED and can never give GO. What is counted is the decision without that
mark, with every criterion taken as certified: ``decide`` gets the records as if a stack had made
them. They exist in memory only. The gate imports nothing of this package; a test checks it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from validation import statistics
from validation.contract import Criterion
from validation.criteria.registry import CRITERIA
from validation.decision import Decision, GateResult, decide
from validation.error_rates.defects import DEFECTS
from validation.error_rates.edits import EDITS
from validation.simulation.campaign import certificates, evidence
from validation.simulation.records import Timed
from validation.simulation.variation import Campaign, campaign
from validation.verdict import Status

LEAST: Final = 299
"""Trials without an error that show an error rate of at most 1 % at the 95 % bound."""
EVIDENCE: Final = "(evidence)"
"""In place of a criterion: an edit of the evidence."""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """One defect in one campaign."""

    number: int
    """With the seed it repeats the trial."""
    criterion: str
    name: str
    status: str
    """Verdict of its criterion; empty for an edit of the evidence."""
    decision: Decision

    @property
    def noticed(self) -> bool:
        """Whether there was no GO, and the criterion itself did not pass."""
        return self.decision is not Decision.GO and self.status != Status.PASS.value


@dataclass(frozen=True, kw_only=True)
class Healthy:
    """One campaign of a healthy system."""

    number: int
    words: str
    busy: bool
    decision: Decision
    failed: tuple[str, ...]
    open: tuple[str, ...]


@dataclass(kw_only=True)
class Rates:
    """All trials of one seed."""

    seed: int
    healthy: list[Healthy] = field(default_factory=list)
    planted: list[Planted] = field(default_factory=list)

    @property
    def false_alarms(self) -> list[Healthy]:
        """Healthy systems that were refused."""
        return [one for one in self.healthy if one.decision is Decision.NO_GO]

    @property
    def missed(self) -> list[Planted]:
        """Defects that their criterion passed."""
        return [one for one in self.planted if not one.noticed]

    @property
    def false_go(self) -> list[Planted]:
        """Defects with which the gate said GO."""
        return [one for one in self.planted if one.decision is Decision.GO]

    @property
    def open_share(self) -> float:
        """Share of criteria that were INCONCLUSIVE next to a busy core."""
        busy = [one for one in self.healthy if one.busy]
        return sum(len(one.open) for one in busy) / max(1, len(busy) * len(CRITERIA))


def bound(errors: int, trials: int) -> float:
    """Upper 95 % bound of an error rate (Clopper-Pearson); 1 without trials."""
    return statistics.proportion(errors, trials).upper if trials else 1.0


def try_healthy(seed: int, number: int) -> Healthy:
    """Judge the healthy campaign of a number."""
    made = campaign(seed * 1_000_003 + number)
    result = _judged(made, made.events)
    return Healthy(
        number=number,
        words=made.words,
        busy=made.busy is not None,
        decision=result.decision,
        failed=_with(result, Status.FAIL),
        open=_with(result, Status.INCONCLUSIVE),
    )


def try_defect(seed: int, number: int) -> Planted:
    """Judge the campaign of a number with its defect."""
    return _tried(seed, number)[0]


def reason(seed: int, number: int) -> str:
    """What the gate said about a planted defect, for one who repeats the trial."""
    planted, result = _tried(seed, number)
    said = [
        f"{name}: {verdict.status.value}: {verdict.reason}"
        for name, verdict in result.verdicts.items()
        if verdict.status is not Status.PASS or name == planted.criterion
    ]
    return "\n".join([f"{planted.criterion}: {planted.name}: {planted.decision.value}", *said])


def measure(
    seed: int, healthy: int, defects: int, *, say: Callable[[str], None] = lambda _: None
) -> Rates:
    """Try ``healthy`` healthy campaigns and ``defects`` defects."""
    rates = Rates(seed=seed)
    for number in range(healthy):
        rates.healthy.append(try_healthy(seed, number))
        if number % 50 == 49:
            say(f"{number + 1} of {healthy} healthy campaigns")
    for number in range(defects):
        rates.planted.append(try_defect(seed, number))
        if number % 50 == 49:
            say(f"{number + 1} of {defects} defects")
    return rates


def _tried(seed: int, number: int) -> tuple[Planted, GateResult]:
    choices = list(_choices())
    criterion, name = choices[number % len(choices)]
    made = campaign(seed * 1_000_003 + 500_009 + number)
    dice = random.Random(f"defect:{seed}:{number}")
    plant = EDITS[name] if criterion == EVIDENCE else DEFECTS[criterion][name]
    result = _judged(made, plant(made.events, dice))
    status = "" if criterion == EVIDENCE else result.verdict(criterion).status.value
    planted = Planted(
        number=number, criterion=criterion, name=name, status=status, decision=result.decision
    )
    return planted, result


def _choices() -> Iterator[tuple[str, str]]:
    """Every defect by criterion and name."""
    for criterion, found in DEFECTS.items():
        for name in found:
            yield criterion, name
    for name in EDITS:
        yield EVIDENCE, name


def _judged(made: Campaign, events: list[Timed]) -> GateResult:
    names = (criterion.id for criterion in CRITERIA)
    record = evidence(events, run=f"simulated-{made.seed}", nodes=made.nodes)
    return decide([record], certificates=certificates(names))


def _with(result: GateResult, status: Status) -> tuple[str, ...]:
    return tuple(name for name, one in result.verdicts.items() if one.status is status)


def rows(rates: Rates, criteria: tuple[Criterion, ...] = CRITERIA) -> list[tuple[str, ...]]:
    """The table: a row for each criterion, and one for the edits of evidence."""
    found: list[tuple[str, ...]] = []
    for name in (*(criterion.id for criterion in criteria), EVIDENCE):
        planted = [one for one in rates.planted if one.criterion == name]
        counts = [len(planted), sum(one.noticed for one in planted)]
        if name != EVIDENCE:
            failed = sum(name in one.failed for one in rates.healthy)
            busy = sum(name in one.open for one in rates.healthy if one.busy)
            quiet = sum(name in one.open for one in rates.healthy if not one.busy)
            counts += [failed, quiet, busy]
        found.append((name, *map(str, counts)))
    return found
