"""Which stages the named criteria need, and which of them are repeated within a time budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ga.errors import InputError
from tests.support.evidence_builders import certificates, evidence, passing, shifted
from tests.support.evidence_records import T0
from validation.campaigns.attempts import (
    attempts_of,
    most_attempts,
    repeat,
    repeatable,
    write_attempts,
)
from validation.campaigns.lists import ATTACHED, FULL
from validation.campaigns.run import Step
from validation.campaigns.selection import (
    declared_seconds,
    require_known,
    steps_for,
    with_custom,
    within,
)
from validation.contract import CriterionPlugin
from validation.criteria.registry import CRITERIA
from validation.decision import GateResult, decide
from validation.evidence.records import Environment, Recovery
from validation.evidence.records_load import Load, ServiceRestart
from validation.evidence.records_monitoring import Job, StartUp
from validation.stages.registry import STAGES

HEALTHY = passing()
CERTIFIED = certificates(criterion.id for criterion in CRITERIA)
MEASURED = [criterion.id for criterion in CRITERIA if criterion.id != "uptime"]


def names(steps: Sequence[Step]) -> list[str]:
    return [name for step in steps for name in (step.stage, *step.alongside)]


def fed(steps: Sequence[Step]) -> set[str]:
    return {criterion for name in names(steps) for criterion in STAGES[name].feeds}


@pytest.mark.parametrize("minutes", [3, 7])
def test_steps_within_a_budget_feed_most_criteria(minutes: int) -> None:
    found = within(FULL, 60.0 * minutes)
    assert declared_seconds(found) <= 60 * minutes
    assert [name for name in names(FULL) if name in names(found)] == names(found)
    assert any(step.watched for step in found)
    # Taking the stages in their order gives fewer.
    first = list(FULL)
    while declared_seconds(first) > 60 * minutes:
        first.pop()
    assert len(fed(found)) >= len(fed(first))


def test_step_that_others_need_is_kept() -> None:
    few = [step for step in FULL if step.stage in ("backup", "rollback", "population")]
    for seconds in (90.0, 130.0, 220.0, 260.0):
        found = names(within(few, seconds))
        assert "backup" in found or "rollback" not in found, seconds


def test_custom_stages_survive_a_budget() -> None:
    found = within([step for step in FULL if step.stage in ("population", "panels")], 60.0)
    assert found == [Step(stage="panels", custom=True)]


def test_budget_that_fits_all_leaves_nothing_out() -> None:
    assert within(FULL, declared_seconds(FULL)) == list(FULL)
    with pytest.raises(InputError, match=r"--time-budget 0.5: no stage fits"):
        within(FULL, 30.0)


@pytest.mark.parametrize("criterion", MEASURED)
def test_every_measured_criterion_has_stages(criterion: str) -> None:
    chosen = names(steps_for([criterion], FULL))
    assert chosen
    assert any(criterion in STAGES[name].feeds for name in chosen)


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        ("speedup", ["speedup"]),
        ("worker_recovery", ["recovery"]),
        ("service_load", ["watch", "service"]),
        ("network_latency", ["network", "actors", "watch"]),
        # A restore needs the backup before it, an alert of the head the rollback that kills it.
        ("backup_restore", ["backup", "restore"]),
        ("alerting", ["backup", "alert", "alerts at work", "rollback", "head alert"]),
        ("rollback", ["backup", "rollback"]),
        ("dashboard", ["cluster"]),
    ],
)
def test_stages_of_a_criterion(criterion: str, expected: list[str]) -> None:
    assert names(steps_for([criterion], FULL)) == expected


@given(st.lists(st.sampled_from(MEASURED), min_size=1, unique=True))
@settings(max_examples=60, deadline=None)
def test_selection_keeps_order_and_dependencies(only: list[str]) -> None:
    chosen = steps_for(only, FULL)
    found = names(chosen)
    whole = names(FULL)
    assert len(set(found)) == len(found)
    assert [name for name in found if name in whole] == [name for name in whole if name in found]
    for name in found:
        for before in STAGES[name].after:
            assert found.index(before) < found.index(name)
    # As ``run_campaign`` demands: the watched steps follow one another.
    watched = "".join("w" if step.watched else " " for step in chosen)
    assert "w" in watched
    assert " " not in watched.strip(" ")
    for criterion in only:
        assert any(criterion in STAGES[name].feeds for name in found)
    extra = STAGES["cluster"].seconds + STAGES["watch"].seconds
    assert declared_seconds(chosen) <= declared_seconds(FULL) + extra


def test_all_criteria_need_the_whole_campaign() -> None:
    assert set(names(FULL)) <= set(names(steps_for(MEASURED, FULL)))


def test_stages_of_an_attached_cluster() -> None:
    assert names(steps_for(["bad_input"], ATTACHED)) == ["bad input"]
    assert names(steps_for(["worker_recovery"], ATTACHED)) == []


_MONITORS: Final = ("HarnessReading", "MachineReading", "Probe", "Scrape", "Services", "Usage")


def test_pooled_part_leaves_other_criteria_alone() -> None:
    """The stages ``watch`` and ``service``: monitors for 50 s without a workload, then users."""
    short = [(at, record) for at, record in HEALTHY if at < T0 + 1200]
    first = [(at, record) for at, record in short if not isinstance(record, Load)]
    part: list[Any] = [
        (at, record)
        for at, record in short
        if isinstance(record, Environment | StartUp)
        or (type(record).__name__ in _MONITORS and T0 + 555 < at < T0 + 605)
    ]
    users = [(T0 + 606, r) for _, r in short if isinstance(r, Load | ServiceRestart)]
    alone = decide([evidence(first, run="a")])
    second = evidence(shifted([*part, *users], 7200), run="b", began=T0 + 7200)
    both = decide([evidence(first, run="a"), second])
    changed = {n for n, v in alone.verdicts.items() if v.status is not both.verdicts[n].status}
    assert changed == {"service_load"}, [both.verdicts[name].reason for name in changed]
    # Without its monitors, the part would leave others open.
    blind = evidence(shifted([*part[:1], *users], 7200), run="b", began=T0 + 7200)
    pooled = decide([evidence(first, run="a"), blind])
    assert pooled.verdict("container_stability").status == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("only", "words"),
    [("speedupp", "no such criterion"), ("uptime", "python -m validation soak")],
)
def test_criterion_that_no_campaign_measures_is_refused(only: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        require_known([only], CRITERIA)


def test_custom_stages_follow_a_watched_step() -> None:
    own = CriterionPlugin(criteria=(CRITERIA[1],), name="own")
    mine = CRITERIA[1].id
    for only in (["network_latency", mine], ["speedup", mine], ["rollback", mine]):
        found = with_custom(only, FULL, [own])
        custom = [step for step in found if step.custom]
        assert len(custom) == 1
        assert custom[0].watched
    assert not any(step.custom for step in with_custom(["population_load"], FULL, []))


@pytest.mark.parametrize(
    ("attempts", "budget", "most"), [(None, None, 1), (3, None, 3), (3, 5.0, 3)]
)
def test_number_of_attempts(attempts: int | None, budget: float | None, most: int) -> None:
    assert most_attempts(attempts, budget) == most


def test_time_budget_alone_limits_nothing_else() -> None:
    assert most_attempts(None, 5.0) > 10**6


@pytest.mark.parametrize(
    ("attempts", "budget", "option"),
    [(0, None, "--attempts"), (1, 0.0, "--time-budget"), (1, float("nan"), "--time-budget")],
)
def test_bad_limit_is_refused(attempts: int, budget: float | None, option: str) -> None:
    with pytest.raises(InputError, match=option):
        most_attempts(attempts, budget)


def judged(*missing: type) -> GateResult:
    record = evidence([(at, r) for at, r in HEALTHY if not isinstance(r, missing or (Job,))])
    return decide([record], certificates=CERTIFIED)


OPEN = judged(Job, Recovery, Load)
DONE = judged()


def test_what_is_repeatable() -> None:
    """Not uptime, which takes a soak; and nothing after a FAIL."""
    assert set(repeatable(OPEN)) >= {"worker_recovery", "service_load"}
    assert "uptime" not in repeatable(OPEN)
    assert repeatable(OPEN, ["service_load"]) == ("service_load",)
    assert repeatable(DONE) == ()


class Attempts:
    """Attempts that take the declared time of their stages on a clock of their own."""

    def __init__(self, results: Sequence[GateResult]) -> None:
        self.results, self.now = list(results), 0.0
        self.made: list[tuple[int, tuple[str, ...], list[str]]] = []
        self.said: list[str] = []

    def run(self, number: int, only: Sequence[str], steps: Sequence[Step]) -> Path:
        self.made.append((number, tuple(only), names(steps)))
        self.now += declared_seconds(steps)
        return Path(f"run-{number}")

    def judge(self, runs: Sequence[Path]) -> GateResult:
        # All attempts are judged together, never the last one alone.
        assert [run.name for run in runs] == [f"run-{n + 1}" for n in range(len(runs))]
        return self.results[len(runs) - 1]

    def repeat(self, **options: Any) -> tuple[Path, ...]:
        given: dict[str, Any] = {"steps": FULL, "only": (), "most": 9, "budget_s": float("inf")}
        return repeat(
            Path("run-1"),
            judge=self.judge,
            run=self.run,
            say=self.said.append,
            spent_s=0.0,
            clock=lambda: self.now,
            **{**given, **options},
        )


def test_open_stages_are_repeated_until_nothing_is_open() -> None:
    attempts = Attempts([OPEN, OPEN, DONE])
    assert [run.name for run in attempts.repeat()] == ["run-1", "run-2", "run-3"]
    for number, only, stages in attempts.made:
        assert number in (2, 3)
        assert only == repeatable(OPEN)
        assert "speedup" not in stages
        assert {"recovery", "service"} <= set(stages)


def test_number_of_attempts_is_kept() -> None:
    attempts = Attempts([OPEN] * 9)
    assert len(attempts.repeat(most=4)) == 4


@given(budget=st.floats(0, 5000))
@settings(max_examples=30, deadline=None)
def test_no_attempt_ends_after_the_budget(budget: float) -> None:
    attempts = Attempts([OPEN] * 50)
    made = len(attempts.repeat(budget_s=budget, most=50)) - 1
    each = declared_seconds(steps_for(repeatable(OPEN), FULL))
    assert attempts.now <= budget
    assert made == min(int(budget // each), 49)
    if made < 49:
        assert "time budget" in attempts.said[-1]


def test_last_folder_lists_all_attempts(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder in folders:
        folder.mkdir()
    write_attempts(folders[:1])
    assert attempts_of(folders[0]) == folders[:1]
    write_attempts(folders)
    assert attempts_of(folders[2]) == folders
    assert attempts_of(folders[1]) == [folders[1]]
    (folders[2] / "attempts.json").write_text('{"runs": ["../elsewhere"]}')
    with pytest.raises(InputError, match="no list of runs"):
        attempts_of(folders[2])
