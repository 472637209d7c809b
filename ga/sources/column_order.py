"""Columns without names: which they are, from a sample of their cells.

The order is that of exchanges and terminals: time (or date and time of day), open, high, low,
close, then perhaps a mean price, then volume. The prices have to confirm it: no high is below
another price of its bar, no low above.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ga.errors import InputError
from ga.market import Floats
from ga.sources.columns import Roles
from ga.sources.reading import PRICES

_CLOCK: Final = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?")
_DAY: Final = re.compile(r"\d{8}|\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{4}")
_HOURS_MINUTES: Final = re.compile(r"\d{1,6}")


def arrange(path: Path, cells: Sequence[Sequence[str]]) -> Roles:
    """Roles of unnamed columns.

    Raises:
        InputError: the prices contradict the order; the message gives an option that fits them.
    """
    columns = list(zip(*cells, strict=True))
    start, symbol = _start(columns)
    joined = _joined(columns, start)
    first = start + 1 + joined
    values = [_loose(column) for column in columns]
    if len(columns) < first + len(PRICES):
        raise InputError(
            f"{path}: cannot be read ({len(columns)} columns without names); add a header"
        )
    block = values[first : first + len(PRICES)]
    if not _fits(block):
        raise InputError(_contradiction(path, start, first, block))
    volume = first + len(PRICES)
    while volume < len(columns) - 1 and _is_price(values[volume], block):
        volume += 1  # A mean or adjusted price stands before the volume.
    has_volume = volume < len(columns) and bool(np.isfinite(values[volume]).any())
    return Roles(
        times=(start, start + 1) if joined else (start,),
        joined=joined,
        prices=(first, first + 1, first + 2, first + 3),
        volumes=(volume,) if has_volume else (),
        funding=None,
        symbol=symbol,
        by_order=True,
    )


def _start(columns: Sequence[Sequence[str]]) -> tuple[int, int | None]:
    """Index of the time, and of a symbol before it; row numbers are skipped."""
    start, symbol = 0, None
    if _counts(columns[0]):
        start = 1
    if start < len(columns) and all(re.match(r"[A-Za-z]", cell) for cell in columns[start]):
        start, symbol = start + 1, start
    return min(start, len(columns) - 1), symbol


def _counts(column: Sequence[str]) -> bool:
    """0, 1, 2, ... or 1, 2, 3, ..."""
    return any(list(column) == [str(i + one) for i in range(len(column))] for one in (0, 1))


def _joined(columns: Sequence[Sequence[str]], start: int) -> bool:
    if start + 1 >= len(columns) or not all(map(_DAY.fullmatch, columns[start])):
        return False
    clock = columns[start + 1]
    if all(map(_CLOCK.fullmatch, clock)):
        return True
    # 930 may be a time of day or a price: the prices after it decide.
    if len(columns) < start + 6 or not all(map(_HOURS_MINUTES.fullmatch, clock)):
        return False
    values = [_loose(column) for column in columns[start + 1 : start + 6]]
    return not _fits(values[:4]) and _fits(values[1:])


def _loose(column: Sequence[str]) -> Floats:
    """Numbers of a sample, whatever their decimal mark; NaN for other text."""
    numbers = np.full(len(column), np.nan)
    for i, cell in enumerate(column):
        text = cell.replace(" ", "").replace("'", "")
        if "," in text:
            last = text.rfind(",") > text.rfind(".")
            text = text.replace(".", "").replace(",", ".") if last else text.replace(",", "")
        try:
            numbers[i] = float(text)
        except ValueError:
            continue
    return numbers


def _fits(prices: Sequence[Floats]) -> bool:
    rows = np.vstack(prices)
    rows = rows[:, np.isfinite(rows).all(axis=0)]
    if rows.shape[1] == 0 or bool((rows <= 0).any()):
        return False
    high, low = rows[1] * (1 + 1e-6), rows[2] * (1 - 1e-6)
    return bool((high >= rows.max(axis=0)).all() and (low <= rows.min(axis=0)).all())


def _is_price(values: Floats, prices: Sequence[Floats]) -> bool:
    known: NDArray[np.bool_] = np.isfinite(values)
    within = (values >= prices[2] * 0.999) & (values <= prices[1] * 1.001)
    return bool(known.any() and np.count_nonzero(within) > 0.9 * np.count_nonzero(known))


def _contradiction(path: Path, start: int, first: int, block: Sequence[Floats]) -> str:
    readings = [
        order
        for order in permutations(range(4))
        if _fits([block[order.index(i)] for i in range(4)])
    ]
    text = (
        f"{path}: the columns have no names, and columns {first + 1} to {first + 4} are not open,"
        " high, low, close: a high is below another price; number them, as in --columns "
    )
    options = [
        f"time={start + 1},"
        + ",".join(f"{PRICES[role]}={first + 1 + at}" for at, role in enumerate(order))
        for order in readings[:2]
    ] or [f"time={start + 1},open=4,high=3,low=2,close=5"]
    return text + " or ".join(options)
