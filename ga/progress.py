"""The progress of a run on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from ga.runner import Progress as RunProgress

_FIRST_PAUSE: Final = 5.0
_LONGEST_PAUSE: Final = 300.0
"""Seconds between lines in a log: twice as many each time, up to this."""


class ProgressLine:
    """A bar on a terminal; elsewhere lines of text, at increasing intervals.

    Args:
        clock: seconds that pass; for lines only.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("generation {task.fields[generation]}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[text]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._next, self._pause = float("-inf"), _FIRST_PAUSE

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, progress: RunProgress) -> None:
        """Take the newest state of a run."""
        best = "-" if progress.best is None else f"{progress.best:.4f}"
        left = "?" if progress.seconds_left is None else _duration(progress.seconds_left)
        text = f"best {best}  {progress.evaluations_per_second:,.0f} evaluations/s  {left} left"
        shown = min(progress.generation + 1, progress.generations)
        generation = f"{shown}/{progress.generations}"
        total = progress.generations * progress.population_size
        done = progress.generation * progress.population_size + progress.done
        if self._console.is_terminal:
            if self._task is None:
                self._task = self._bar.add_task("", total=total, generation=generation, text=text)
            self._bar.update(self._task, completed=done, generation=generation, text=text)
        elif (now := self._clock()) >= self._next:
            self._next, self._pause = now + self._pause, min(2 * self._pause, _LONGEST_PAUSE)
            line = f"generation {generation}  {100 * done / total:.0f}%  {text}"
            print(line, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
