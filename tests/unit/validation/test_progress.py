"""How much is left follows the pace so far."""

from __future__ import annotations

from pathlib import Path

import pytest

from validation.campaigns.lists import ATTACHED, FULL
from validation.campaigns.progress import Progress
from validation.campaigns.run import Options, Step, run_campaign
from validation.contract import Stage
from validation.criteria.registry import CRITERIA
from validation.stages.registry import STAGES
from validation.stages.scale import SHORT
from validation.targets import OwnStack


def _campaign(takes: list[float]) -> list[str]:
    """What is said of stages that are planned with a minute each, and take these seconds."""
    said: list[str] = []
    now = [100.0]
    stages = [
        Stage(name=name, run=lambda _: None, feeds=("x",), seconds=60.0)
        for name in "abcdefgh"[: len(takes)]
    ]
    progress = Progress(said.append, stages=stages, clock=lambda: now[0])
    for stage, seconds in zip(stages, takes, strict=True):
        progress.begin(stage.name)
        now[0] += seconds
    with pytest.raises(KeyError):
        progress.begin("z")
    return said


def test_time_left_follows_the_pace_so_far() -> None:
    assert _campaign([60.0] * 3) == [
        "stage 1 of 3: a (x); about 3 min left",
        "stage 2 of 3: b (x); about 2 min left",
        "stage 3 of 3: c (x); about 60 s left",
    ]
    # Twice as slow throughout.
    assert [line.partition("about ")[2] for line in _campaign([120.0] * 8)][3:] == [
        "8 min left", "7 min left", "5 min left", "4 min left", "2 min left",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "takes",
    [
        [300.0, 60.0, 60.0, 60.0, 60.0, 60.0, 60.0, 60.0],
        [60.0, 60.0, 10_000.0, 60.0, 60.0, 60.0, 60.0, 60.0],
        [10.0, 400.0, 10.0, 400.0, 10.0, 400.0, 10.0, 400.0],
        [120.0] * 8,
    ],
)
def test_rise_of_time_left_is_explained(takes: list[float]) -> None:
    left = [_minutes(line) for line in _campaign(takes)]
    assert len(left) == len(takes)
    for number in range(1, len(takes)):
        said = _campaign(takes)[number]
        before = "abcdefgh"[number - 1]
        assert ("more than before" in said) == (left[number] > left[number - 1]), said
        if "more than before" in said:
            assert f"more than before: {before} took" in said
            # One stage, however long it took, cannot double what is left.
            assert left[number] < 2 * left[number - 1]


def _minutes(line: str) -> float:
    number, unit = line.partition("about ")[2].split(" left")[0].split()
    return float(number) / (60 if unit == "s" else 1)


@pytest.mark.parametrize("steps", [FULL, ATTACHED])
def test_campaign_runs_known_stages_once_each(steps: tuple[Step, ...]) -> None:
    names = [name for step in steps for name in (step.stage, *step.alongside)]
    assert len(set(names)) == len(names)
    assert set(names) <= set(STAGES)


def test_full_campaign_has_stages_for_every_criterion() -> None:
    names = {name for step in FULL for name in (step.stage, *step.alongside)}
    fed = {criterion for name in names for criterion in STAGES[name].feeds}
    watched = {"uptime", "dashboard", "prometheus_collection", "container_stability"}
    by_all = {"memory_stability", "generation_time"}
    assert fed | watched | by_all == {criterion.id for criterion in CRITERIA}


def test_unwatched_step_in_the_middle_is_refused(tmp_path: Path) -> None:
    steps = [Step(stage="population"), Step(stage="rollback", watched=False), Step(stage="watch")]
    options = Options(
        seed=1, run="run", folder=tmp_path / "run", scale=SHORT, replay="", say=print
    )  # fmt: skip
    with pytest.raises(ValueError, match="must follow one another"):
        run_campaign(OwnStack(backend="processes"), steps, options)
    assert not (tmp_path / "run").exists()
