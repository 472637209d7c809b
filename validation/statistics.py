"""Bounds that verdicts rest on. Pure functions; all bounds are one-sided unless said otherwise.

A one-sided bound at confidence 95 % means: were the experiment repeated, the bound would lie on the
wrong side of the truth in at most 5 % of repetitions. Tests check that by simulation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

CONFIDENCE: Final = 0.95
MOST_POINTS: Final = 200
"""Points that a slope is fitted to at most: the cost grows with their square."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A point estimate between its lower and its upper one-sided bound."""

    point: float
    lower: float
    upper: float


def proportion(successes: int, trials: int, *, confidence: float = CONFIDENCE) -> Estimate:
    """Success rate with exact bounds (Clopper and Pearson, Biometrika 26, 1934).

    Raises:
        ValueError: no trials, or more successes than trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials make no rate")
    failures = trials - successes
    lower = stats.beta.ppf(1 - confidence, successes, failures + 1) if successes else 0.0
    upper = stats.beta.ppf(confidence, successes + 1, failures) if failures else 1.0
    return Estimate(point=successes / trials, lower=float(lower), upper=float(upper))


def more_successes(
    successes: int, trials: int, target: float, *, confidence: float = CONFIDENCE
) -> int:
    """How many more trials, all successful, lift the exact lower bound to ``target`` (< 1)."""
    if not 0 < target < 1:
        raise ValueError(f"a target between 0 and 1 is needed, not {target}")

    def reached(more: int) -> bool:
        return proportion(successes + more, trials + more, confidence=confidence).lower >= target

    if trials and reached(0):
        return 0
    high = 1
    while not reached(high):
        high *= 2
    low = high // 2  # not enough, or 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def zero_count_upper(trials: int, *, confidence: float = CONFIDENCE) -> float:
    """Upper bound of a rate after no event in ``trials``: about 3 / trials (the rule of three).

    Exact form 1 - (1 - confidence) ** (1 / trials). Raises ValueError when there was no trial.
    """
    if trials < 1:
        raise ValueError("no trials bound nothing")
    return 1 - float((1 - confidence) ** (1 / trials))


def proven_content(trials: int, *, confidence: float = CONFIDENCE) -> float:
    """Share of all future cases that ``trials`` out of ``trials`` good ones prove good.

    Free of any assumption on the distribution; 5 of 5 prove 55 %, 59 of 59 prove 95 %.
    """
    return 1 - zero_count_upper(trials, confidence=confidence)


def mean(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Estimate:
    """Mean of independent values with Student's t bounds.

    One value has the bounds minus and plus infinity. Raises ValueError for no value, or for one
    that is not finite.
    """
    data = _finite(values)
    point = float(data.mean())
    if data.size == 1:
        return Estimate(point=point, lower=-math.inf, upper=math.inf)
    error = float(data.std(ddof=1)) / math.sqrt(data.size)
    reach = float(stats.t.ppf(confidence, data.size - 1)) * error
    return Estimate(point=point, lower=point - reach, upper=point + reach)


def geometric_mean(ratios: Sequence[float], *, confidence: float = CONFIDENCE) -> Estimate:
    """Geometric mean of paired ratios, with t bounds taken on their logarithms.

    Logarithms, because a ratio and its inverse must carry the same weight. Raises ValueError for a
    ratio that is not positive and finite.
    """
    data = _finite(ratios)
    if float(data.min()) <= 0:
        raise ValueError("a ratio must be positive")
    logs = mean([math.log(ratio) for ratio in ratios], confidence=confidence)
    upper = math.inf if logs.upper == math.inf else math.exp(logs.upper)
    return Estimate(point=math.exp(logs.point), lower=math.exp(logs.lower), upper=upper)


def tolerance_factor(count: int, *, content: float = 0.95, confidence: float = CONFIDENCE) -> float:
    """One-sided tolerance factor k of the normal distribution.

    mean + k * sd of ``count`` values lies, with the given confidence, above the given content of
    the distribution. From the noncentral t distribution (NIST/SEMATECH e-Handbook, 7.2.6.3).
    """
    if count < 2:
        raise ValueError("a tolerance bound needs at least 2 values")
    delta = float(stats.norm.ppf(content)) * math.sqrt(count)
    return float(stats.nct.ppf(confidence, count - 1, delta)) / math.sqrt(count)


def tolerance_upper(
    values: Sequence[float], *, content: float = 0.95, confidence: float = CONFIDENCE
) -> float:
    """Upper tolerance bound of positive, right-skewed values taken as log-normal.

    Raises ValueError for fewer than 2 values or one that is not positive and finite.
    """
    data = _finite(values)
    if float(data.min()) <= 0:
        raise ValueError("a duration must be positive")
    logs = np.log(data)
    factor = tolerance_factor(int(data.size), content=content, confidence=confidence)
    return float(np.exp(logs.mean() + factor * logs.std(ddof=1)))


def trend(times: Sequence[float], values: Sequence[float], *, block: float) -> Estimate:
    """Slope of ``values`` per unit of time: median of all pairwise slopes (Theil and Sen).

    Readings taken close together are alike, so they are first reduced to the medians of blocks of
    ``block`` time units (longer ones when there would be more than ``MOST_POINTS``). The median
    slope is not moved by single steps, as when a load begins. Bounds after Sen, JASA 63, 1968.

    Raises:
        ValueError: lengths differ, a value is not finite, or fewer than 3 blocks hold a reading.
    """
    x, y = _finite(times), _finite(values)
    if x.size != y.size:
        raise ValueError(f"{x.size} times for {y.size} values")
    width = max(block, float(np.ptp(x)) / MOST_POINTS)
    bins = np.floor((x - x.min()) / width).astype(int)
    groups = [bins == number for number in np.unique(bins)]
    if len(groups) < 3:
        raise ValueError("a trend needs readings in at least 3 blocks of time")
    # theilslopes takes the two-sided confidence: 0.90 leaves 5 % beyond each bound.
    fit = stats.theilslopes(
        [float(np.median(y[group])) for group in groups],
        [float(np.median(x[group])) for group in groups],
        alpha=1 - 2 * (1 - CONFIDENCE),
    )
    lower, upper = sorted((float(fit.low_slope), float(fit.high_slope)))
    return Estimate(point=float(fit.slope), lower=lower, upper=upper)


def _finite(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    data = np.array([float(value) for value in values])
    if data.size == 0:
        raise ValueError("no values")
    if not np.isfinite(data).all():
        raise ValueError("a value is not finite")
    return data
