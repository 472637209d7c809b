"""Bounds that verdicts rest on. Pure functions; all bounds are one-sided unless said otherwise.

A one-sided bound at confidence 95 % means: were the experiment repeated, the bound would lie on the
wrong side of the truth in at most 5 % of repetitions. Tests check that by simulation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

import numpy as np
from scipy import special

CONFIDENCE: Final = 0.95
MOST_POINTS: Final = 200
"""Points that a slope is fitted to at most: the cost grows with their square."""
MOST_NEEDED: Final = 10_000
"""Largest number of values to request; above it the true value is too close to the limit."""
_MOST_CORRELATION: Final = 0.9
_Vector: TypeAlias = np.ndarray[tuple[int], np.dtype[np.float64]]


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
        raise ValueError(f"no rate from {successes} successes in {trials} trials")
    failures = trials - successes
    lower = special.betaincinv(successes, failures + 1, 1 - confidence) if successes else 0.0
    upper = special.betaincinv(successes + 1, failures, confidence) if failures else 1.0
    return Estimate(point=successes / trials, lower=float(lower), upper=float(upper))


def successes_needed(
    successes: int, trials: int, target: float, *, confidence: float = CONFIDENCE
) -> int:
    """How many more trials, all successful, lift the exact lower bound to ``target`` (< 1)."""
    if not 0 < target < 1:
        raise ValueError(f"a target between 0 and 1 is needed, not {target}")

    def reached(more: int) -> bool:
        return proportion(successes + more, trials + more, confidence=confidence).lower >= target

    if trials and reached(0):
        return 0
    return _smallest(reached)


def values_needed(
    values: Sequence[float], limit: float, *, above: bool, confidence: float = CONFIDENCE
) -> int | None:
    """How many more values like these bring the t bound of their mean to the right side of a limit.

    Args:
        values: Measurements; a single value has no spread.
        limit: In the unit of the values.
        above: Whether the lower bound must reach it, else the upper bound must stay below it.

    Returns:
        At least 1; ``None`` for one value, for a mean on the wrong side, or when ``MOST_NEEDED``
        values would not suffice.
    """
    data = _finite(values)
    margin = float(data.mean()) - limit if above else limit - float(data.mean())
    if data.size < 2 or margin <= 0:
        return None
    spread = float(data.std(ddof=1))

    def reached(more: int) -> bool:
        count = int(data.size) + more
        return _student(confidence, count - 1) * spread / math.sqrt(count) <= margin

    return _smallest(reached) if reached(MOST_NEEDED) else None


def more_for_tolerance(
    values: Sequence[float], limit: float, *, content: float = 0.95, confidence: float = CONFIDENCE
) -> int | None:
    """How many more durations like these bring ``tolerance_upper`` below a limit; see there.

    Returns ``None`` when ``MOST_NEEDED`` values would not suffice.
    """
    logs = np.log(_finite(values))
    centre, spread = float(logs.mean()), float(logs.std(ddof=1))

    def reached(more: int) -> bool:
        factor = tolerance_factor(int(logs.size) + more, content=content, confidence=confidence)
        return centre + factor * spread < math.log(limit)

    return _smallest(reached) if reached(MOST_NEEDED) else None


def _smallest(reached: Callable[[int], bool]) -> int:
    """The smallest positive integer that suffices; all larger ones suffice too."""
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
        raise ValueError("without trials there is no bound")
    return 1 - float((1 - confidence) ** (1 / trials))


def daily_rate(events: int, seconds: float, *, confidence: float = CONFIDENCE) -> Estimate:
    """Events a day with exact Poisson bounds (Garwood, Biometrika 28, 1936).

    Raises ValueError without any time, or for a negative count.
    """
    if not seconds > 0 or events < 0:
        raise ValueError(f"no rate from {events} events in {seconds} s")
    days = seconds / 86_400
    lower = special.gammaincinv(events, 1 - confidence) if events else 0.0
    upper = special.gammaincinv(events + 1, confidence)
    return Estimate(point=events / days, lower=float(lower) / days, upper=float(upper) / days)


def proven_content(trials: int, *, confidence: float = CONFIDENCE) -> float:
    """Proven share of good cases among all future ones, if all ``trials`` were good.

    Free of any assumption on the distribution; 5 of 5 prove 55 %, 59 of 59 prove 95 %.
    """
    return 1 - zero_count_upper(trials, confidence=confidence)


def samples_for_quantile(share: float, *, confidence: float = CONFIDENCE) -> int:
    """Number of values until the largest of them bounds a quantile: 299 for 99 %."""
    if not 0 < share < 1:
        raise ValueError(f"a share between 0 and 1 is needed, not {share}")
    return math.ceil(math.log(1 - confidence) / math.log(share))


def quantile_bounds(
    values: Sequence[float], share: float, *, confidence: float = CONFIDENCE
) -> Estimate:
    """A quantile with one-sided bounds by order statistics (Hahn and Meeker 1991, 5.2).

    How many of n values lie below the quantile is binomial, whatever their distribution. Values may
    be infinite; too few have the bounds 0 and infinity. Raises ValueError without values, or for a
    value that is NaN or negative.
    """
    data = sorted(float(value) for value in values)
    if not data or not 0 < share < 1 or any(math.isnan(v) or v < 0 for v in data):
        raise ValueError("values of at least 0 and a share between 0 and 1 are needed")
    count = len(data)
    # At most k - 1 values below the quantile: then the k-th value is not below it.
    below = special.bdtr(np.arange(count), count, share)
    over = np.flatnonzero(below >= confidence)
    upper = data[over[0]] if over.size else math.inf
    under = np.flatnonzero(below <= 1 - confidence)
    lower = data[under[-1]] if under.size else 0.0
    point = data[max(0, math.ceil(share * count) - 1)]
    return Estimate(point=point, lower=lower, upper=upper)


def mean(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Estimate:
    """Mean of independent values with Student's t bounds.

    One value has the bounds minus and plus infinity. Raises ValueError without values, or for a
    value that is not finite.
    """
    data = _finite(values)
    point = float(data.mean())
    if data.size == 1:
        return Estimate(point=point, lower=-math.inf, upper=math.inf)
    error = float(data.std(ddof=1)) / math.sqrt(data.size)
    reach = _student(confidence, int(data.size) - 1) * error
    return Estimate(point=point, lower=point - reach, upper=point + reach)


def geometric_mean(ratios: Sequence[float], *, confidence: float = CONFIDENCE) -> Estimate:
    """Geometric mean of paired ratios, with t bounds taken on their logarithms.

    Logarithms, because a ratio and its inverse must have the same weight. Raises ValueError for a
    ratio that is not positive and finite.
    """
    data = _finite(ratios)
    if float(data.min()) <= 0:
        raise ValueError("a ratio must be positive")
    logs = mean([math.log(ratio) for ratio in ratios], confidence=confidence)
    upper = math.inf if logs.upper == math.inf else math.exp(logs.upper)
    return Estimate(point=math.exp(logs.point), lower=math.exp(logs.lower), upper=upper)


@cache
def _normal(confidence: float) -> float:
    return float(special.ndtri(confidence))


@cache
def _student(confidence: float, freedom: int) -> float:
    return float(special.stdtrit(freedom, confidence))


@cache
def tolerance_factor(count: int, *, content: float = 0.95, confidence: float = CONFIDENCE) -> float:
    """One-sided tolerance factor k of the normal distribution.

    mean + k * sd of ``count`` values lies, with the given confidence, above the given content of
    the distribution. From the noncentral t distribution (NIST/SEMATECH e-Handbook, 7.2.6.3).
    """
    if count < 2:
        raise ValueError("a tolerance bound needs at least 2 values")
    delta = _normal(content) * math.sqrt(count)
    return float(special.nctdtrit(count - 1, delta, confidence)) / math.sqrt(count)


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


def trend(
    times: Sequence[float],
    values: Sequence[float],
    *,
    block: float,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Slope of ``values`` per unit of time: median of all pairwise slopes (Theil and Sen).

    Readings taken close together are alike, so they are first reduced to the medians of blocks of
    ``block`` time units (longer ones when there would be more than ``MOST_POINTS``). The median
    slope is not moved by single steps, as when a load begins. Bounds after Sen, JASA 63, 1968,
    their variance inflated by the correlation left between neighbouring blocks.

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
    return slope(
        np.array([float(np.median(x[group])) for group in groups]),
        np.array([float(np.median(y[group])) for group in groups]),
        confidence=confidence,
    )


def slope(x: _Vector, y: _Vector, *, confidence: float = CONFIDENCE) -> Estimate:
    """Slope of points with rising ``x``: ``trend`` after its reduction to blocks."""
    count = x.size
    first, second = np.triu_indices(count, 1)
    slopes = np.sort((y[second] - y[first]) / (x[second] - x[first]))
    point = float(np.median(slopes))
    rest = y - point * x
    rest = rest - rest.mean()
    power = float(rest @ rest)
    alike = 0.0
    if power > 0:
        # n values with correlation r are worth n (1 - r) / (1 + r) independent ones. Fitting a
        # straight line removes some of the correlation, about 3 / n of it.
        seen = float(rest[1:] @ rest[:-1]) / power + 3 / count
        alike = min(max(seen, 0.0), _MOST_CORRELATION)
    variance = count * (count - 1) * (2 * count + 5) / 18 * (1 + alike) / (1 - alike)
    reach = _normal(confidence) * math.sqrt(variance)
    low = math.floor((slopes.size - reach) / 2) - 1
    high = math.ceil((slopes.size + reach) / 2)
    return Estimate(
        point=point,
        lower=float(slopes[low]) if low >= 0 else -math.inf,
        upper=float(slopes[high]) if high < slopes.size else math.inf,
    )


@dataclass(frozen=True, kw_only=True)
class Availability:
    """Estimates of the long-run availability from observed outages. Durations in seconds."""

    observed: float
    """Share of the observed time that was up."""
    share: Estimate
    """Availability in the long run."""
    between: Estimate
    """Mean time up between outages (MTBF); the upper bound may be infinite."""
    repair: Estimate | None
    """Mean length of an outage (MTTR); ``None`` without one."""


def availability(
    outages: Sequence[float], observed_s: float, *, unseen_s: float, confidence: float = CONFIDENCE
) -> Availability:
    """Bounds of the long-run availability from outages, not from probes: those are correlated.

    Outages are taken to begin at random and to last exponentially long. Down time per up time is
    then the ratio of two exponential means, and its bounds are quantiles of F; the upper one takes
    k + 1 outages instead of k, because watching ends at a time and not with an outage. MTBF and
    MTTR have chi-squared bounds.

    Args:
        outages: Length of each, in seconds.
        observed_s: Time watched, outages included.
        unseen_s: Assumed length of an outage when none was observed. The bound holds with its
            confidence if outages are not longer.

    Raises:
        ValueError: a length is not finite and positive, or more was down than observed.
    """
    lengths = _finite(outages) if outages else np.empty(0)
    down = float(lengths.sum())
    up = observed_s - down
    if not math.isfinite(observed_s) or up <= 0 or (lengths.size and float(lengths.min()) <= 0):
        raise ValueError(f"no availability from {down:g} s down in {observed_s:g} s")
    count = int(lengths.size)
    if not count:
        none = -math.log(1 - confidence)
        worst, best, repair = none * unseen_s / up, 0.0, None
        between = Estimate(point=math.inf, lower=up / none, upper=math.inf)
    else:
        ratio = down / up
        worst = ratio * (count + 1) / count * _fisher(confidence, 2 * count + 2, 2 * count)
        best = ratio * _fisher(1 - confidence, 2 * count, 2 * count)
        low, high = _chi(1 - confidence, 2 * count), _chi(confidence, 2 * count)
        between = Estimate(
            point=up / count, lower=2 * up / _chi(confidence, 2 * count + 2), upper=2 * up / low
        )
        repair = Estimate(point=down / count, lower=2 * down / high, upper=2 * down / low)
    return Availability(
        observed=up / observed_s,
        share=Estimate(point=up / observed_s, lower=1 / (1 + worst), upper=1 / (1 + best)),
        between=between,
        repair=repair,
    )


def more_watching(
    outages: Sequence[float], observed_s: float, target: float, *, unseen_s: float
) -> float:
    """Additional seconds without an outage until the availability's lower bound reaches
    ``target``.
    """
    now = availability(outages, observed_s, unseen_s=unseen_s).share.lower
    if now >= target:
        return 0.0
    # The bound on down time per up time is proportional to 1 / up time.
    up = observed_s - math.fsum(outages)
    return up * ((1 / now - 1) / (1 / target - 1) - 1)


@cache
def _fisher(confidence: float, over: int, under: int) -> float:
    return float(special.fdtri(over, under, confidence))


@cache
def _chi(confidence: float, freedom: int) -> float:
    return 2 * float(special.gammaincinv(freedom / 2, confidence))


def _finite(values: Sequence[float]) -> _Vector:
    data = np.array([float(value) for value in values])
    if data.size == 0:
        raise ValueError("no values")
    if not np.isfinite(data).all():
        raise ValueError("a value is not finite")
    return data
