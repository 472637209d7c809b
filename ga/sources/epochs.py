"""Times that are numbers: since the epoch, dates as whole numbers, days of a spreadsheet.

A whole column is read in every way that its values allow. Ways that give impossible calendars or
strange bar lengths are left out; if two remain, the file is ambiguous.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ga.errors import InputError
from ga.market import Floats, Times
from ga.sources.reading import UNITS, Rows

_SECOND: Final = 10**9
_DAY: Final = 86_400 * _SECOND
_MOST: Final = 2**63 - 1
_EARLIEST: Final = -70 * 36525 * _DAY // 100
"""1900, nanoseconds from the epoch."""
_LATEST: Final = 130 * 36525 * _DAY // 100
"""2100."""
_NEW: Final = 48 * _DAY
"""A reading in a unit that is a thousand times too small ends before this."""
_SERIAL: Final = (20_000.0, 80_000.0)
"""Days since 1899-12-30: from 1954 to 2119."""
_SERIAL_EPOCH: Final = 25_569
_COMPACT: Final = {
    6: ("%Y%m", "YYYYMM"),
    8: ("%Y%m%d", "YYYYMMDD"),
    10: ("%Y%m%d%H", "YYYYMMDDHH"),
    12: ("%Y%m%d%H%M", "YYYYMMDDhhmm"),
    14: ("%Y%m%d%H%M%S", "YYYYMMDDhhmmss"),
}
_NATURAL: Final = frozenset(
    [1, 2, 3, 5, 10, 15, 20, 30]
    + [60 * m for m in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 45)]
    + [3600 * h for h in (1, 2, 3, 4, 6, 8, 12)]
    + [86_400 * d for d in (1, 2, 3, 7, 14, 28, 29, 30, 31, 89, 90, 91, 92, 365, 366)]
)
"""Seconds that bars have."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to read a column."""

    option: str
    """Value of ``--time-format``."""
    label: str
    times: Times
    absolute: bool
    days: bool = False


def read_numbers(rows: Rows, column: pd.Series, name: str, asked: str | None) -> Candidate:
    """Read a column of numbers as times.

    Args:
        asked: the value of ``--time-format``, if the user gave it.

    Raises:
        InputError: a value is not a time, or the column can be read in several ways.
    """
    floats = column.to_numpy(dtype=np.float64, na_value=np.nan)
    rows.refuse(~np.isfinite(floats), name, "is not a finite number")
    values = floats if column.dtype.kind == "f" else column.to_numpy()
    if asked is not None:
        return _asked(rows, values, floats, name, asked)
    _require_one_unit(rows, name, floats)
    compact = _compact(floats)
    if compact is not None:
        return compact
    found = [c for c in (_serial(floats), *_epochs(values, floats)) if c is not None]
    natural = [c for c in found if _step(c.times) in _NATURAL]
    kept = natural or found[:1]
    if not kept:
        raise InputError(_unknown(rows, name, column, floats))
    if len(kept) > 1:
        first, second = kept[:2]
        raise InputError(
            f"{rows.path}: column {name} can be {first.label} ({span(first.times)}) or"
            f" {second.label} ({span(second.times)}); choose with --time-format"
            f" {first.option} or {second.option}"
        )
    _require_digits(rows, name, floats, kept[0])
    return kept[0]


def _require_one_unit(rows: Rows, name: str, floats: Floats) -> None:
    """Refuse a file that changes its unit: seconds first and milliseconds later."""
    sizes = np.abs(floats)
    ordered = np.sort(sizes[sizes > 1e8])
    jumps = np.flatnonzero(ordered[1:] > 100 * ordered[:-1])
    if jumps.size:
        between = ordered[jumps[0]]
        rows.refuse(
            (sizes > between) != (sizes[0] > between),
            name,
            "is in another unit since 1970 than the rows above",
            "write all times in one unit",
        )


def span(times: Times) -> str:
    """First and last time as dates."""
    return " to ".join(stamp(int(t)) for t in times[[0, -1]])


def stamp(nanoseconds: int) -> str:
    """A time as text, without zone; the time of day only if there is one."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1000)
    return at.strftime("%Y-%m-%d" if nanoseconds % _DAY == 0 else "%Y-%m-%d %H:%M:%S")


def scaled(values: NDArray[np.generic], scale: int) -> Times | None:
    """Values times a unit as nanoseconds; None if one is outside the range of 64 bits."""
    if float(np.abs(values.astype(np.float64)).max(initial=0.0)) * scale >= _MOST:
        return None
    if values.dtype.kind == "f":
        return np.asarray(values * scale, dtype=np.int64)
    return np.asarray(values.astype(np.int64) * scale, dtype=np.int64)


def _step(times: Times) -> float:
    """Median bar length in seconds."""
    return float(np.median(np.abs(np.diff(times)))) / _SECOND if times.size > 1 else 0.0


def _asked(
    rows: Rows, values: NDArray[np.generic], floats: Floats, name: str, asked: str
) -> Candidate:
    if asked in UNITS:
        times = scaled(values, UNITS[asked])
        label, absolute, days = _epoch_label(asked), True, False
    elif asked == "excel":
        times, label, absolute = _serial_times(floats), "days of a spreadsheet", False
        days = bool((floats == np.floor(floats)).all())
    else:
        text = pd.Series([f"{value:.0f}" for value in floats.tolist()])
        times = _parsed(text, asked)
        label, absolute, days = f"numbers as {asked}", False, "%H" not in asked
    if times is None:
        raise InputError(
            f"{rows.path}: column {name} is not {asked} since 1678 to 2262, as --time-format says;"
            " give another, or leave it out"
        )
    return Candidate(option=asked, label=label, times=times, absolute=absolute, days=days)


def _parsed(text: pd.Series, form: str) -> Times | None:
    try:
        parsed = pd.to_datetime(text, format=form)
        return np.asarray(parsed.dt.as_unit("ns").astype(np.int64), dtype=np.int64)
    except (ValueError, OverflowError):
        return None


def _epoch_label(unit: str) -> str:
    names = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
    return f"{names[unit]} since 1970"


def _compact(floats: Floats) -> Candidate | None:
    """Dates written as whole numbers, if every value is one."""
    digits = len(f"{abs(floats[0]):.0f}")
    if digits not in _COMPACT or not bool((floats == np.floor(floats)).all()):
        return None
    low, high = float(floats.min()), float(floats.max())
    power = 10.0 ** (digits - 4)
    if low < 1900 * power or high >= 2101 * power:
        return None
    form, label = _COMPACT[digits]
    whole = floats.astype(np.int64)
    year, rest = np.divmod(whole, 10 ** (digits - 4))
    if not _is_calendar(year, rest, digits):
        return None
    times = _compact_times(year, rest, digits)
    return Candidate(option=form, label=label, times=times, absolute=False, days=digits <= 8)


def _fields(rest: NDArray[np.int64], digits: int) -> list[NDArray[np.int64]]:
    """Month, day, hour, minute, second; those that are not written are the first."""
    fields: list[NDArray[np.int64]] = []
    for _ in range((digits - 4) // 2):
        rest, field = np.divmod(rest, 100)
        fields.insert(0, field)
    least = [1, 1, 0, 0, 0]
    return fields + [np.full(rest.shape, low) for low in least[len(fields) :]]


def _is_calendar(year: NDArray[np.int64], rest: NDArray[np.int64], digits: int) -> bool:
    month, day, hour, minute, second = _fields(rest, digits)
    if not bool(((month >= 1) & (month <= 12)).all()):
        return False
    first = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    length = ((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype(np.int64)
    good = (day >= 1) & (day <= length) & (hour < 24) & (minute < 60) & (second < 60)
    return bool(good.all())


def _compact_times(year: NDArray[np.int64], rest: NDArray[np.int64], digits: int) -> Times:
    month, day, hour, minute, second = _fields(rest, digits)
    first = ((year - 1970) * 12 + month - 1).astype("datetime64[M]").astype("datetime64[D]")
    days = first.astype(np.int64) + day - 1
    seconds = days * 86_400 + hour * 3600 + minute * 60 + second
    return np.asarray(seconds * _SECOND, dtype=np.int64)


def _serial_times(floats: Floats) -> Times | None:
    seconds = np.rint((floats - _SERIAL_EPOCH) * 86_400)
    return scaled(seconds, _SECOND)


def _serial(floats: Floats) -> Candidate | None:
    if floats.min() < _SERIAL[0] or floats.max() > _SERIAL[1]:
        return None
    times = _serial_times(floats)
    if times is None:
        return None
    days = bool((floats == np.floor(floats)).all())
    return Candidate(
        option="excel", label="days of a spreadsheet", times=times, absolute=False, days=days
    )


def _epochs(values: NDArray[np.generic], floats: Floats) -> list[Candidate]:
    """Plausible epoch times, coarsest unit first."""
    if bool((floats < 0).all()):
        return []
    found = []
    for unit, scale in UNITS.items():
        times = scaled(values, scale)
        if times is None or times.min() < _EARLIEST or times.max() > _LATEST:
            continue
        if _is_alias(times):
            continue
        found.append(Candidate(option=unit, label=_epoch_label(unit), times=times, absolute=True))
    return found


def _is_alias(times: Times) -> bool:
    """Within seven weeks of 1970 with bars below a minute: numbers of rows, or another unit."""
    return bool(np.abs(times).max() < _NEW) and _step(times) < 60


def _digits(value: float) -> int:
    """Significant digits, without zeros at either end."""
    return len(f"{abs(value):.17g}".split("e")[0].replace(".", "").strip("0"))


def _require_digits(rows: Rows, name: str, floats: Floats, read: Candidate) -> None:
    """Refuse large numbers that were rounded to a few digits, as spreadsheets write them."""
    if not read.absolute or floats.size < 3 or float(np.abs(floats).max()) < 1e11:
        return
    steps = np.abs(np.diff(read.times))
    if _step(read.times) in _NATURAL:
        return
    digits = max(_digits(value) for value in floats[:200].tolist())
    if digits <= 8 and bool((steps % _SECOND == 0).all()):
        raise InputError(
            f"{rows.path}: column {name} has only {digits} digits that differ from zero"
            f" ({floats[0]:.17g}, {floats[1]:.17g}): the times were rounded, perhaps by a"
            " spreadsheet; export the file again, with all digits"
        )


def _unknown(rows: Rows, name: str, column: pd.Series, floats: Floats) -> str:
    text = f"{rows.path}: column {name} ({column.iloc[0]} to {column.iloc[-1]})"
    if bool((np.diff(floats) == 1).all()):
        text += " numbers the rows and gives no time"
    elif bool((floats < 0).all()):
        text += " lies before 1970 as a whole"
    else:
        text += " is not a time: no unit puts all values between 1900 and 2100 with usual bars"
    return (
        text + "; give a column with times, or the unit with --time-format s, ms, us, ns or excel"
    )
