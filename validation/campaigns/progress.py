"""What a campaign is at, for which criteria, and about how long it still takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from validation.verdict import span


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a campaign."""

    name: str
    criteria: str
    """What it gathers evidence for."""
    seconds: float
    """How long it took on two cores."""


STAGES: Final = (
    Stage(name="start", criteria="the stack", seconds=40.0),
    Stage(name="reference", criteria="reproducibility, alerting", seconds=95.0),
    Stage(
        name="recoveries",
        criteria="worker_recovery, no_data_loss, cycle_completion",
        seconds=170.0,
    ),
    Stage(name="preemption", criteria="preemption", seconds=40.0),
    Stage(name="populations", criteria="population_load", seconds=45.0),
    Stage(name="speedup", criteria="speedup, cpu_efficiency, cost_per_day", seconds=190.0),
    Stage(name="rollback", criteria="rollback, bad_input", seconds=45.0),
    Stage(name="autoscaling", criteria="autoscaling, backup_restore", seconds=60.0),
    Stage(name="service", criteria="service_load, exposure", seconds=60.0),
)
_SLOWEST, _QUICKEST = 4.0, 0.25
"""How far one stage is trusted to show this machine's pace: one that is stuck says little of the
others."""
_PLAN: Final = 0.25
"""How much the plan itself counts, as a share of it: the first stages are short."""


class Progress:
    """Says where a campaign is, and what is left by the pace of the stages that are done."""

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        stages: Sequence[Stage] = STAGES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say, self._stages, self._clock = say, tuple(stages), clock
        self._took: list[tuple[float, float]] = []
        """Of each stage that is done: planned seconds, and those it counts as."""
        self._now: tuple[Stage, float] | None = None
        """The stage that is under way, and when it began."""
        self._told: float | None = None
        self._pace = 1.0

    def begin(self, name: str) -> None:
        """A stage begins, and with it the one before ends; ``KeyError`` for one not planned."""
        numbers = {stage.name: number for number, stage in enumerate(self._stages)}
        number, now, done = numbers[name], self._clock(), ""
        if self._now is not None:
            before, began = self._now
            took, expected = now - began, self._pace * before.seconds
            self._took.append((before.seconds, self._counted(before, took)))
            done = f"{before.name} took {span(took)} and not {span(expected)}"
        stage = self._stages[number]
        self._now = stage, now
        left, told = self._rate() * sum(one.seconds for one in self._stages[number:]), self._told
        self._told = left
        more = told is not None and left > told and span(left) != span(told)
        self._say(
            f"stage {number + 1} of {len(self._stages)}: {stage.name} ({stage.criteria});"
            f" about {span(left)} left" + (f", more than before: {done}" if more else "")
        )

    @staticmethod
    def _counted(stage: Stage, seconds: float) -> float:
        return min(max(seconds, _QUICKEST * stage.seconds), _SLOWEST * stage.seconds)

    def _rate(self) -> float:
        """Seconds that a planned second takes here."""
        plan = _PLAN * sum(stage.seconds for stage in self._stages)
        planned = plan + sum(seconds for seconds, _ in self._took)
        self._pace = (plan + sum(counted for _, counted in self._took)) / planned
        return self._pace
