"""Progress of a campaign: the current stage, its criteria, and an estimate of the time left.

Progress is passed on by ``say`` callbacks and not by logging, which would replace only the passing
and need a logger in each module (docs/design.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from validation.contract import Stage
from validation.verdict import span

_SLOWEST, _QUICKEST = 4.0, 0.25
"""Most that one stage may change the estimated pace: a stage that hangs says little about the
others.
"""
_PLAN: Final = 0.25
"""Weight of the planned pace, as a share of the plan, because the first stages are short."""


def _for(stage: Stage) -> str:
    return f" ({', '.join(stage.feeds)})" if stage.feeds else ""


class Progress:
    """Reports the current stage, and the time left by the pace of the finished stages."""

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        stages: Sequence[Stage],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say, self._stages, self._clock = say, tuple(stages), clock
        self._took: list[tuple[float, float]] = []
        """For each finished stage: planned seconds, and the seconds it counts as."""
        self._now: tuple[Stage, float] | None = None
        """The current stage, and when it began."""
        self._told: float | None = None
        self._pace = 1.0

    def begin(self, name: str) -> None:
        """Begin a stage and end the one before; ``KeyError`` for a stage that is not planned."""
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
            f"stage {number + 1} of {len(self._stages)}: {stage.name}{_for(stage)};"
            f" about {span(left)} left" + (f", more than before: {done}" if more else "")
        )

    @staticmethod
    def _counted(stage: Stage, seconds: float) -> float:
        return min(max(seconds, _QUICKEST * stage.seconds), _SLOWEST * stage.seconds)

    def _rate(self) -> float:
        """Real seconds per planned second."""
        plan = _PLAN * sum(stage.seconds for stage in self._stages)
        planned = plan + sum(seconds for seconds, _ in self._took)
        self._pace = (plan + sum(counted for _, counted in self._took)) / planned
        return self._pace
