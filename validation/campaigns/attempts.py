"""Repeats of a campaign: which criteria are measured again, and which runs are judged together."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ga.errors import InputError
from validation.campaigns.run import Step
from validation.campaigns.selection import declared_seconds, stages_of, steps_for
from validation.evidence.files import read_document
from validation.verdict import Status, span

if TYPE_CHECKING:
    from validation.decision import GateResult

FILE: Final = "attempts.json"
"""In the folder of the last attempt: the names of the folders of all attempts, next to it."""
_RUNS: Final = "runs"


def most_attempts(attempts: int | None, budget_minutes: float | None) -> float:
    """How many attempts are made at most: with a time budget alone, any number; else one.

    Raises:
        InputError: an option is out of range.
    """
    if attempts is not None and attempts < 1:
        raise InputError(f"--attempts must be at least 1, not {attempts}")
    if budget_minutes is not None and not (math.isfinite(budget_minutes) and budget_minutes > 0):
        raise InputError(f"--time-budget must be above 0 minutes, not {budget_minutes:g}")
    if attempts is not None:
        return attempts
    return 1 if budget_minutes is None else math.inf


def repeatable(result: GateResult, only: Collection[str] = ()) -> tuple[str, ...]:
    """Criteria that another campaign may decide: INCONCLUSIVE because they were not measured, or
    measured too little. After a FAIL there are none: no repeat makes it GO.

    Args:
        result: The decision on all attempts so far.
        only: Leave out all others; empty: none is left out.
    """
    from validation.open_points import Cause

    if any(result.verdicts[one.id].status is Status.FAIL for one in result.required):
        return ()
    return tuple(
        point.criterion
        for group in result.open_points
        if group.cause in (Cause.NOT_MEASURED, Cause.NOISE)
        for point in group.points
        if stages_of([point.criterion]) and (not only or point.criterion in only)
    )


def repeat(
    first: Path,
    *,
    steps: Sequence[Step],
    only: Collection[str],
    most: float,
    budget_s: float,
    judge: Callable[[Sequence[Path]], GateResult],
    run: Callable[[int, Sequence[str], Sequence[Step]], Path],
    say: Callable[[str], None],
    spent_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Path, ...]:
    """Repeat the stages whose criteria are INCONCLUSIVE; returns the folders of all attempts.

    Args:
        first: Folder of the first attempt.
        steps: The whole campaign.
        only: Criteria of ``--only``; empty: all.
        most: Most attempts, the first one included.
        budget_s: Seconds after which no attempt may end, by the declared durations of its stages.
        judge: Judges all attempts together.
        run: Makes an attempt: its number, its criteria, its steps; returns its folder.
        say: Receives progress lines.
        spent_s: Seconds that the first attempt took.
        clock: Monotonic seconds.
    """
    folders, began = [first], clock() - spent_s
    while len(folders) < most:
        again = repeatable(judge(folders), only)
        chosen = steps_for(again, steps) if again else []
        if not chosen:
            say(f"no attempt {len(folders) + 1}: nothing is open that a repeat could decide")
            break
        needed, left = declared_seconds(chosen), budget_s - (clock() - began)
        names = ", ".join(again)
        if needed > left:
            say(
                f"no attempt {len(folders) + 1} for {names}: it takes about {span(needed)}, and"
                f" {span(max(left, 0.0))} of the time budget are left"
            )
            break
        say(f"attempt {len(folders) + 1}: {names}; about {span(needed)}")
        folders.append(run(len(folders) + 1, again, chosen))
    return tuple(folders)


def write_attempts(folders: Sequence[Path]) -> None:
    """Store in the last folder which attempts are judged together, if there are several."""
    if len(folders) > 1:
        names = [one.name for one in folders]
        (folders[-1] / FILE).write_text(json.dumps({_RUNS: names}) + "\n", encoding="ascii")


def attempts_of(folder: Path) -> list[Path]:
    """The folders of all attempts of a campaign, of which ``folder`` is the last.

    Raises:
        EvidenceError, OSError: their list cannot be read.
        InputError: it is not such a list.
    """
    if not (folder / FILE).exists():
        return [folder]
    names = read_document(folder / FILE).get(_RUNS)
    if not isinstance(names, list) or any(
        not isinstance(name, str) or Path(name).name != name for name in names
    ):
        raise InputError(f"{folder / FILE}: no list of runs; remove it to judge this run alone")
    return [folder.parent / name for name in names]
