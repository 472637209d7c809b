"""How much is left follows the pace so far."""

from __future__ import annotations

import pytest

from validation.progress import STAGES, Progress, Stage


def test_time_left_is_by_the_pace_so_far() -> None:
    said: list[str] = []
    now = [100.0]
    stages = [Stage(name=name, criteria="x", seconds=60.0) for name in ("a", "b", "c")]
    progress = Progress(said.append, stages=stages, clock=lambda: now[0])
    progress.begin("a")
    now[0] += 120.0
    progress.begin("b")
    now[0] += 10_000.0
    progress.begin("c")
    assert said == [
        "stage 1 of 3: a (x); about 3 min left",
        "stage 2 of 3: b (x); about 4 min left",
        "stage 3 of 3: c (x); about 4 min left",
    ]
    with pytest.raises(KeyError):
        progress.begin("d")


def test_every_stage_is_named_once() -> None:
    assert len({stage.name for stage in STAGES}) == len(STAGES)
