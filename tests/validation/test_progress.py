"""How much is left follows the pace so far."""

from __future__ import annotations

import pytest

from validation.campaigns.progress import STAGES, Progress, Stage


def _campaign(takes: list[float]) -> list[str]:
    """What is said of stages that are planned with a minute each, and take so many seconds."""
    said: list[str] = []
    now = [100.0]
    stages = [Stage(name=name, criteria="x", seconds=60.0) for name in "abcdefgh"[: len(takes)]]
    progress = Progress(said.append, stages=stages, clock=lambda: now[0])
    for stage, seconds in zip(stages, takes, strict=True):
        progress.begin(stage.name)
        now[0] += seconds
    with pytest.raises(KeyError):
        progress.begin("z")
    return said


def test_time_left_is_by_the_pace_so_far() -> None:
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
def test_time_left_never_rises_without_a_reason(takes: list[float]) -> None:
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


def test_every_stage_is_named_once() -> None:
    assert len({stage.name for stage in STAGES}) == len(STAGES)
