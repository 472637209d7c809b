"""Decides between slower, same, faster and cannot tell, by a confidence interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from validation.statistics import Estimate, geometric_mean

Floats = NDArray[np.float64]

MARGIN: Final = 0.05
"""Differences below this count as the same."""
ERROR: Final = 0.05
"""Probability that any answer of one comparison is wrong, over all measurements and interim tests
together (Bonferroni).
"""
FEWEST: Final = 5
"""Minimum number of pairs for a decision."""
_PERMUTATIONS: Final = 20_000
_FEWEST_SIDE: Final = 3


class Answer(StrEnum):
    """The answer of a comparison."""

    SLOWER = "slower"
    SAME = "same"
    FASTER = "faster"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The comparison of one measurement."""

    answer: Answer
    ratio: Estimate | None
    """New over old time, with the bounds that decide; ``None``: too few pairs."""


def difference(ratios: Sequence[float], *, error: float, margin: float = MARGIN) -> Difference:
    """Decide from paired ratios, new over old time.

    The bounds are those of Student's t on the logarithms, ``error / 2`` on either side. Same: both
    within the margin. Slower or faster: both on one side of 1.

    Args:
        error: probability of a wrong answer.

    Raises:
        ValueError: a ratio is not positive and finite.
    """
    if len(ratios) < FEWEST:
        return Difference(answer=Answer.UNKNOWN, ratio=None)
    ratio = geometric_mean(ratios, confidence=1.0 - error / 2.0)
    if ratio.lower >= 1.0 / (1.0 + margin) and ratio.upper <= 1.0 + margin:
        answer = Answer.SAME
    elif ratio.lower > 1.0:
        answer = Answer.SLOWER
    elif ratio.upper < 1.0:
        answer = Answer.FASTER
    else:
        answer = Answer.UNKNOWN
    return Difference(answer=answer, ratio=ratio)


def differences(
    ratios: Mapping[str, Sequence[float]], *, looks: int, error: float = ERROR
) -> dict[str, Difference]:
    """Decide on several measurements at one of several interim tests of growing samples."""
    share = error / (max(len(ratios), 1) * looks)
    return {name: difference(values, error=share) for name, values in ratios.items()}


def overall(found: Mapping[str, Difference]) -> Answer:
    """The answer over all of them: slower if any is slower, same only if all are the same."""
    answers = {one.answer for one in found.values()}
    for answer in (Answer.SLOWER, Answer.UNKNOWN, Answer.FASTER):
        if answer in answers:
            return answer
    return Answer.SAME if answers else Answer.UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Shift:
    """A change of level in a series."""

    at: int
    """Index of the first value of the new level."""
    before: float
    after: float
    """Medians."""
    p: float
    """Probability of a shift at least this clear in a series without one."""


def change_point(values: Sequence[float], *, error: float) -> Shift | None:
    """The clearest change of level in a series, if it is significant.

    Pettitt's statistic (Applied Statistics 28, 1979): the largest difference of rank sums over all
    cuts. Its probability comes from permutations of the series, without assumptions about the
    noise. There are at least three values on either side; at least eight in total are needed for
    significance at 5 %.
    """
    data = np.array([float(value) for value in values])
    if data.size < 2 * _FEWEST_SIDE or not np.isfinite(data).all():
        return None
    ranks: Floats = (np.argsort(np.argsort(data)) + 1).astype(np.float64)
    for value in np.unique(data):
        # Equal values get their mean rank, so that they do not count as ordered.
        ranks[data == value] = ranks[data == value].mean()
    cuts = np.arange(_FEWEST_SIDE, data.size - _FEWEST_SIDE + 1)
    centre = (data.size + 1) / 2.0

    def strength(rows: Floats) -> Floats:
        sums = np.cumsum(rows, axis=1)[:, cuts - 1]
        return np.asarray(np.abs(sums - centre * cuts), dtype=np.float64)

    seen = strength(np.asarray(ranks[None, :], dtype=np.float64))[0]
    best = int(np.argmax(seen))
    dice = np.random.Generator(np.random.Philox(key=[data.size, 0xC4A9]))
    shuffled = dice.permuted(np.tile(ranks, (_PERMUTATIONS, 1)), axis=1)
    as_strong = int(
        (strength(np.asarray(shuffled, dtype=np.float64)).max(axis=1) >= seen[best] - 1e-9).sum()
    )
    p = (as_strong + 1) / (_PERMUTATIONS + 1)
    if p > error:
        return None
    at = int(cuts[best])
    return Shift(at=at, before=float(np.median(data[:at])), after=float(np.median(data[at:])), p=p)


def shifts(
    series: Mapping[str, Sequence[float]], *, error: float = ERROR, least: float = MARGIN
) -> dict[str, Shift]:
    """Changes of level in several series at once, of at least the margin."""
    found = {}
    for name, values in series.items():
        shift = change_point(values, error=error / max(len(series), 1))
        if shift is None or min(shift.before, shift.after) <= 0:
            continue
        if abs(math.log(shift.after / shift.before)) > math.log1p(least):
            found[name] = shift
    return found
