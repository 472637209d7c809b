"""Types of the ledger's columns. Every value that is read is checked, so that a damaged one is
refused wherever it is read.

A check allows NULL, because outer joins and aggregates give it too; ``ga.ledger.soundness`` refuses
it where a column must not have it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, ClassVar, Final

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import Dialect

from ga.errors import LedgerError

LONGEST: Final = 1_000_000
"""Maximum characters of a text or of a JSON value."""
LAST_TIME: Final = 32_503_680_000.0
"""Maximum of a time: the year 3000."""
MOST: Final = 2**31 - 1
_SHOWN: Final = 40

Shape = Callable[[Any], bool]
"""Whether a decoded JSON value has the form that its column needs."""


class DamagedError(LedgerError):
    """A value that no version of the engine wrote: damaged by a disk, or by another program."""

    def __init__(self, table: str, column: str, reason: str, run: str | None = None) -> None:
        self.table, self.column, self.reason, self.run = table, column, reason, run
        of = "" if run is None else f"run {ascii(run)[1:-1][:_SHOWN]}: "
        super().__init__(
            f"{of}table {table}, column {column}: {reason}; the ledger is damaged: restore a"
            " backup into a new one"
        )

    def of(self, run: str) -> DamagedError:
        """The same damage, of a run."""
        return DamagedError(self.table, self.column, self.reason, self.run or run)


class Checked(sa.TypeDecorator[Any]):
    """A type whose values are checked when they are read.

    Args:
        place: ``TABLE.COLUMN``, for messages.
    """

    impl: sa.types.TypeEngine[Any] | type[sa.types.TypeEngine[Any]] = sa.Text
    cache_ok = True
    stored: ClassVar[tuple[str, ...]] = ("text",)
    """The storage classes that SQLite may report for it."""

    def __init__(self, place: str, *args: Any) -> None:
        super().__init__(*args)
        self.place = place

    @property
    def needed(self) -> str:
        """What a value must be."""
        raise NotImplementedError

    def accepts(self, value: Any) -> bool:
        """Whether a value, JSON decoded, is what the column may hold."""
        raise NotImplementedError

    def outside(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool] | None:
        """SQL: a value of the right storage class is out of bounds; None if SQL cannot tell."""
        raise NotImplementedError

    def check(self, value: Any) -> Any:
        """The value.

        Raises:
            DamagedError: it is not what the column may hold.
        """
        if value is None or self.accepts(value):
            return value
        raise self.refused(value)

    def refused(self, value: object) -> DamagedError:
        """The error for a value."""
        # Not the representation of all of it, which may be long.
        shown = ascii(value[:_SHOWN] if isinstance(value, str | bytes | list) else value)
        table, _, column = self.place.partition(".")
        return DamagedError(table, column, f"{shown[:_SHOWN]} is not {self.needed}")

    def result_processor(
        self,
        dialect: Dialect,  # noqa: ARG002
        coltype: object,  # noqa: ARG002
    ) -> Callable[[Any], Any]:
        """See SQLAlchemy: what converts each value that is read."""
        return self.check


class Words(Checked):
    """A text of some letters.

    Args:
        letters: in brackets, as in a regular expression and in SQL's GLOB.
        least: minimum number of characters; ``length`` is the maximum.
    """

    impl = sa.String
    cache_ok = True

    def __init__(self, place: str, length: int, letters: str, least: int = 0) -> None:
        super().__init__(place, length)
        self.length, self.letters, self.least = length, letters, least
        self._matches = re.compile(f"{letters}{{{least},{length}}}").fullmatch

    @property
    def needed(self) -> str:
        """See ``Checked``."""
        return f"{self.least} to {self.length} of the letters {self.letters}"

    def accepts(self, value: Any) -> bool:
        """See ``Checked``."""
        return type(value) is str and self._matches(value) is not None

    def outside(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool] | None:
        """See ``Checked``."""
        return ~sa.func.length(column).between(self.least, self.length)

    def unlike(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        """SQL of SQLite: a text has other letters."""
        other = f"*{self.letters.replace('[', '[^', 1)}*"
        return sa.type_coerce(column, sa.String).op("GLOB")(other)


class Prose(Checked):
    """Any text of a reasonable length."""

    cache_ok = True

    @property
    def needed(self) -> str:
        """See ``Checked``."""
        return f"a text of at most {LONGEST:,} characters"

    def accepts(self, value: Any) -> bool:
        """See ``Checked``."""
        return is_text(value)

    def outside(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool] | None:
        """See ``Checked``."""
        return sa.func.length(column) > LONGEST


class Whole(Checked):
    """A whole number from ``low`` to ``high``."""

    impl = sa.Integer
    cache_ok = True
    stored = ("integer",)

    def __init__(self, place: str, low: int = 0, high: int = MOST) -> None:
        super().__init__(place)
        self.low, self.high = low, high

    @property
    def needed(self) -> str:
        """See ``Checked``."""
        return f"a whole number from {self.low} to {self.high}"

    def accepts(self, value: Any) -> bool:
        """See ``Checked``."""
        return type(value) is int and self.low <= value <= self.high

    def outside(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool] | None:
        """See ``Checked``."""
        return ~sa.type_coerce(column, sa.BigInteger).between(self.low, self.high)


class Number(Checked):
    """A finite number from ``low`` to ``high``."""

    impl = sa.Double
    cache_ok = True
    stored = ("real", "integer")

    def __init__(self, place: str, low: float, high: float) -> None:
        super().__init__(place)
        self.low, self.high = low, high

    @property
    def needed(self) -> str:
        """See ``Checked``."""
        return f"a number from {self.low:g} to {self.high:g}"

    def accepts(self, value: Any) -> bool:
        """See ``Checked``."""
        # NaN fails both comparisons.
        return type(value) in (float, int) and self.low <= value <= self.high

    def outside(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool] | None:
        """See ``Checked``."""
        return ~sa.type_coerce(column, sa.Double).between(self.low, self.high)


class Json(Checked):
    """A JSON value of some shape.

    Args:
        shape: whether a decoded value has it.
        what: the shape in words.
    """

    impl = sa.JSON
    cache_ok = True

    def __init__(self, place: str, shape: Shape, what: str) -> None:
        super().__init__(place)
        self.shape, self.what = shape, what

    @property
    def needed(self) -> str:
        """See ``Checked``."""
        return f"JSON of {self.what}"

    def accepts(self, value: Any) -> bool:
        """See ``Checked``."""
        return self.shape(value)

    def outside(
        self,
        column: sa.ColumnElement[Any],  # noqa: ARG002
    ) -> sa.ColumnElement[bool] | None:
        """See ``Checked``."""
        return None

    def result_processor(
        self,
        dialect: Dialect,
        coltype: object,  # noqa: ARG002
    ) -> Callable[[Any], Any]:
        """See SQLAlchemy: PostgreSQL's driver has decoded the value; SQLite's gives what is
        stored, of any type.
        """
        return self._decoded if dialect.name == "sqlite" else self.check

    def _decoded(self, stored: Any) -> Any:
        if stored is None:
            return None
        if type(stored) is not str or len(stored) > LONGEST:
            raise self.refused(stored)
        try:
            value = json.loads(stored, parse_constant=_no_number)
        except (ValueError, RecursionError):
            raise self.refused(stored) from None
        return self.check(value)


def is_text(value: object) -> bool:
    """Whether a value is a text that can be written as UTF-8, and not too long."""
    if type(value) is not str or len(value) > LONGEST:
        return False
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False


def is_number(value: object) -> bool:
    """Whether a JSON value is a finite number."""
    return type(value) in (float, int) and -1e300 <= value <= 1e300  # type: ignore[operator]


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
