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
from ga.sources.reading import UNITS, ReadOptions, Rows, Times

_DAY: Final = 86_400 * 10**9
_ISO: Final = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}(:?\d{2}(:?\d{2}([.,]\d+)?)?)?)?")
_OFFSET: Final = r"[Tt ].*(?:[Zz]|[+-]\d{2}:?\d{2})$"
_ZONE_NAME: Final = re.compile(r"(.*\d(?: ?[AaPp][Mm])?) ?([A-Za-z]+(?:/[A-Za-z_]+)*)")
_UTC: Final = frozenset(("utc", "gmt", "z"))
_CLOCK_OF_DAY: Final = r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[AaPp][Mm])?"
_DATES: Final = (
    (r"\d{4}-\d{1,2}-\d{1,2}", "%Y-%m-%d"),
    (r"\d{4}\.\d{1,2}\.\d{1,2}", "%Y.%m.%d"),
    (r"\d{4}/\d{1,2}/\d{1,2}", "%Y/%m/%d"),
    (r"\d{8}", "%Y%m%d"),
    (r"\d{1,2}\.\d{1,2}\.\d{4}", "%d.%m.%Y"),
    (r"\d{1,2}-[A-Za-z]{3}-\d{4}", "%d-%b-%Y"),
    (r"\d{1,2} [A-Za-z]{3} \d{4}", "%d %b %Y"),
    (r"[A-Za-z]{3} \d{1,2},? \d{4}", "%b %d, %Y"),
)
_UNCLEAR: Final = (
    (r"\d{1,2}/\d{1,2}/\d{4}", "%d/%m/%Y", "%m/%d/%Y"),
    (r"\d{1,2}-\d{1,2}-\d{4}", "%d-%m-%Y", "%m-%d-%Y"),
    (r"\d{1,2}/\d{1,2}/\d{2}", "%d/%m/%y", "%m/%d/%y"),
    (r"\d{1,2}\.\d{1,2}\.\d{2}", "%d.%m.%y", "%m.%d.%y"),
    (r"\d{1,2}-\d{1,2}-\d{2}", "%d-%m-%y", "%y-%m-%d"),
    (r"\d{1,2}-[A-Za-z]{3}-\d{2}", "%d-%b-%y", "%y-%b-%d"),
)
"""Forms of a date that people read differently: they need ``--time-format``."""
_CLOCKS: Final = (
    (r"", ""),
    (r"\d{1,2}:\d{2}", "%H:%M"),
    (r"\d{1,2}:\d{2}:\d{2}", "%H:%M:%S"),
    (r"\d{1,2}:\d{2}:\d{2}\.\d+", "%H:%M:%S.%f"),
    (r"\d{6}", "%H%M%S"),
    (r"\d{4}", "%H%M"),
    (r"\d{1,2}:\d{2} [AaPp][Mm]", "%I:%M %p"),
    (r"\d{1,2}:\d{2}[AaPp][Mm]", "%I:%M%p"),
    (r"\d{1,2}:\d{2}:\d{2} [AaPp][Mm]", "%I:%M:%S %p"),
    (r"\d{1,2}:\d{2}:\d{2}[AaPp][Mm]", "%I:%M:%S%p"),
    (r"\d{1,2}[- ][AaPp][Mm]", "%I-%p"),
)


def read_times(rows: Rows, column: pd.Series, name: str, options: ReadOptions) -> Times:
    """Read one column as times.

    Raises:
        InputError: a value is no time, or the column can be read in several ways.
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
    text = column.astype("string").str.strip()
    if bool(text.str.fullmatch(r"-?\d+(\.\d+)?").all()):
        whole = not bool(text.str.contains(".", regex=False).any())
        exact = whole and int(text.str.len().max()) < 19
        numbers = text.astype(np.int64 if exact else np.float64)
        if not text.str.contains("-", regex=False).any() or exact:
            return _of_numbers(rows, numbers, name, options)
    return _of_text(rows, text, name, options)


def join_times(rows: Rows, date: Times, clock: pd.Series, name: str, options: ReadOptions) -> Times:
    """Add the time of day in another column to dates.

    Raises:
        InputError: a value is no time of day.
    """
    since = clock_of_day(clock)
    if since is None:
        raise InputError(f"{rows.path}: column {name} is no time of day; name another in --columns")
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
    if not bool(text.str.fullmatch(_CLOCK_OF_DAY).all()):
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
    times = _nanoseconds(rows, naive, name)
    days = not aware and not bool((times % _DAY).any())
    read = Candidate(option="", label=str(column.dtype), times=times, absolute=aware, days=days)
    return _placed(rows, read, name, options)


def _nanoseconds(rows: Rows, column: pd.Series, name: str) -> NDArray[np.int64]:
    """Of naive times in any unit, refused outside the range of 64 bits."""
    stored = column.to_numpy()
    scale = UNITS[np.datetime_data(stored.dtype)[0]]
    whole = stored.astype(np.int64)
    limit = (2**63 - 1) // scale
    rows.refuse(
        (whole > limit) | (whole < -limit),
        name,
        "is outside the years 1678 to 2262",
        "correct or remove the row",
    )
    return np.asarray(whole * scale, dtype=np.int64)


def _of_text(rows: Rows, text: pd.Series, name: str, options: ReadOptions) -> Times:
    if options.time_format is not None:
        return _in_format(rows, text, name, options, options.time_format)
    text, zone = _without_zone(rows, text, name)
    if zone is not None and zone.lower() not in _UTC:
        options = replace(options, timezone=zone)
    first = str(text.iloc[0])
    offset = text.str.contains(_OFFSET, regex=True).to_numpy(dtype=bool)
    if offset.any() and not offset.all():
        row = int(np.argmax(offset != offset[0]))
        have = ("without an offset", "with an offset")
        raise InputError(
            f"{rows.path}: row {rows.number(row)}, column {name} mixes time zones"
            f" ({have[int(offset[0])]} above, {have[int(offset[row])]} here); convert all to UTC"
        )
    if _ISO.match(first) and (offset.all() or _ISO.fullmatch(first)):
        parsed = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
        label = "ISO 8601"
    else:
        form = _format(rows, text, name)
        simple = text.str.replace(",", "", regex=False) if "," in form else text
        if "%p" in form:
            simple = simple.str.upper().str.replace(r"(\d) (?=[AP]M$)", r"\1-", regex=True)
        parsed = pd.to_datetime(simple, format=_strict(form), utc=True, errors="coerce", exact=True)
        label = form
    rows.refuse(
        parsed.isna().to_numpy(),
        name,
        f"is not an {label} time" if label[0] in "I" else f"is not a time like {first!r}",
    )
    times = _nanoseconds(rows, parsed.dt.tz_localize(None), name)
    days = not offset.any() and not bool((times % _DAY).any())
    absolute = bool(offset.all()) or (zone is not None and zone.lower() in _UTC)
    read = Candidate(option="", label=label, times=times, absolute=absolute, days=days)
    return _placed(rows, read, name, options)


def _strict(form: str) -> str:
    return form.replace(",", "").replace(" %p", "-%p")


def _without_zone(rows: Rows, text: pd.Series, name: str) -> tuple[pd.Series, str | None]:
    """Times without a zone's name at their end, and the name; several blanks become one."""
    first = str(text.iloc[0])
    if "  " in first:
        text = text.str.replace(r"\s+", " ", regex=True)
        first = str(text.iloc[0])
    match = _ZONE_NAME.fullmatch(first)
    if match is None or match[2].upper() in ("AM", "PM", "Z"):
        return text, None
    zone = match[2]
    if zone.lower() not in _UTC and "/" not in zone:
        raise InputError(
            f"{rows.path}: column {name}: {zone!r} is no unique time zone; remove it, and name the"
            " zone with an option, as in --timezone America/New_York"
        )
    lacking = ~text.str.endswith(zone).to_numpy(dtype=bool)
    rows.refuse(lacking, name, f"mixes time zones ({zone} above)", "convert all to UTC")
    return text.str.slice(stop=-len(zone)).str.strip(), zone


def _format(rows: Rows, text: pd.Series, name: str) -> str:
    """The strptime format of all values, from the form of the first."""
    first = str(text.iloc[0])
    for clock, clock_form in _CLOCKS:
        between = "( |T|-|, )" if clock else "()"
        for date, form in _DATES:
            match = re.fullmatch(date + between + clock, first)
            if match:
                return form + match[1] + clock_form
        for date, one, other in _UNCLEAR:
            match = re.fullmatch(date + between + clock, first)
            if match:
                raise InputError(
                    _unclear(rows, text, name, *(f + match[1] + clock_form for f in (one, other)))
                )
    if re.fullmatch(_CLOCK_OF_DAY, first):
        raise InputError(
            f"{rows.path}: column {name} holds times of day ({first}) without a date; give a file"
            " with a column of dates, too"
        )
    rows.refuse(
        np.arange(len(text)) == 0,
        name,
        f"is not an ISO 8601 time ({first[:40]!r})",
        "say how to read it with --time-format, as in '%Y-%m-%d %H:%M:%S'",
    )
    raise AssertionError  # Not reached: the first row is bad.


def _unclear(rows: Rows, text: pd.Series, name: str, one: str, other: str) -> str:
    """Both readings of dates that people read differently."""
    readings = []
    for form in (one, other):
        parsed = pd.to_datetime(text.str.upper(), format=form, errors="coerce")
        if not parsed.isna().any():
            readings.append((form, f"{parsed.min():%Y-%m-%d} to {parsed.max():%Y-%m-%d}"))
    first = str(text.iloc[0])
    if not readings:
        return (
            f"{rows.path}: column {name} is not an ISO 8601 time ({first!r}); say how to read it"
            f" with --time-format, as in '{one}'"
        )
    what = " or ".join(f"{form} ({dates})" for form, dates in readings)
    choice = " or ".join(f"--time-format '{form}'" for form, _ in readings)
    return f"{rows.path}: column {name} ({first!r}) can be read as {what}; say so with {choice}"


def _in_format(rows: Rows, text: pd.Series, name: str, options: ReadOptions, form: str) -> Times:
    if "%" not in form:
        raise InputError(
            f"{rows.path}: column {name} holds text ({text.iloc[0]}), no numbers as --time-format"
            f" {form} needs; give a format such as '%d/%m/%Y %H:%M'"
        )
    with_offset = "%z" in form
    parsed = pd.to_datetime(text, format=form, utc=True, errors="coerce")
    rows.refuse(parsed.isna().to_numpy(), name, f"is not in the format of --time-format {form}")
    times = _nanoseconds(rows, parsed.dt.tz_localize(None), name)
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
