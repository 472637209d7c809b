"""The gate's error rates on simulated campaigns, and that these campaigns never give GO."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pytest

import validation
from tests.support.evidence_builders import certificates, evidence, write
from validation.criteria.registry import CRITERIA
from validation.decision import Decision, decide
from validation.error_rates.command import table
from validation.error_rates.defects import DEFECTS
from validation.error_rates.edits import EDITS
from validation.error_rates.measure import (
    EVIDENCE,
    LEAST,
    Healthy,
    Planted,
    Rates,
    bound,
    measure,
    rows,
    try_defect,
    try_healthy,
)
from validation.evidence.identity import SIMULATED
from validation.evidence.log import read_evidence
from validation.simulation.variation import campaign
from validation.verdict import Status

ROOT = Path(validation.__file__).parent
KINDS = sum(len(found) for found in DEFECTS.values()) + len(EDITS)


def test_every_criterion_has_a_defect() -> None:
    assert set(DEFECTS) == {criterion.id for criterion in CRITERIA}


@pytest.mark.parametrize("number", range(1, KINDS, 8))
def test_planted_defect_is_noticed(number: int) -> None:
    found = try_defect(1, number)
    assert found.noticed, found


@pytest.mark.parametrize("number", [0, 5])
def test_healthy_system_never_fails(number: int) -> None:
    found = try_healthy(1, number)
    assert found.failed == ()
    assert found.busy or found.decision is Decision.GO, found


@pytest.mark.nightly
@pytest.mark.slow
def test_error_rates_are_at_most_one_percent() -> None:
    rates = measure(2, LEAST, LEAST)
    assert bound(len(rates.false_go), LEAST) <= 0.01, table(rates)
    assert bound(len(rates.missed), LEAST) <= 0.01, table(rates)
    assert bound(len(rates.false_alarms), LEAST) <= 0.01, table(rates)
    assert rates.open_share <= 0.05, table(rates)


def test_least_number_is_that_of_one_percent() -> None:
    # Independent of the library: (1 - p)^n = 0.05.
    assert 1 - 0.05 ** (1 / LEAST) <= 0.01 < 1 - 0.05 ** (1 / (LEAST - 1))
    assert math.isclose(bound(0, LEAST), 1 - 0.05 ** (1 / LEAST))
    assert bound(1, LEAST) > 0.01
    assert bound(0, 0) == 1


def test_same_seed_gives_the_same_campaign() -> None:
    assert campaign(11).events == campaign(11).events
    assert campaign(11).words != campaign(12).words


def test_simulated_campaign_never_gives_go(tmp_path: Path) -> None:
    done = certificates([criterion.id for criterion in CRITERIA], stack=SIMULATED)
    made = campaign(0)
    file = write(tmp_path / "evidence.jsonl", made.events, backend=SIMULATED)
    for record in (evidence(made.events, backend=SIMULATED), read_evidence(file)):
        result = decide([record], certificates=done)
        assert result.decision is not Decision.GO
        assert any("SIMULATED" in text for text in result.reservations)


def test_gate_uses_nothing_of_the_simulation() -> None:
    """Only the command line knows the command; a simulated soak uses the same records."""
    found = {}
    for file in ROOT.rglob("*.py"):
        place = file.relative_to(ROOT)
        if place.parts[0] in ("simulation", "error_rates") or place.name == "simulated_world.py":
            continue
        modules = [
            name
            for node in ast.walk(ast.parse(file.read_text()))
            for name in (
                [f"{node.module}.{alias.name}" for alias in node.names]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            if name.startswith(("validation.simulation", "validation.error_rates"))
        ]
        if modules:
            found[str(place)] = modules
    command = ["validation.error_rates.command"]
    assert found == {"cli/main.py": command, "cli/parser.py": command}


def test_table_names_every_error_with_its_command() -> None:
    rates = Rates(seed=7)
    wrong = Healthy(
        number=3,
        words="",
        busy=True,
        decision=Decision.NO_GO,
        failed=("uptime",),
        open=("speedup",),
    )
    good = Healthy(number=4, words="", busy=False, decision=Decision.GO, failed=(), open=())
    rates.healthy += [wrong, good]
    passed = Status.PASS.value
    rates.planted += [
        Planted(number=5, criterion="uptime", name="gone", status=passed, decision=Decision.GO),
        Planted(number=6, criterion=EVIDENCE, name="cut", status="", decision=Decision.GO),
        Planted(number=7, criterion="uptime", name="x", status="FAIL", decision=Decision.NO_GO),
    ]
    text = table(rates)
    assert "--seed 7 --replay 5" in text
    assert "--seed 7 --replay 6" in text
    assert "--replay 7" not in text
    assert "--seed 7 --replay-healthy 3" in text
    assert "False GO: 2 of 3" in text
    assert ("uptime", "2", "1", "1", "0", "0") in rows(rates)
    assert rates.open_share == 1 / len(CRITERIA)


def test_passed_criterion_is_missed_without_go() -> None:
    """A defect that its own criterion passed is an error, whatever stopped the GO."""
    one = Planted(
        number=1,
        criterion="uptime",
        name="x",
        status=Status.PASS.value,
        decision=Decision.INCONCLUSIVE,
    )
    assert not one.noticed
