"""Numbers of a table: decimal mark and thousands separator are decided over all columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import pandas as pd

from ga.errors import InputError
from ga.market import Floats
from ga.sources.reading import Rows

_EMPTY: Final = frozenset(("", "null", "none", "nan", "na", "n/a", "#n/a", "-", "<na>"))
_SPACES: Final = r"[\u00a0\u202f' ]"
_PLAIN: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_POINT: Final = rf"{_PLAIN}|[-+]?\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?"
_COMMA: Final = r"[-+]?\d+(?:,\d+)?(?:[eE][-+]?\d+)?|[-+]?\d{1,3}(?:\.\d{3})+(?:,\d+)?"


def are_plain(cells: Iterable[str]) -> bool:
    """Whether cells need no decision on decimal mark and thousands separator."""
    return all(re.fullmatch(_PLAIN, c) or c.lower() in _EMPTY for c in cells)


def is_text(column: pd.Series) -> bool:
    """Whether a column holds no numbers but text (or decimals, or a mixture)."""
    return not pd.api.types.is_numeric_dtype(column.dtype)


def to_numbers(
    rows: Rows, columns: Mapping[str, pd.Series], decimal: str | None
) -> tuple[dict[str, Floats], str]:
    """Numbers of columns, by their names; NaN for empty cells. And how they were written.

    Raises:
        InputError: a cell is not a number, or decimal mark and thousands separator cannot be told
            apart.
    """
    texts = {name: column for name, column in columns.items() if is_text(column)}
    numbers = {
        name: column.to_numpy(dtype=np.float64, na_value=np.nan)
        for name, column in columns.items()
        if name not in texts
    }
    if not texts:
        return numbers, "decimal point"
    cleaned = {name: _cleaned(column) for name, column in texts.items()}
    mark, how = _mark(rows, cleaned, decimal)
    if mark == ",":
        _require_whole(rows, numbers)
    for name, column in cleaned.items():
        values = column
        if mark == ",":
            values = values.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
        else:
            values = values.str.replace(",", "", regex=False)
        numbers[name] = np.array([_number(value) for value in values])
    return numbers, how


def _require_whole(rows: Rows, numbers: Mapping[str, Floats]) -> None:
    """Beside a decimal comma, a point would stand between thousands."""
    for name, values in numbers.items():
        points = np.isfinite(values) & (values != np.floor(values))
        rows.refuse(
            points,
            name,
            "has a decimal point, and other columns have a decimal comma",
            "write all numbers alike",
        )


def _number(value: object) -> float:
    return np.nan if value is pd.NA or value is None or value != value else float(str(value))


def _cleaned(column: pd.Series) -> pd.Series:
    text = column.astype("string").str.strip().str.replace(_SPACES, "", regex=True)
    return text.mask(text.str.lower().isin(_EMPTY))


def _mark(rows: Rows, columns: Mapping[str, pd.Series], decimal: str | None) -> tuple[str, str]:
    """The decimal mark that all values allow."""
    allowed = {}
    for mark, pattern in ((".", _POINT), (",", _COMMA)):
        allowed[mark] = {
            name: column.str.fullmatch(pattern).fillna(True).to_numpy(dtype=bool)
            for name, column in columns.items()
        }
    fits = {mark: all(good.all() for good in each.values()) for mark, each in allowed.items()}
    commas = {n: c.str.contains(",", regex=False).fillna(False) for n, c in columns.items()}
    any_comma = any(bool(found.any()) for found in commas.values())
    if decimal is not None:
        fits = {mark: fits[mark] and mark == decimal for mark in fits}
    if fits["."] and fits[","] and any_comma:
        name, row = next((n, int(np.argmax(f))) for n, f in commas.items() if f.any())
        value = str(columns[name].iloc[row])
        raise InputError(
            f"{rows.path}: row {rows.number(row)}, column {name}: {value} can be"
            f" {value.replace(',', '')} (thousands) or {value.replace(',', '.')} (decimal comma);"
            " choose with --decimal . or --decimal ,"
        )
    if not fits["."] and not fits[","]:
        # The reading that fits better names its first bad cell.
        mark = decimal or min(
            allowed, key=lambda m: sum(int((~g).sum()) for g in allowed[m].values())
        )
        for name, good in allowed[mark].items():
            if not good.all():
                value = str(columns[name].iloc[int(np.argmin(good))])[:20]
                rows.refuse(
                    ~good,
                    name,
                    f"is not a finite number ({value})",
                    "write plain numbers" + _left_out(name),
                )
    mark = "." if fits["."] else ","
    if mark == ",":
        return mark, "decimal comma"
    return mark, "decimal point" + (", commas between thousands" if any_comma else "")


def _left_out(name: str) -> str:
    return f", or leave it out: --columns {name}=none" if name in ("volume", "funding") else ""
