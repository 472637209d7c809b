"""The layout of a text table: delimiter, lines before and after it, names of the columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ga.errors import InputError
from ga.sources.columns import is_known
from ga.sources.opening import Text
from ga.sources.reading import PRICES

_DELIMITERS: Final = (",", ";", "\t", "|", " ")
"""In the order of preference; a space means one or more."""
_NUMBER: Final = re.compile(r"[-+]?[$€£]?\d[\d.,'\u00a0\u202f ]*(?:[eE][-+]?\d+)?\s?[KMB%]?")
_FEWEST: Final = 3
"""Numbers that a line with a bar has at least."""
_MOST_LINES_BEFORE: Final = 200
_NAMES: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "space"}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the table is in a text file."""

    delimiter: str
    first: int
    """Index of the first line with a bar."""
    names: tuple[tuple[str, ...], ...]
    """(columns, levels) names; no levels if the file has no header."""
    header: int | None
    """Index of the header's first line."""
    footer: int
    """Lines after the last bar."""
    cells: tuple[tuple[str, ...], ...]
    """The sample: rows of cells as text."""

    @property
    def delimiter_name(self) -> str:
        """The delimiter in words, for messages."""
        return _NAMES[self.delimiter]


def split(line: str, delimiter: str) -> list[str]:
    """The cells of one line."""
    if delimiter == " ":
        return line.split()
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]


def find_layout(text: Text) -> Layout:
    """Find the table in a text file.

    Raises:
        InputError: there is no table of bars in it, or its last line is cut off.
    """
    lines = text.head.splitlines()
    if not text.whole and lines and not text.head.endswith(("\n", "\r")):
        lines.pop()
    delimiter = _delimiter(lines)
    rows = [split(line, delimiter) for line in lines]
    first = _first_bar(text, rows)
    width = max(len(row) for row in rows[first:])
    header = _header(rows, first)
    names = _names(text, rows[header:first] if header is not None else [], width, rows[first:])
    sample = [row for row in rows[first:] if row]
    footer = _footer(text, delimiter, sample)
    if text.whole and footer:
        sample = sample[:-footer]
    cells = tuple(tuple(row + [""] * (width - len(row))) for row in sample)
    return Layout(
        delimiter=delimiter,
        first=first,
        names=names,
        header=header,
        footer=footer,
        cells=cells,
    )


def _is_bar(cells: Sequence[str]) -> bool:
    """A line with at least three numbers and one more cell; the first cell may be anything."""
    if len(cells) <= _FEWEST:
        return False
    return sum(_NUMBER.fullmatch(cell) is not None for cell in cells) >= _FEWEST


def _delimiter(lines: Sequence[str]) -> str:
    """The one that splits most lines into cells of bars; of equals the one with equal widths."""
    best, most = ",", (0, 0)
    for delimiter in _DELIMITERS:
        rows = [split(line, delimiter) for line in lines[:1000]]
        widths = [len(row) for row in rows if _is_bar(row)]
        usual = max(map(widths.count, set(widths)), default=0)
        if (len(widths), usual) > most:
            best, most = delimiter, (len(widths), usual)
    return best


def _first_bar(text: Text, rows: Sequence[Sequence[str]]) -> int:
    for index, row in enumerate(rows):
        if _is_bar(row) and not _is_numbering(row):
            known = _known_header(rows[:index])
            # Below a header, a first bar may have empty cells.
            below = index if known is None else known + 1
            while below < index and not _looks_timed(rows[below]):
                below += 1
            return below
    if any(is_known(cell, "close") or is_known(cell, "open") for row in rows for cell in row):
        raise InputError(f"{text.path}: no bars, only a header; give a file with bars")
    raise InputError(
        f"{text.path}: cannot be read (no line holds a time and prices); give a table of bars"
    )


def _looks_timed(row: Sequence[str]) -> bool:
    return len(row) > _FEWEST and any(cell[:1].isdigit() and len(cell) >= 8 for cell in row[:2])


def _is_numbering(row: Sequence[str]) -> bool:
    """``0,1,2,3``: the header that pandas writes for columns without names."""
    cells = row[1:] if row[:1] == [""] else row
    return list(cells) == [str(i) for i in range(len(cells))]


def _known_header(rows: Sequence[Sequence[str]]) -> int | None:
    for index, row in enumerate(rows):
        if sum(any(is_known(cell, role) for role in _HEADER_ROLES) for cell in row) >= _FEWEST:
            return index
    return None


_HEADER_ROLES: Final = ("time", "open", "high", "low", "close", "volume")


def _header(rows: Sequence[Sequence[str]], first: int) -> int | None:
    """Index of the header's first line: one with known names, else the line above the bars."""
    known = _known_header(rows[:first])
    if known is not None:
        return known
    above = next((i for i in range(first - 1, -1, -1) if any(rows[i])), None)
    return above if above is not None and len(rows[above]) > _FEWEST else None


def _names(
    text: Text, header: Sequence[Sequence[str]], width: int, bars: Sequence[Sequence[str]]
) -> tuple[tuple[str, ...], ...]:
    levels = [list(row) for row in header if len(row) > _FEWEST]
    if not levels:
        return ((),) * width
    if len(levels) == 1 and _is_numbering(levels[0]):
        # Numbers are no names; an empty cell before them stands above row numbers.
        numbered = levels[0]
        return ((),) * max(width, len(numbered))
    levels[0][0] = levels[0][0].lstrip("#").strip()
    given = max(map(len, levels))
    complete = all(any(is_known(n, role) for row in levels for n in row) for role in PRICES)
    if complete and given < width and any(any(row[given:]) for row in bars):
        raise InputError(
            f"{text.path}: the header has {given} columns, the bars have {width}; name them all"
        )
    padded = [level + [""] * (max(width, given) - len(level)) for level in levels]
    return tuple(zip(*padded, strict=True))


def _footer(text: Text, delimiter: str, sample: Sequence[Sequence[str]]) -> int:
    """Lines after the last bar: those without the numbers of one."""
    lines = [line for line in text.tail.splitlines() if line.strip()]
    rows = [split(line, delimiter) for line in lines]
    footer = 0
    while rows and not _is_last(rows[-1], sample[0]):
        rows.pop()
        footer += 1
    widths = [len(row) for row in sample if _is_bar(row)]
    usual = max(set(widths), key=widths.count)
    if rows and len(rows[-1]) < usual:
        raise InputError(
            f"{text.path}: the last line with a bar is cut off ({lines[len(rows) - 1][:40]!r});"
            " complete or remove it"
        )
    return footer


def _is_last(row: Sequence[str], bar: Sequence[str]) -> bool:
    """Whether a line begins like a bar, even if it is cut off."""
    if _is_bar(row):
        return True
    shape = [re.sub(r"\d", "0", cell) for cell in bar[:2]]
    return any(
        cell and re.sub(r"\d", "0", cell) == like and "0" in like
        for cell, like in zip(row[:2], shape, strict=False)
    ) or bool(row and row[0][:1].isdigit())
