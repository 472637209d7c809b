"""What a campaign is at, for which criteria, and about how long it still takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from validation.verdicts import span


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
"""How far one machine is trusted to be from the one that was measured."""


class Progress:
    """Says where a campaign is, by its own pace so far."""

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        stages: Sequence[Stage] = STAGES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say, self._stages, self._clock = say, tuple(stages), clock
        self._began = clock()

    def begin(self, name: str) -> None:
        """A stage begins; ``KeyError`` for one that is not planned."""
        numbers = {stage.name: number for number, stage in enumerate(self._stages)}
        number = numbers[name]
        planned = sum(stage.seconds for stage in self._stages[:number])
        pace = (self._clock() - self._began) / planned if planned else 1.0
        pace = min(max(pace, _QUICKEST), _SLOWEST)
        left = pace * sum(stage.seconds for stage in self._stages[number:])
        stage = self._stages[number]
        self._say(
            f"stage {number + 1} of {len(self._stages)}: {stage.name} ({stage.criteria});"
            f" about {span(left)} left"
        )
