"""Tables on stdout: drawn on a terminal, plain text with a line per row elsewhere.

On a terminal, no number and no identifier is broken. A table that is too wide for that is printed
row by row, with a line for each column.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

_COPIED: Final = frozenset({"key", "run", "digest", "id", "name"})
"""Columns whose values are copied to other commands, so they are never wrapped."""
_GAP: Final = "  "


def table(
    title: str,
    rows: Sequence[Mapping[str, object]],
    *,
    right: Collection[str] = (),
    styles: Sequence[str] = (),
) -> None:
    """Print rows, which are dicts with equal keys.

    Args:
        right: columns that are right-aligned.
        styles: style of each row on a terminal.
    """
    if not rows:
        print(f"{title}: none")
        return
    names = list(rows[0])
    cells = [[" ".join(str(value).split()) for value in row.values()] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(names, *cells, strict=True)]
    console = Console()
    whole = {*right, *_COPIED}
    # A heading is never wrapped, either.
    least = [w if n in whole else cell_len(n) for n, w in zip(names, widths, strict=True)]
    if not console.is_terminal:
        if title:
            print(title)
        for line in (names, *cells):
            print(_line(line, widths, [name in right for name in names]))
        return
    if sum(least) + len(_GAP) * len(names) > console.width:
        _print_blocks(console, title, names, cells)
        return
    padding = (0, len(_GAP), 0, 0)
    drawn = Table(title=title or None, title_justify="left", box=None, padding=padding)
    for name, width in zip(names, widths, strict=True):
        drawn.add_column(
            Text(name),
            overflow="fold",
            no_wrap=name in whole,
            min_width=width if name in whole else None,
            justify="right" if name in right else "left",
        )
    for line, style in zip(cells, styles or [""] * len(cells), strict=True):
        # As text, because a name may contain characters of the library's markup.
        drawn.add_row(*map(Text, line), style=style)
    console.print(drawn)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = []
    for cell, width, to_right in zip(cells, widths, right, strict=True):
        room = " " * (width - cell_len(cell))
        padded.append(room + cell if to_right else cell + room)
    return _GAP.join(padded).rstrip()


def paragraph(text: str) -> None:
    """Print a text: wrapped between words on a terminal, one line elsewhere."""
    console = Console()
    if not console.is_terminal:
        print(text)
        return
    for line in _wrapped(text, console.width):
        console.print(Text(line), soft_wrap=True)


def _print_blocks(
    console: Console, title: str, names: Sequence[str], cells: Sequence[Sequence[str]]
) -> None:
    """A block of lines for each row, with an empty line before it."""
    if title:
        console.print(Text(title), soft_wrap=True)
    wide = max(map(cell_len, names))
    for row in cells:
        console.print()
        for name, value in zip(names, row, strict=True):
            head = name + " " * (wide - cell_len(name)) + _GAP
            for line in _wrapped(head + value, console.width):
                console.print(Text(line), soft_wrap=True)


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most ``width``, broken between words; a longer word stays whole."""
    return textwrap.wrap(
        text,
        max(width, 20),
        subsequent_indent=_GAP,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
        replace_whitespace=False,
    )
