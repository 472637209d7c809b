"""Time frames such as ``4h``, and resampling to coarser bars."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from ga.errors import InputError
from ga.market import Floats, Series
from ga.numerics import segment_totals

_MINUTE: Final = 60 * 10**9
_UNITS: Final = {"m": _MINUTE, "h": 60 * _MINUTE, "d": 1440 * _MINUTE, "w": 7 * 1440 * _MINUTE}
_LONGEST: Final = 366 * _UNITS["d"]


def parse_timeframe(text: str, *, option: str = "--timeframe") -> int:
    """Nanoseconds of ``5m``, ``1h``, ``4h``, ``1d``, ``1w``.

    pandas.Timedelta would save no line, because it also accepts ``90``, ``-1h`` and an empty text.

    Raises:
        InputError: not a time frame.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,5})([mhdw])", text, re.ASCII)
    step = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < step <= _LONGEST:
        raise InputError(
            f"{option} {text}: not a time frame; give a whole number and m, h, d or w,"
            " such as 5m, 1h, 4h, 1d, 1w"
        )
    return step


def format_timeframe(step: int) -> str:
    """The text of a step, in the largest unit that fits."""
    for unit, size in reversed(_UNITS.items()):
        if step % size == 0:
            return f"{step // size}{unit}"
    return f"{step / 1e9:g}s"


def resample(series: Series, step: int) -> Series:
    """Resample to bars of ``step`` nanoseconds, an integer multiple of the series' own (median)
    step.

    Buckets start at multiples of ``step`` since the epoch, so weeks start on a Thursday. A bar
    belongs to the bucket that contains its open time. The first and last bucket are dropped unless
    the series reaches their edges. A bucket with missing bars inside is kept.

    Raises:
        InputError: the target is finer than the series or not a multiple of its step.
    """
    if series.times.size < 2:
        raise InputError(
            f"--timeframe {format_timeframe(step)}: {series.asset} has"
            f" {series.times.size} bars; give a longer history"
        )
    own = int(np.median(np.diff(series.times)))
    if step == own:
        return series
    if step < own or step % own:
        raise InputError(
            f"--timeframe {format_timeframe(step)}: the bars of {series.asset} are of"
            f" {format_timeframe(own)}; give a multiple of that"
        )
    bucket = series.times // step
    first = int(np.searchsorted(bucket, -(-series.times[0] // step)))
    last = int(np.searchsorted(bucket, (series.times[-1] + own) // step))
    if first >= last:
        none = np.empty(0, dtype=np.float64)
        return Series(
            asset=series.asset,
            times=np.empty(0, dtype=np.int64),
            open=none,
            high=none,
            low=none,
            close=none,
            volume=none,
            funding=None if series.funding is None else none,
        )
    bucket = bucket[first:last]
    starts = np.flatnonzero(np.diff(bucket, prepend=bucket[0] - 1))
    ends = np.append(starts[1:], bucket.size) - 1

    def total(values: Floats) -> Floats:
        return np.asarray(segment_totals(values[first:last], starts))

    return Series(
        asset=series.asset,
        times=bucket[starts] * step,
        open=series.open[first:last][starts],
        high=np.maximum.reduceat(series.high[first:last], starts),
        low=np.minimum.reduceat(series.low[first:last], starts),
        close=series.close[first:last][ends],
        volume=total(series.volume),
        funding=None if series.funding is None else total(series.funding),
    )
