"""Markets from pandas data frames, read and checked like files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import pandas as pd

from ga.errors import InputError
from ga.market import Series
from ga.sources.bars import read_table
from ga.sources.columns import Name
from ga.sources.folders import by_symbol
from ga.sources.reading import ReadOptions
from ga.sources.selection import Part, Source
from ga.sources.tables import SAMPLE_ROWS, Table

Frames = pd.DataFrame | Mapping[str, pd.DataFrame]
"""Bars of one asset, or of each asset by its name."""
ONE_ASSET: Final = "asset"
"""Name of the only asset of a frame without a name."""


def frame_source(frames: Frames, options: ReadOptions, *, name: str | None) -> Source:
    """Frames as a source of a market, not yet read.

    Args:
        name: Name of the market; if it has one frame, also of its asset.

    Raises:
        InputError: not a frame or a mapping of frames.
    """
    if isinstance(frames, pd.DataFrame):
        only = name or ONE_ASSET
        parts = [
            Part(asset=symbol or only, read=partial(_series, frames, symbol or only, one))
            for symbol, one in by_symbol(options)
        ]
        return Source(name=only, parts=tuple(parts))
    if options.symbols:
        raise InputError(
            f"--symbol {','.join(options.symbols)}: the mapping already names each frame's symbol;"
            " leave it out, or select with --assets"
        )
    for symbol, frame in frames.items():
        if not isinstance(symbol, str) or not symbol or not isinstance(frame, pd.DataFrame):
            raise InputError(
                f"market {symbol!r}: {type(frame).__name__} is not a pandas.DataFrame with the name"
                " of an asset; give a mapping such as {'BTC': frame}"
            )
    named = [
        Part(asset=symbol, read=partial(_series, frame, symbol, options))
        for symbol, frame in frames.items()
    ]
    return Source(name=name or "frames", parts=tuple(named))


def _series(frame: pd.DataFrame, asset: str, options: ReadOptions) -> Series:
    return read_table(frame_table(frame, asset), options, asset=asset).series


def frame_table(frame: pd.DataFrame, asset: str) -> Table:
    """A frame as the table that its CSV file would be; its index is the first columns.

    Raises:
        InputError: it has no row.
    """
    path = Path(f"data frame {asset}")
    if frame.empty:
        raise InputError(f"{path}: no bars; give a frame with one row a bar")
    columns = [*_index_columns(frame), *_data_columns(frame)]
    series = [_plain(column) for _, column in columns]
    names: tuple[Name, ...] = tuple(name for name, _ in columns)
    if _is_range(frame.columns):
        # Numbers of columns are no names.
        names = tuple(
            name if i < len(names) - frame.shape[1] else () for i, name in enumerate(names)
        )
    cells = [[str(value) for value in column.head(SAMPLE_ROWS)] for column in series]

    def read(wanted: Sequence[int], _: Sequence[int]) -> dict[int, pd.Series]:
        # Copies: a market's arrays must not change with the user's frame.
        return {i: series[i].copy() for i in wanted}

    return Table(
        path=path,
        kind="data frame",
        names=names,
        sample=tuple(zip(*cells, strict=True)),
        texts=frozenset(i for i, column in enumerate(series) if _is_text(column)),
        read=read,
        line=lambda index: index,
        header="names in the frame" if any(names) else "none",
    )


def _index_columns(frame: pd.DataFrame) -> list[tuple[Name, pd.Series]]:
    """The levels of the index; none if it only numbers the rows."""
    if _is_range(frame.index) and frame.index.name is None:
        return []
    levels = [frame.index.get_level_values(at) for at in range(frame.index.nlevels)]
    return [((_level_name(level),), pd.Series(level.array)) for level in levels]


def _is_range(index: Any) -> bool:
    """Whether an index counts; one of other steps may be times."""
    return isinstance(index, pd.RangeIndex) and abs(index.step) == 1


def _level_name(level: Any) -> str:
    if level.name is None:
        return "time" if isinstance(level, pd.DatetimeIndex | pd.PeriodIndex) else ""
    return str(level.name)


def _data_columns(frame: pd.DataFrame) -> list[tuple[Name, pd.Series]]:
    """The columns; their names may have several levels, as those of yfinance."""
    return [
        (
            tuple(map(str, name)) if isinstance(name, tuple) else (str(name),),
            frame.iloc[:, at].reset_index(drop=True),
        )
        for at, name in enumerate(list[Any](frame.columns))
    ]


def _plain(column: pd.Series) -> pd.Series:
    """Objects as what they are; periods by their first instant."""
    column = column.infer_objects()
    if isinstance(column.dtype, pd.PeriodDtype):
        return pd.Series(column.dt.start_time)
    return column


def _is_text(column: pd.Series) -> bool:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        dtype = dtype.categories.dtype
    return not (pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_datetime64_any_dtype(dtype))
