"""Times of a table: from one column, or from a date and a time of day, as UTC."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ga.errors import InputError
from ga.sources import epochs
from ga.sources.epochs import Candidate, read_numbers, stamp
from ga.sources.reading import ReadOptions, Rows, Times
from ga.sources.text_times import (
    CLOCK_OF_DAY,
    OUTSIDE,
    UTC_NAMES,
    nanoseconds,
    parse_chunks,
    parse_text,
)

_DAY: Final = 86_400 * 10**9
_NUMBER: Final = r"-?\d+(\.\d+)?"


def read_times(rows: Rows, column: pd.Series, name: str, options: ReadOptions) -> Times:
    """Read one column as times.

    Raises:
        InputError: a value is not a time, or the column can be read in several ways.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if pd.api.types.is_bool_dtype(column.dtype):
        raise InputError(
            f"{rows.path}: column {name} holds no times; name another: --columns time="
        )
    if isinstance(column.dtype, pd.DatetimeTZDtype) or column.dtype.kind == "M":
        return _stored(rows, column, name, options)
    if pd.api.types.is_numeric_dtype(column.dtype):
        return _of_numbers(rows, column, name, options)
    rows.refuse(column.isna().to_numpy(), name, "is not a time")
    if re.fullmatch(_NUMBER, str(column.iloc[0]).strip()) is None:
        return _of_text(rows, column, name, options)
    text = column.astype("string").str.strip()
    if bool(text.str.fullmatch(_NUMBER).all()):
        whole = not bool(text.str.contains(".", regex=False).any())
        exact = whole and int(text.str.len().max()) < 19
        numbers = text.astype(np.int64 if exact else np.float64)
        if not text.str.contains("-", regex=False).any() or exact:
            return _of_numbers(rows, numbers, name, options)
    return _of_text(rows, text, name, options)


def join_times(rows: Rows, date: Times, clock: pd.Series, name: str, options: ReadOptions) -> Times:
    """Add the time of day in another column to dates.

    Raises:
        InputError: a value is not a time of day.
    """
    since = clock_of_day(clock)
    if since is None:
        raise InputError(
            f"{rows.path}: column {name} is not a time of day; name another in --columns"
        )
    label = f"{date.format}, and the time of day in {name}"
    naive = Candidate(
        option="",
        label=label,
        times=np.asarray(date.values + since, dtype=np.int64),
        absolute=False,
    )
    # The dates were placed at midnight UTC: only their sum has a zone.
    return _placed(rows, naive, f"{date.column} and {name}", options)


def clock_of_day(column: pd.Series) -> NDArray[np.int64] | None:
    """Nanoseconds since midnight of times of day; None if a value is none.

    9:30, 09:30:00, 9:30 AM, or as a number 930 and 93000.
    """
    if pd.api.types.is_numeric_dtype(column.dtype):
        return _clock_numbers(column.to_numpy(dtype=np.float64, na_value=np.nan))
    text = column.astype("string").str.strip().str.upper().str.replace(" ", "", regex=False)
    if text.isna().any():
        return None
    if bool(text.str.fullmatch(r"\d{1,6}").all()):
        return _clock_numbers(text.to_numpy(dtype=np.float64))
    if not bool(text.str.fullmatch(CLOCK_OF_DAY).all()):
        return None
    afternoon = text.str.endswith("PM").to_numpy(dtype=bool)
    half = text.str.endswith("M").to_numpy(dtype=bool)
    parts = text.str.replace("[AP]M", "", regex=True).str.split(":", expand=True).fillna("0")
    fields = [parts[i].astype(np.float64).to_numpy() for i in parts.columns]
    hour, minute = fields[0], fields[1]
    second = fields[2] if len(fields) > 2 else np.zeros(len(text))
    if half.any() and not (half.all() and bool(((hour >= 1) & (hour <= 12)).all())):
        return None
    hour = np.where(half, hour % 12 + 12 * afternoon, hour)
    if hour.max() > 23 or minute.max() > 59 or second.max() >= 60:
        return None
    return np.asarray(np.rint(((hour * 60 + minute) * 60 + second) * 1e6) * 1000, dtype=np.int64)


def _clock_numbers(values: NDArray[np.float64]) -> NDArray[np.int64] | None:
    if not np.isfinite(values).all() or bool((values < 0).any() or (values % 1 > 0).any()):
        return None
    whole = values.astype(np.int64)
    if whole.max() > 235_959:
        return None
    if whole.max() <= 2359:
        whole = whole * 100
    hour, minute, second = whole // 10_000, whole // 100 % 100, whole % 100
    if hour.max() > 23 or minute.max() > 59 or second.max() > 59:
        return None
    return np.asarray(((hour * 60 + minute) * 60 + second) * 10**9, dtype=np.int64)


def _of_numbers(rows: Rows, column: pd.Series, name: str, options: ReadOptions) -> Times:
    read = read_numbers(rows, column, name, options.time_format)
    return _placed(rows, read, name, options)


def _stored(rows: Rows, column: pd.Series, name: str, options: ReadOptions) -> Times:
    """A column of the file format's own type of times."""
    rows.refuse(column.isna().to_numpy(), name, "is not a time")
    aware = isinstance(column.dtype, pd.DatetimeTZDtype)
    naive = column.dt.tz_convert("UTC").dt.tz_localize(None) if aware else column
    times, outside = nanoseconds(naive.to_numpy())
    rows.refuse(outside, name, OUTSIDE)
    days = not aware and not bool((times % _DAY).any())
    read = Candidate(option="", label=str(column.dtype), times=times, absolute=aware, days=days)
    return _placed(rows, read, name, options)


def _of_text(rows: Rows, column: pd.Series, name: str, options: ReadOptions) -> Times:
    if options.time_format is not None:
        return _in_format(rows, column, name, options, options.time_format)
    text = parse_text(rows, column, name)
    utc = text.zone is not None and text.zone.lower() in UTC_NAMES
    if text.zone is not None and not utc:
        options = replace(options, timezone=text.zone)
    absolute = text.offsets or utc
    days = not text.offsets and not bool((text.values % _DAY).any())
    read = Candidate(option="", label=text.label, times=text.values, absolute=absolute, days=days)
    return _placed(rows, read, name, options)


def _in_format(rows: Rows, column: pd.Series, name: str, options: ReadOptions, form: str) -> Times:
    if "%" not in form:
        raise InputError(
            f"{rows.path}: column {name} holds text ({column.iloc[0]}), no numbers as --time-format"
            f" {form} needs; give a format such as '%d/%m/%Y %H:%M'"
        )
    with_offset = "%z" in form
    parsed = parse_chunks(
        column, lambda text: pd.to_datetime(text, format=form, utc=True, errors="coerce")
    )
    times = parsed.checked(rows, name, f"is not in the format of --time-format {form}")
    read = Candidate(
        option=form,
        label=form,
        times=times,
        absolute=with_offset,
        days=not with_offset and not bool((times % _DAY).any()),
    )
    return _placed(rows, read, name, options)


def _placed(rows: Rows, read: Candidate, name: str, options: ReadOptions) -> Times:
    """Times without an offset are placed in the zone of ``--timezone``."""
    values, zone = read.times, "UTC, because the times have no offset"
    notes: tuple[str, ...] = ()
    if read.absolute:
        zone = "given by the times"
        if options.timezone is not None:
            notes = (f"--timezone has no effect on {name}: its times fix the instant",)
    elif options.timezone is not None:
        zone = options.timezone
        values = _localized(rows, read, name, options.timezone)
    return Times(
        values=values,
        column=name,
        format=read.label,
        zone=zone,
        absolute=read.absolute,
        days=read.days,
        notes=notes,
    )


def _localized(rows: Rows, read: Candidate, name: str, zone: str) -> NDArray[np.int64]:
    backwards = bool(read.times.size > 1 and read.times[0] > read.times[-1])
    order = slice(None, None, -1 if backwards else 1)
    index = pd.DatetimeIndex(read.times[order].astype("datetime64[ns]"))
    try:
        # Of a doubled hour, the order of the rows tells which is which.
        local = index.tz_localize(zone, ambiguous="infer", nonexistent="raise")
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{rows.path}: column {name} is not local time of {zone} ({reason}); give another"
            " --timezone, or a file with times in UTC"
        ) from None
    return np.asarray(local.asi8[order], dtype=np.int64)


def choose_times(rows: Rows, found: Sequence[Times]) -> Times:
    """Choose between several columns of times: those of an instant, then the finer ones.

    Raises:
        InputError: two columns contradict each other.
    """
    ranked = sorted(found, key=lambda t: (not t.absolute, t.days, not _names_utc(t.column)))
    best, notes = ranked[0], list(ranked[0].notes)
    for other in ranked[1:]:
        apart = _apart(best, other)
        if apart is None:
            raise InputError(
                f"{rows.path}: column {best.column} ({epochs.span(best.values)}) and column"
                f" {other.column} ({epochs.span(other.values)}) give different times; choose with"
                f" --columns time='{best.column}' or time='{other.column}'"
            )
        if apart:
            if not best.absolute and not _names_utc(best.column):
                raise InputError(
                    f"{rows.path}: columns {best.column} and {other.column} are {apart} apart, and"
                    f" none says which is UTC; choose with --columns time='{best.column}' or"
                    f" time='{other.column}'"
                )
            notes.append(f"column {other.column} not used: it is {apart} from {best.column}")
    return replace(best, notes=tuple(notes))


def _names_utc(column: str) -> bool:
    return re.search(r"utc|gmt", column.lower()) is not None


def _apart(best: Times, other: Times) -> str | None:
    """How far two columns are apart: empty if they agree, None if they contradict each other."""
    delta = best.values - other.values
    if not delta.any() or (other.days and bool(((delta >= 0) & (delta < _DAY)).all())):
        return ""
    offsets = np.unique(delta)
    quarter = 900 * 10**9
    if (
        offsets.size <= 3
        and not (offsets % quarter).any()
        and np.abs(offsets).max() <= 14 * 4 * quarter
    ):
        return " or ".join(f"{-o / (4 * quarter):+g} h" for o in offsets.tolist())
    if np.abs(delta).max() < 10**9:
        return ""
    return None


__all__ = ["choose_times", "clock_of_day", "join_times", "read_times", "stamp"]
