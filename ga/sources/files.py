"""Markets from CSV, Parquet and Feather files: one asset a file, checked row by row.

Columns (any case): a time column (``time``, ``date``, ``datetime``, ``timestamp``, ``open_time`` or
an unnamed first one), ``open``, ``high``, ``low``, ``close``, and optionally ``volume`` and
``funding``. Times are ISO 8601 text (no offset means UTC) or whole seconds, milliseconds,
microseconds or nanoseconds since the epoch.
"""

from __future__ import annotations

import stat
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ga.errors import InputError
from ga.market import Floats, Market, Series, Times, align
from ga.sources.selection import Part, Selection, Source

SUFFIXES: Final = (".csv", ".parquet", ".feather")
_TIME_NAMES: Final = ("time", "date", "datetime", "timestamp", "open_time")
_PRICES: Final = ("open", "high", "low", "close")
_OFFSET: Final = r"(Z|z|[+-]\d{2}:?\d{2})$"


def load_files(path: Path) -> Market:
    """Load one file, or every CSV, Parquet and Feather file of a folder, as one market.

    Raises:
        InputError: the message names the invalid file, row and column, and the remedy.
    """
    source = file_source(path)
    return align(source.name, Selection().series(source))


def file_source(path: Path) -> Source:
    """One file, or every CSV, Parquet and Feather file of a folder, not yet read.

    Raises:
        InputError: the folder contains no such file.
    """
    if path.is_dir():
        try:
            files = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        except OSError as error:
            raise InputError(
                f"{path}: the folder cannot be read ({error.strerror}); check its rights"
            ) from None
        if not files:
            raise InputError(f"{path}: the folder holds no {_either(SUFFIXES)} file; add one")
    else:
        files = [path]
    parts = tuple(Part(asset=file.stem, read=partial(read_series, file)) for file in files)
    return Source(name=path.stem, parts=parts)


def _either(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def read_series(path: Path, *, asset: str | None = None) -> Series:
    """Read and check one asset.

    Raises:
        InputError: see ``load_files``.
    """
    frame = _read_frame(path)
    columns = {str(c).strip().lower(): c for c in frame.columns}
    time_column = next((columns[n] for n in _TIME_NAMES if n in columns), None)
    if time_column is None and str(frame.columns[0]).startswith("Unnamed"):
        time_column = frame.columns[0]
    if time_column is None:
        raise InputError(f"{path}: no time column; name one of {', '.join(_TIME_NAMES)}")
    lacking = [name for name in _PRICES if name not in columns]
    if lacking:
        raise InputError(
            f"{path}: column {', '.join(lacking)} is missing (found:"
            f" {', '.join(str(c) for c in frame.columns)}); rename or add it"
        )
    if len(frame) < 2:
        raise InputError(f"{path}: {len(frame)} bar; give a longer history")
    times = _times(path, frame[time_column])
    values = {name: _numbers(path, frame[columns[name]], name) for name in _PRICES}
    for name, numbers in values.items():
        _refuse(path, numbers <= 0, name, "is not above zero")
    _refuse(path, values["high"] < values["low"], "high", "is below low")
    volume = np.zeros(len(frame))
    if "volume" in columns:
        volume = _numbers(path, frame[columns["volume"]], "volume")
        _refuse(path, volume < 0, "volume", "is negative")
    funding = None
    if "funding" in columns:
        funding = _numbers(path, frame[columns["funding"]], "funding")
    return Series(
        asset=asset or path.stem,
        times=times,
        open=values["open"],
        high=values["high"],
        low=values["low"],
        close=values["close"],
        volume=volume,
        funding=funding,
    )


def _read_frame(path: Path) -> pd.DataFrame:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: unknown file type {suffix!r}; give {_either(SUFFIXES)}")
    try:
        # A FIFO or a device could block this process, or never end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path}: not a regular file; give a file")
        if suffix == ".csv":
            frame = pd.read_csv(path)
        elif suffix == ".feather":
            frame = pd.read_feather(path).reset_index()
        else:
            frame = pd.read_parquet(path).reset_index()
    except pd.errors.EmptyDataError:
        raise InputError(f"{path}: the file is empty; give a file with a header and bars") from None
    except InputError:
        raise
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path}: cannot be read ({reason}); check the file") from None
    if frame.empty:
        raise InputError(f"{path}: no bars, only a header; give a file with bars")
    return frame


def _refuse(path: Path, bad: NDArray[np.bool_], column: str, what: str) -> None:
    if bad.any():
        row = _row(path, int(np.argmax(bad)))
        more = int(bad.sum()) - 1
        others = f" (and {more} more)" if more else ""
        raise InputError(
            f"{path}: row {row}, column {column} {what}{others}; correct or remove the row"
        )


def _row(path: Path, index: int) -> int:
    """Line number of a row in an editor: in a CSV the header and blank lines count."""
    if path.suffix.lower() != ".csv":
        return index + 1
    with path.open(encoding="utf-8", errors="replace") as lines:
        filled = (number for number, line in enumerate(lines, 1) if line.strip())
        return next(islice(filled, index + 1, None), index + 2)


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return np.nan


def _numbers(path: Path, column: pd.Series, name: str) -> Floats:
    if pd.api.types.is_numeric_dtype(column.dtype):
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        numbers = np.array([_number(value) for value in column])
    _refuse(path, ~np.isfinite(numbers), name, "is not a finite number")
    return np.asarray(numbers, dtype=np.float64)


def _times(path: Path, column: pd.Series) -> Times:
    name = str(column.name)
    if pd.api.types.is_numeric_dtype(column.dtype):
        stamps = _numbers(path, column, name)
        # 1e11 seconds is the year 5138, 1e11 milliseconds is 1973, so the size shows the unit.
        scale = next(
            (u for u, top in ((10**9, 1e11), (10**6, 1e14), (10**3, 1e17)) if stamps[0] < top), 1
        )
        times: Times = np.asarray(column.to_numpy() * scale, dtype=np.int64)
    elif isinstance(column.dtype, pd.DatetimeTZDtype) or np.issubdtype(
        getattr(column.dtype, "type", object), np.datetime64
    ):
        _refuse(path, column.isna().to_numpy(), name, "is not a time")
        utc = pd.to_datetime(column, utc=True)
        times = np.asarray(utc.dt.as_unit("ns").astype(np.int64), dtype=np.int64)
    else:
        text = column.astype("string").str.strip()
        offsets = text.str.extract(_OFFSET, expand=False).where(text.str.len() > 10).fillna("none")
        # A date alone ("2004-08-19") ends like an offset, so the length is checked.
        offsets = offsets.replace({"z": "+00:00", "Z": "+00:00", "+0000": "+00:00"})
        mixed = (offsets != offsets.iloc[0]).to_numpy(dtype=bool)
        if mixed.any():
            row = int(np.argmax(mixed))
            raise InputError(
                f"{path}: row {_row(path, row)}, column {name} mixes time zones"
                f" ({offsets.iloc[0]} above, {offsets.iloc[row]} here); convert all to UTC"
            )
        parsed = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
        _refuse(path, parsed.isna().to_numpy(), name, "is not an ISO 8601 time")
        times = np.asarray(parsed.dt.as_unit("ns").astype(np.int64), dtype=np.int64)
    steps = np.diff(times)
    _refuse(path, np.concatenate([[False], steps == 0]), name, "repeats the time above")
    _refuse(path, np.concatenate([[False], steps < 0]), name, "is earlier than the row above")
    return np.asarray(times, dtype=np.int64)
