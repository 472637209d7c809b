"""Markets from files: a file, or the files of a folder.

``folders.py`` finds the files of each asset, ``bars.py`` reads one file. docs/markets.md describes
what is read, and what is refused.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from ga.market import Market, Series
from ga.sources.bars import read_bars
from ga.sources.folders import Asset, assets_of, read_asset
from ga.sources.reading import ReadOptions
from ga.sources.selection import Part, Selection, Source

_DEFAULT: Final = ReadOptions()


def load_files(path: Path, options: ReadOptions = _DEFAULT) -> Market:
    """Load one file, or the market files of a folder, as one market.

    Raises:
        InputError: the message names the invalid file, row and column, and the remedy.
    """
    return Selection().market(file_source(path, options))


def file_source(path: Path, options: ReadOptions = _DEFAULT) -> Source:
    """One file, or the market files of a folder, not yet read.

    Raises:
        InputError: the folder contains no such file.
    """
    parts = tuple(
        Part(asset=asset.name, read=partial(_series, asset)) for asset in assets_of(path, options)
    )
    return Source(name=path.stem, parts=parts)


def _series(asset: Asset) -> Series:
    return read_asset(asset)[0]


def read_series(path: Path, *, asset: str | None = None) -> Series:
    """Read and check one file.

    Raises:
        InputError: see ``load_files``.
    """
    return read_bars(path, _DEFAULT, asset=asset or path.stem).series
