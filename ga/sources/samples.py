"""Real prices out of the box: the two files inside the PyPI package ``backtesting``.

The package is located but not imported; only its CSV files are read.
"""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from ga.errors import InputError
from ga.market import Market, align
from ga.sources.files import read_series
from ga.sources.selection import Part, Selection, Source

SAMPLES: Final = {"eurusd": "EURUSD.csv", "goog": "GOOG.csv"}
"""Hourly EUR/USD 2017-2018 (5 000 bars) and daily GOOG 2004-2013 (2 148 bars)."""


def load_sample(name: str) -> Market:
    """Load a sample market by its name.

    Raises:
        InputError: the package with the data is not installed.
    """
    return align(name, Selection().series(sample_source(name)))


def sample_source(name: str) -> Source:
    """A sample market, not yet read.

    Raises:
        InputError: the package with the data is not installed.
    """
    spec = find_spec("backtesting")
    locations = spec.submodule_search_locations if spec else None
    if not locations:
        raise InputError(
            f"--market {name}: its data ships in the package 'backtesting';"
            " run: python -m pip install backtesting"
        )
    path = Path(next(iter(locations))) / "test" / SAMPLES[name]
    if not path.exists():
        raise InputError(f"--market {name}: this version of 'backtesting' has no {path.name}")
    asset = name.upper()
    return Source(
        name=name, parts=(Part(asset=asset, read=partial(read_series, path, asset=asset)),)
    )
