"""Runs of different systems are not judged together."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.evidence_builders import certificates, change, evidence, passing, shifted
from tests.support.evidence_records import T0, Timed
from validation.criteria.registry import CRITERIA
from validation.decision import Decision, decide
from validation.evidence.errors import EvidenceError
from validation.evidence.identity import DAY_S
from validation.evidence.log import Evidence
from validation.evidence.records import Environment

CERTIFIED = certificates(criterion.id for criterion in CRITERIA)
HEALTHY = passing()


def environment(**facts: object) -> list[Timed]:
    return change(HEALTHY, Environment, lambda r: Environment(values={**r.values, **facts}))


def later(events: list[Timed], days: float, **options: Any) -> Evidence:
    seconds = days * DAY_S
    return evidence(shifted(events, seconds), run="later", began=T0 + seconds, **options)


def test_two_runs_of_one_system_are_pooled() -> None:
    result = decide([evidence(HEALTHY), later(HEALTHY, 3)], certificates=CERTIFIED)
    assert result.decision is Decision.GO
    assert result.system == (
        "4 nodes of 0.4 CPU (processes), Ray 2.60.0, Xeon, 2 cores, commit cccccccccc"
    )


@pytest.mark.parametrize(
    "facts",
    [
        {"commit": "d" * 40},
        {"commit": "c" * 40 + " with changes"},
        {"ray": "2.61.0"},
        {"python": "3.12.1"},
        {"cpu": "EPYC"},
        {"cores": 4},
        {"memory_bytes": 2**40},
    ],
)
def test_another_system_is_refused(facts: dict[str, object]) -> None:
    (name,) = facts
    with pytest.raises(EvidenceError, match=f"of another system than run 'run-1': {name}"):
        decide([evidence(HEALTHY), later(environment(**facts), 3)])


def test_simulated_run_is_refused_beside_a_real_one() -> None:
    with pytest.raises(EvidenceError, match="backend 'simulated', not 'processes'"):
        decide([evidence(HEALTHY), later(HEALTHY, 3, backend="simulated")])


def test_one_run_under_two_names_counts_once() -> None:
    with pytest.raises(EvidenceError, match="evidence counts once"):
        decide([evidence(HEALTHY), evidence(HEALTHY, run="again")])


@pytest.mark.parametrize(
    ("days", "decision"),
    [(4, Decision.GO), (29, Decision.GO), (31, Decision.INCONCLUSIVE), (-9, Decision.INCONCLUSIVE)],
)
def test_evidence_of_another_time_is_not_go(days: float, decision: Decision) -> None:
    """Its two days of probes end 2 days after it began."""
    result = decide([evidence(HEALTHY)], certificates=CERTIFIED, now=T0 + days * DAY_S)
    assert result.decision is decision
    assert bool(result.reservations) is (decision is not Decision.GO)


def test_simulated_run_is_never_go() -> None:
    result = decide([evidence(HEALTHY, backend="simulated")], certificates=CERTIFIED)
    assert result.decision is Decision.INCONCLUSIVE
    assert result.system.startswith("SIMULATED: ")
    assert result.reservations == ("run run-1 is SIMULATED",)
