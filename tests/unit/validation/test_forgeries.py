"""Forged evidence never gives GO: records of a run contradict each other."""

from __future__ import annotations

import dataclasses

import pytest

from tests.support.evidence_builders import certificates, change, evidence, passing
from tests.support.evidence_records import T0, Timed
from tests.support.forgeries import FORGERIES, drop, forged, repeat
from validation.consistency.work import SAMPLED
from validation.criteria.registry import CRITERIA
from validation.decision import Decision, decide
from validation.evidence.base import Record
from validation.evidence.records import Environment, Note
from validation.evidence.records_ledger import NodeCheck, Refusal
from validation.evidence.records_load import ServiceRestart
from validation.evidence.records_self_check import MachineReading
from validation.stages.ledger_history import LEARNED_SAMPLE, SAMPLE
from validation.verdict import Status

CERTIFIED = certificates(criterion.id for criterion in CRITERIA)
HEALTHY = passing()
KINDS: dict[str, type[Record]] = {type(record).KIND: type(record) for _, record in HEALTHY}


def decided(events: list[Timed]) -> Decision:
    return decide([evidence(events)], certificates=CERTIFIED).decision


def test_healthy_run_is_go_without_a_contradiction() -> None:
    result = decide([evidence(HEALTHY)], certificates=CERTIFIED)
    assert result.violations == ()
    assert result.decision is Decision.GO


@pytest.mark.slow
@pytest.mark.parametrize("name", FORGERIES)
def test_forgery_never_gives_go(name: str) -> None:
    assert decided(forged(name)) is not Decision.GO


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {MachineReading.KIND}))
def test_run_without_a_kind_never_gives_go(kind: str) -> None:
    assert decided(drop(KINDS[kind])(HEALTHY)) is not Decision.GO


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {NodeCheck.KIND, "probe", "scrape"}))
def test_repeated_records_never_give_go(kind: str) -> None:
    assert decided(repeat(KINDS[kind])(HEALTHY)) is not Decision.GO


def test_run_without_other_load_decides_the_same() -> None:
    """It can only withdraw a FAIL: who leaves it out gains nothing."""
    events = change(HEALTHY, ServiceRestart, lambda r: dataclasses.replace(r, lost=1, finished=19))
    assert decided(drop(MachineReading)(events)) is decided(events) is Decision.NO_GO


def test_contradiction_opens_only_criteria_that_read_it() -> None:
    result = decide([evidence(forged("memory limit of 10^15 bytes"))], certificates=CERTIFIED)
    assert {violation.rule for violation in result.violations} == {"memory is within the limit"}
    assert result.verdict("memory_stability").status is Status.INCONCLUSIVE
    assert "1000000000000000" in result.verdict("memory_stability").reason
    assert result.verdict("bad_input").status is Status.PASS


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("the clock set back in the middle", "s before line"),
        ("receipts whose facts did not change", "nothing differs afterwards"),
        ("one evaluation repeated", "an audit repeats 24"),
        ("a notice of 1000 s", "was killed 8.0 s after it was requested"),
        ("services without redis", "says nothing of redis"),
        ("a price of a cent", "no cloud rents a vCPU at that price"),
    ],
)
def test_contradiction_quotes_the_records(name: str, words: str) -> None:
    result = decide([evidence(forged(name))], certificates=CERTIFIED)
    assert any(words in violation.text for violation in result.violations), result.violations
    assert "line " in result.violations[0].text
    assert len(result.violations) < 40


def test_audits_repeat_what_the_rule_asks() -> None:
    """Also where all families learn."""
    assert SAMPLED == LEARNED_SAMPLE < SAMPLE


def test_many_violations_of_one_rule_are_counted() -> None:
    result = decide([evidence(forged("memory limit of 10^15 bytes"))], certificates=CERTIFIED)
    assert len(result.violations) == 4
    assert result.violations[-1].text == "and 1365 more like these"
    assert result.verdict("memory_stability").reason.count("memory is within the limit") == 1


def test_clock_set_back_is_inconclusive() -> None:
    assert decided(forged("the clock set back in the middle")) is Decision.INCONCLUSIVE


def test_failure_stands_beside_a_contradiction() -> None:
    events = change(
        forged("memory limit of 10^15 bytes"),
        Refusal,
        lambda record: dataclasses.replace(record, exit_code=0),
    )
    result = decide([evidence(events)], certificates=CERTIFIED)
    assert result.violations
    assert result.decision is Decision.NO_GO


def test_missing_facts_of_the_machine_are_named() -> None:
    events = change(HEALTHY, Environment, lambda _: Environment(values={"memory_bytes": "much"}))
    result = decide([evidence(events)], certificates=CERTIFIED)
    assert result.decision is Decision.INCONCLUSIVE
    assert any("lacks commit, cores" in violation.text for violation in result.violations)


def test_custom_records_contradict_nothing() -> None:
    events = [*HEALTHY, (HEALTHY[-1][0], Note(text="a note")), (T0 + 1e6, Note(text="another"))]
    assert decided(events) is Decision.GO
