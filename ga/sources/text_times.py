"""Times written as text: the first value shows the form, and every value has to have it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ga.errors import InputError
from ga.sources.reading import UNITS, Rows

UTC_NAMES: Final = frozenset(("utc", "gmt", "z"))
CLOCK_OF_DAY: Final = r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[AaPp][Mm])?"
_CHUNK: Final = 500_000
"""Rows that are parsed together: text needs much memory."""
_ISO: Final = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}(:?\d{2}(:?\d{2}([.,]\d+)?)?)?)?")
_OFFSET: Final = r"[Tt ].*(?:[Zz]|[+-]\d{2}:?\d{2})$"
_ZONE_NAME: Final = re.compile(r"(.*\d(?: ?[AaPp][Mm])?) ?([A-Za-z]+(?:/[A-Za-z_]+)*)")
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


@dataclass(frozen=True, kw_only=True)
class TextTimes:
    """Parsed times; those without an offset are as if in UTC."""

    values: NDArray[np.int64]
    label: str
    zone: str | None
    """Name of the zone behind every value."""
    offsets: bool
    """Every value has an offset."""


def parse_text(rows: Rows, column: pd.Series, name: str) -> TextTimes:
    """Parse a column of text.

    Raises:
        InputError: a value has another form than the first, or the form is ambiguous.
    """
    first = _tidy(column.iloc[:1]).iloc[0]
    zone = _zone_name(rows, first, name)
    if zone is not None:
        first = first[: -len(zone)].strip()
    has_offset = re.search(_OFFSET, first) is not None
    iso = _ISO.match(first) is not None and (has_offset or _ISO.fullmatch(first) is not None)
    form = "" if iso else _format(rows, column, first, name)

    def parse(text: pd.Series) -> pd.Series:
        if iso:
            return pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
        return _with_format(text, form)

    parsed = parse_chunks(column, parse, zone)
    lacking = "mixes time zones"
    rows.refuse(parsed.zoneless, name, f"{lacking} ({zone} above)", "convert all to UTC")
    mixed = parsed.offset != has_offset
    have = ("without an offset", "with an offset")
    rows.refuse(
        mixed,
        name,
        f"{lacking} ({have[int(has_offset)]} above, {have[int(not has_offset)]} here)",
        "convert all to UTC",
    )
    what = "is not an ISO 8601 time" if iso else f"is not a time like {first!r}"
    return TextTimes(
        values=parsed.checked(rows, name, what),
        label=form or "ISO 8601",
        zone=zone,
        offsets=has_offset,
    )


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """Chunks put together, arrays (T,)."""

    values: NDArray[np.int64]
    missing: NDArray[np.bool_]
    """Not parsed."""
    outside: NDArray[np.bool_]
    """Outside of 64 bits of nanoseconds."""
    offset: NDArray[np.bool_]
    """With an offset."""
    zoneless: NDArray[np.bool_]
    """Without the zone's name that others have."""

    def checked(self, rows: Rows, name: str, what: str) -> NDArray[np.int64]:
        """The times.

        Raises:
            InputError: a value was not parsed, or is out of range.
        """
        rows.refuse(self.missing, name, what)
        rows.refuse(self.outside, name, OUTSIDE)
        return self.values


OUTSIDE: Final = "is outside the years 1678 to 2262"


def parse_chunks(
    column: pd.Series, parse: Callable[[pd.Series], pd.Series], zone: str | None = None
) -> Parsed:
    """Parse a long column in chunks: text needs much more memory than times."""
    size = len(column)
    values = np.zeros(size, dtype=np.int64)
    missing, outside, offset, zoneless = (np.zeros(size, dtype=np.bool_) for _ in range(4))
    for at in _slices(size):
        text = _tidy(column.iloc[at])
        if zone is not None:
            zoneless[at] = ~text.str.endswith(zone).to_numpy(dtype=bool)
            text = text.str.slice(stop=-len(zone)).str.strip()
        offset[at] = text.str.contains(_OFFSET, regex=True).to_numpy(dtype=bool)
        parsed = parse(text).dt.tz_localize(None)
        missing[at] = parsed.isna().to_numpy()
        values[at], outside[at] = nanoseconds(parsed.to_numpy())
    return Parsed(values=values, missing=missing, outside=outside, offset=offset, zoneless=zoneless)


def _slices(size: int) -> Iterator[slice]:
    return (slice(at, at + _CHUNK) for at in range(0, size, _CHUNK))


def nanoseconds(
    stored: NDArray[np.datetime64],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Nanoseconds of times in any unit, and which of them are out of range."""
    scale = UNITS[np.datetime_data(stored.dtype)[0]]
    whole = stored.astype(np.int64)
    limit = (2**63 - 1) // scale
    outside = (whole > limit) | (whole < -limit)
    return np.where(outside, 0, whole) * scale, outside


def _tidy(column: pd.Series) -> pd.Series:
    """Without blanks at the ends; several blanks between become one."""
    text = column.astype("string").str.strip()
    if text.str.contains("  ", regex=False).any():
        text = text.str.replace(r"\s+", " ", regex=True)
    return text


def _zone_name(rows: Rows, first: str, name: str) -> str | None:
    """A zone's name at the end of a time."""
    match = _ZONE_NAME.fullmatch(first)
    if match is None or match[2].upper() in ("AM", "PM", "Z"):
        return None
    zone = match[2]
    if zone.lower() not in UTC_NAMES and "/" not in zone:
        raise InputError(
            f"{rows.path}: column {name}: {zone!r} is not a unique time zone; remove it, and name"
            " the zone with an option, as in --timezone America/New_York"
        )
    return zone


def _with_format(text: pd.Series, form: str) -> pd.Series:
    if "," in form:
        text = text.str.replace(",", "", regex=False)
    if "%p" in form:
        text = text.str.upper().str.replace(r"(\d) (?=[AP]M$)", r"\1-", regex=True)
    strict = form.replace(",", "").replace(" %p", "-%p")
    return pd.to_datetime(text, format=strict, utc=True, errors="coerce", exact=True)


def _format(rows: Rows, column: pd.Series, first: str, name: str) -> str:
    """The strptime format of all values, from the form of the first."""
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
                    _unclear(
                        rows,
                        _tidy(column),
                        name,
                        *(f + match[1] + clock_form for f in (one, other)),
                    )
                )
    if re.fullmatch(CLOCK_OF_DAY, first):
        raise InputError(
            f"{rows.path}: column {name} holds times of day ({first}) without a date; give a file"
            " with a column of dates, too"
        )
    rows.refuse(
        np.arange(len(column)) == 0,
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
