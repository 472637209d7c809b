"""Options of a market file, and the record of how one was read."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from ga.errors import InputError

PRICES: Final = ("open", "high", "low", "close")
ROLES: Final = ("time", *PRICES, "volume", "funding", "symbol")
OPTIONAL: Final = ("volume", "funding", "symbol")
NONE: Final = "none"
"""The value of ``--columns`` that leaves an optional column out."""
UNITS: Final = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
"""Nanoseconds of the units of epoch times."""


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What the user said about market files; None: it follows from the content."""

    time_format: str | None = None
    """``s``, ``ms``, ``us``, ``ns`` (since the epoch), ``excel`` (days), or a strptime format."""
    columns: tuple[tuple[str, str], ...] = ()
    """Pairs of role and column: its name, its number from 1, or ``none``."""
    timezone: str | None = None
    """IANA name of the zone of times without an offset; UTC if None."""
    symbols: tuple[str, ...] = ()
    """Which symbols to take from a file of several."""
    decimal: str | None = None
    """The decimal mark, ``.`` or ``,``."""

    @property
    def given(self) -> tuple[str, ...]:
        """The options that are set, as they are typed."""
        named = {
            "--time-format": self.time_format,
            "--columns": self.columns,
            "--timezone": self.timezone,
            "--symbol": self.symbols,
            "--decimal": self.decimal,
        }
        return tuple(option for option, value in named.items() if value)

    def column(self, role: str) -> str | None:
        """The column that ``--columns`` gives a role."""
        return dict(self.columns).get(role)


def parse_options(
    *,
    time_format: str | None = None,
    columns: str | None = None,
    timezone: str | None = None,
    symbol: str | None = None,
    decimal: str | None = None,
) -> ReadOptions:
    """Parse and check the options of market files.

    Raises:
        InputError: the message names the option and a valid value.
    """
    if time_format is not None and time_format not in (*UNITS, "excel") and "%" not in time_format:
        raise InputError(
            f"--time-format {time_format}: give s, ms, us, ns, excel, or a format such as"
            " '%d/%m/%Y %H:%M'"
        )
    if timezone is not None:
        try:
            ZoneInfo(timezone)
        except (ValueError, OSError, LookupError):
            raise InputError(
                f"--timezone {timezone}: not a time zone; give one such as UTC, America/New_York"
                " or Europe/Berlin"
            ) from None
    if decimal not in (None, ".", ","):
        raise InputError(f"--decimal {decimal}: give . or ,")
    symbols = () if symbol is None else tuple(s.strip() for s in symbol.split(","))
    if "" in symbols:
        raise InputError("--symbol: a name is empty; give names such as SPY,QQQ or leave it out")
    return ReadOptions(
        time_format=time_format,
        columns=() if columns is None else _pairs(columns),
        timezone=timezone,
        symbols=symbols,
        decimal=decimal,
    )


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    example = "give pairs such as time=Datum,open=3,volume=none"
    pairs: list[tuple[str, str]] = []
    for item in text.split(","):
        role, equals, column = (part.strip() for part in item.partition("="))
        if not equals or not column:
            raise InputError(f"--columns {text}: {item!r} is not ROLE=COLUMN; {example}")
        if role not in ROLES:
            raise InputError(f"--columns {text}: {role!r} is none of {', '.join(ROLES)}; {example}")
        if role in dict(pairs):
            raise InputError(f"--columns {text}: {role} is given twice; {example}")
        if column == NONE and role not in OPTIONAL:
            raise InputError(f"--columns {text}: {role} is always needed; {example}")
        pairs.append((role, column))
    return tuple(pairs)


@dataclass(frozen=True, kw_only=True)
class Times:
    """Times of a file, in its own order."""

    values: NDArray[np.int64]
    """(T,) nanoseconds since the epoch, UTC."""
    column: str
    """Name of the column, or of both."""
    format: str
    """How its values were understood."""
    zone: str
    """Where the zone comes from."""
    absolute: bool
    """The values themselves fix the instant: since the epoch, or with an offset."""
    days: bool = False
    """Dates without a time of day."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How one file was read: every decision. ``ga data check`` prints it."""

    path: str
    asset: str
    kind: str
    """File format, with the compression if there is one."""
    encoding: str = ""
    delimiter: str = ""
    header: str = ""
    """Where the column names come from."""
    skipped: int = 0
    """Lines before the header or the first bar, and after the last bar."""
    numbers: str = "decimal point"
    columns: tuple[tuple[str, str], ...]
    """Pairs of role and column."""
    unused: tuple[str, ...] = ()
    time_format: str
    timezone: str
    order: str
    notes: tuple[str, ...] = ()
    """Warnings: what the user should know before believing a result."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Names the rows of a file in messages."""

    path: Path
    number: Callable[[int], int]
    """Number of a row (from 0) in an editor, from 1."""

    def refuse(
        self,
        bad: NDArray[np.bool_],
        column: str,
        what: str,
        remedy: str = "correct or remove the row",
    ) -> None:
        """Refuse the file if any row is bad.

        Raises:
            InputError: names the first bad row.
        """
        if bad.any():
            row = self.number(int(np.argmax(bad)))
            more = int(bad.sum()) - 1
            others = f" (and {more} more)" if more else ""
            raise InputError(f"{self.path}: row {row}, column {column} {what}{others}; {remedy}")


def shown(name: str) -> str:
    """A column's name in a message."""
    return name if name else "(unnamed)"


def decodes(data: bytes, encoding: str) -> bool:
    """Whether bytes, which may end inside a character, are text in an encoding."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(data, final=False)
    except (UnicodeDecodeError, LookupError):
        return False
    return True
