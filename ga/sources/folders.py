"""Folders of market files: which files they hold, and which of them belong to one asset.

One asset may be in several files: one for each month, the parts of a data set, or next to a file
with its funding (freqtrade, Binance, Hyperliquid). Files of mark and index prices are not read.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from ga.errors import InputError
from ga.market import Floats, Series, Times
from ga.sources.bars import Bars, read_bars
from ga.sources.columns import is_known, normal
from ga.sources.numbers import to_numbers
from ga.sources.opening import (
    BROKEN,
    COMPRESSED,
    archived_suffix,
    data_suffix,
    require_regular,
)
from ga.sources.reading import ReadOptions, Rows
from ga.sources.tables import JSONS, SUFFIXES, TEXTS, Table, open_table, unreadable
from ga.sources.timestamps import read_times

_PERIOD: Final = re.compile(r"(.*?)[-_. ]?(?:19|20)\d\d(?:[-_.]?\d\d){0,2}")
"""A name that ends with a year, a month or a day."""
_PART: Final = re.compile(r"(?:part|data|chunk)?[-_.]?\d+(?:[-_.].*)?", re.IGNORECASE)
"""A name of a part of a data set, as Spark and Arrow write them."""
_SPECIAL: Final = re.compile(
    r"(.+?)[-_. ](?:\d+[mhdwM][-_.])?"
    r"(funding(?:[-_]?rates?)?|mark(?:[-_]?price)?|premiumIndex(?:Klines)?|(?<=[mhdw]-)index)"
    r"(?:[-_.].*)?",
    re.IGNORECASE,
)
_FUNDING_TIMES: Final = frozenset(("calc_time", "funding_time", "fundingtime"))


@dataclass(frozen=True, kw_only=True)
class Asset:
    """The files of one asset."""

    name: str
    files: tuple[Path, ...]
    funding: tuple[Path, ...] = ()
    """Files with its funding rates."""
    options: ReadOptions


def assets_of(path: Path, options: ReadOptions) -> list[Asset]:
    """The assets of a file or folder, not yet read.

    Raises:
        InputError: the folder contains no market file, or cannot be read.
    """
    if not path.is_dir():
        return [
            Asset(name=symbol or path.stem, files=(path,), options=one)
            for symbol, one in by_symbol(options)
        ]
    return [
        replace(asset, name=symbol or asset.name)
        for symbol, one in by_symbol(options)
        for asset in _in_folder(path, one)
    ]


def by_symbol(options: ReadOptions) -> list[tuple[str | None, ReadOptions]]:
    """The options for each chosen symbol; one pair without a symbol if none is chosen."""
    if not options.symbols:
        return [(None, options)]
    return [(symbol, replace(options, symbols=(symbol,))) for symbol in options.symbols]


def _in_folder(path: Path, options: ReadOptions) -> list[Asset]:
    parts = _data_set(path)
    if parts:
        return [
            Asset(name=name, files=tuple(files), options=options) for name, files in parts.items()
        ]
    files = _files(path)
    if len(files) > 1 and all(_PART.fullmatch(_stem(file)) for file in files):
        return [Asset(name=path.name, files=tuple(files), options=options)]
    special = {file: match for file in files if (match := _special(file, files))}
    plain = [file for file in files if file not in special]
    assets = [
        Asset(name=name, files=tuple(group), options=options)
        for name, group in _by_period(plain, options)
    ]
    return [replace(asset, funding=_funding_of(asset, special)) for asset in assets]


def _files(path: Path) -> list[Path]:
    """Market files of a folder: of the first of these kinds that it holds.

    Raises:
        InputError: there is none, or the folder cannot be read.
    """
    try:
        entries = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise InputError(
            f"{path}: the folder cannot be read ({error.strerror}); check its rights"
        ) from None
    kinds = (SUFFIXES, (".tsv",), COMPRESSED, JSONS, (".txt",))
    for kind in kinds:
        files = [p for p in entries if p.suffix.lower() in kind and not p.is_dir()]
        if kind == COMPRESSED:
            files = [p for p in files if _is_table(p)]
        if files:
            return files
    deeper = [p.name for p in entries if p.is_dir()]
    hint = f"; to read its folder {deeper[0]}, name {path / deeper[0]}" if deeper else "; add one"
    raise InputError(
        f"{path}: the folder holds no {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file{hint}"
    )


def _is_table(path: Path) -> bool:
    suffix, compression = data_suffix(path)
    if compression == ".zip" and not suffix:
        suffix = archived_suffix(path)
    return suffix in (*TEXTS, *JSONS)


def _stem(path: Path) -> str:
    """The name without the suffixes of data and compression."""
    suffix, compression = data_suffix(path)
    stem = path.name[: len(path.name) - len(compression)] if compression else path.name
    return stem[: len(stem) - len(suffix)] if suffix else stem


def _data_set(path: Path) -> dict[str, list[Path]]:
    """Files of a partitioned data set (``symbol=BTC/year=2024/...``), by symbol."""
    try:
        keyed = [p for p in path.iterdir() if p.is_dir() and "=" in p.name]
    except OSError:
        return {}
    found: dict[str, list[Path]] = {}
    for file in sorted(f for folder in keyed for f in folder.rglob("*.parquet")):
        keys = dict(part.split("=", 1) for part in file.relative_to(path).parts[:-1] if "=" in part)
        symbol = next((value for key, value in keys.items() if is_known(key, "symbol")), path.name)
        found.setdefault(symbol, []).append(file)
    return found


def _special(file: Path, files: Sequence[Path]) -> re.Match[str] | None:
    """A file of funding, mark or index prices, next to one with bars of the same name."""
    match = _SPECIAL.fullmatch(_stem(file))
    if match is None:
        return None
    for other in files:
        stem = _stem(other)
        if other != file and _SPECIAL.fullmatch(stem) is None and _belongs(stem, match[1]):
            return match
    return None


def _belongs(stem: str, base: str) -> bool:
    return stem == base or (stem.startswith(base) and stem[len(base)] in "-_. ")


def _funding_of(asset: Asset, special: dict[Path, re.Match[str]]) -> tuple[Path, ...]:
    return tuple(
        file
        for file, match in special.items()
        if match[2].lower().startswith("funding") and _belongs(_stem(asset.files[0]), match[1])
    )


def _by_period(files: Sequence[Path], options: ReadOptions) -> list[tuple[str, list[Path]]]:
    """Files whose names differ in a period, and whose times do not overlap, are one asset."""
    groups: dict[str, list[Path]] = {}
    for file in files:
        match = _PERIOD.fullmatch(_stem(file))
        if match is not None and match[1]:
            groups.setdefault(match[1], []).append(file)
    joined = {
        file: name
        for name, group in groups.items()
        if len(group) > 1 and _follow(group, options)
        for file in group
    }
    found: dict[str, list[Path]] = {}
    alone: list[tuple[str, list[Path]]] = []
    for file in files:
        if file in joined:
            found.setdefault(joined[file], []).append(file)
        else:
            alone.append((file.stem, [file]))
    return [*found.items(), *alone]


def _follow(files: Sequence[Path], options: ReadOptions) -> bool:
    spans = sorted(
        (int(series.times[0]), int(series.times[-1]))
        for series in (read_bars(file, options, asset=file.stem).series for file in files)
    )
    return all(one[1] < other[0] for one, other in itertools.pairwise(spans))


def read_asset(asset: Asset) -> tuple[Series, list[Bars]]:
    """Read and check all files of an asset: its bars, and how each file was read.

    Raises:
        InputError: a file is invalid, or two files hold the same bars.
    """
    bars = [read_bars(file, asset.options, asset=asset.name) for file in asset.files]
    series = bars[0].series if len(bars) == 1 else _joined(bars)
    if asset.funding:
        series = _funded(series, asset)
    return series, bars


def _joined(bars: Sequence[Bars]) -> Series:
    ordered = sorted(bars, key=lambda b: int(b.series.times[0]))
    for one, other in itertools.pairwise(ordered):
        if other.series.times[0] <= one.series.times[-1]:
            raise InputError(
                f"{other.reading.path}: begins before {one.reading.path} ends; remove the bars that"
                " are in both"
            )
    series = [b.series for b in ordered]
    with_funding = [b.reading.path for b in ordered if b.series.funding is not None]
    if with_funding and len(with_funding) < len(series):
        raise InputError(
            f"{with_funding[0]}: has funding, but not every file of {series[0].asset} has it; add"
            " it everywhere, or leave it out: --columns funding=none"
        )

    def all_of(arrays: Sequence[Floats]) -> Floats:
        return np.concatenate(arrays)

    return Series(
        asset=series[0].asset,
        times=np.concatenate([s.times for s in series]),
        open=all_of([s.open for s in series]),
        high=all_of([s.high for s in series]),
        low=all_of([s.low for s in series]),
        close=all_of([s.close for s in series]),
        volume=all_of([s.volume for s in series]),
        funding=all_of([s.funding for s in series if s.funding is not None])
        if with_funding
        else None,
        notes=tuple(dict.fromkeys(note for s in series for note in s.notes)),
    )


def _funded(series: Series, asset: Asset) -> Series:
    """Bars with the funding rates of other files, summed over each bar from its open on."""
    if series.funding is not None:
        raise InputError(
            f"{asset.files[0]}: has a funding column, and {asset.funding[0]} has funding, too;"
            " choose with --columns funding=none, or move one away"
        )
    funding = np.zeros(series.times.size)
    for path in asset.funding:
        times, rates = _rates(path, asset.options)
        bar = np.searchsorted(series.times, times, side="right") - 1
        step = int(np.median(np.diff(series.times)))
        inside = (bar >= 0) & (times < series.times[bar] + step)
        np.add.at(funding, bar[inside], rates[inside])
    return replace(series, funding=funding)


def _narrow(path: Path) -> Table:
    """A text file with a header and few columns, such as one of times and rates."""
    require_regular(path)
    try:
        frame = pd.read_csv(path, sep=None, engine="python")
    except (ValueError, csv.Error, *BROKEN) as error:
        raise unreadable(path, error) from None
    if frame.empty:
        raise InputError(f"{path}: no rates, only a header; give a file with rates, or remove it")
    return Table(
        path=path,
        kind="csv",
        names=tuple((str(name),) for name in frame.columns),
        sample=(),
        texts=frozenset(),
        read=lambda wanted, _: {i: frame.iloc[:, i] for i in wanted},
        line=lambda index: index + 2,
    )


def _rates(path: Path, options: ReadOptions) -> tuple[Times, Floats]:
    """Times and rates of a file of funding; freqtrade writes the rate as ``open``."""
    table = open_table(path) if data_suffix(path)[0] not in TEXTS else _narrow(path)
    names = [name[0] if name else "" for name in table.names]
    times = [i for i, n in enumerate(names) if is_known(n, "time") or normal(n) in _FUNDING_TIMES]
    rates = [i for i, n in enumerate(names) if is_known(n, "funding") or normal(n) == "rate"]
    rates = rates or [i for i, n in enumerate(names) if normal(n) == "open"]
    if len(times) != 1 or len(rates) != 1:
        raise InputError(
            f"{path}: needs one column of times and one of funding rates (found:"
            f" {', '.join(names)}); rename them to time and funding, or move the file away"
        )
    columns = table.read([*times, *rates], [])
    rows = Rows(path=path, number=table.line)
    zone = ReadOptions(timezone=options.timezone)
    stamps = read_times(rows, columns[times[0]], names[times[0]], zone)
    numbers, _ = to_numbers(rows, {"funding": columns[rates[0]]}, options.decimal)
    rows.refuse(~np.isfinite(numbers["funding"]), "funding", "is not a finite number")
    if np.unique(stamps.values).size < stamps.values.size:
        raise InputError(f"{path}: two rows have the same time; remove one")
    return stamps.values, numbers["funding"]
