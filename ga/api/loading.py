"""Markets of the Python API, from names, files and data frames."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from typing import Any, Final

import pandas as pd

from ga.api.words import python_words
from ga.errors import InputError
from ga.ledger.connection import file_of
from ga.market import Market
from ga.presentation import market_line
from ga.sources import MarketSpec, load_frames
from ga.sources.reading import parse_options
from ga.store_url import url_of

MarketData = str | os.PathLike[str] | pd.DataFrame | Mapping[str, pd.DataFrame]
"""A name, a path, a frame of one asset, or a frame of each asset by its name."""
_PRICES: Final = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedMarket(Market):
    """A market that knows its source."""

    spec: MarketSpec | None
    """None for a market of data frames."""

    def __repr__(self) -> str:
        return f"<{market_line(self)}>"


def load_market(
    data: MarketData,
    *,
    name: str | None = None,
    assets: str | Sequence[str] | None = None,
    start: str | date | None = None,
    end: str | date | None = None,
    time_frame: str | None = None,
    time_format: str | None = None,
    columns: str | Mapping[str, str | int] | None = None,
    timezone: str | None = None,
    symbol: str | Sequence[str] | None = None,
    decimal: str | None = None,
) -> Market:
    """Load a market: OHLCV bars of one or more assets on one time axis.

    A frame is read and checked like a file: the columns may have any usual names, and the time is
    the index or a column. It is copied. What can be read in two ways is refused.

    Args:
        data: ``eurusd``, ``goog``, ``synthetic:assets=2,bars=5000,seed=1``,
            ``hyperliquid:BTC+ETH,interval=1h``, the path of a file or folder, a
            ``pandas.DataFrame``, or a mapping of an asset's name to its frame.
        name: Name of a market of frames; of one frame also the name of its asset (``asset`` by
            default). The name of an asset is part of the market's hash.
        assets: Names of assets to take; all by default.
        start: Time of the first bar, ISO 8601 or a datetime; UTC if it has no offset.
        end: Time that the last bar opens before.
        time_frame: Coarser bars to make of the source's, such as ``4h`` or ``1d``.
        time_format: How times are written: ``s``, ``ms``, ``us``, ``ns`` (since 1970), ``excel``
            (days), or a format such as ``%d/%m/%Y %H:%M``.
        columns: Which column has which role, by name or by number from 1:
            ``{"time": "Date", "volume": "none"}``.
        timezone: IANA name of the zone of times without an offset; UTC by default.
        symbol: Symbols to take from a file or frame that holds several.
        decimal: Decimal mark of numbers that are text, ``.`` or ``,``.

    Returns:
        The market. Its arrays have the shape (assets, bars) and are read-only; ``times`` are
        nanoseconds since 1970, UTC; ``report`` has its gaps and warnings.

    Raises:
        InputError: the market does not exist, is invalid or ambiguous; the line names the place
            and the remedy.
    """
    chosen: dict[str, Any] = {
        "assets": (assets,) if isinstance(assets, str) else None if assets is None else (*assets,),
        "start": _iso(start),
        "end": _iso(end),
        "timeframe": time_frame,
    }
    reading: dict[str, Any] = {
        "time_format": time_format,
        "columns": _pairs(columns),
        "timezone": timezone,
        "symbol": symbol if symbol is None or isinstance(symbol, str) else ",".join(symbol),
        "decimal": decimal,
    }
    with python_words():
        if isinstance(data, str | os.PathLike):
            if name is not None:
                raise InputError(f"name {name}: a path has a name of its own; leave it out")
            spec = MarketSpec(spec=os.fspath(data), **chosen, **reading)
            return with_source(spec.load(), spec)
        if not isinstance(data, pd.DataFrame | Mapping):
            raise InputError(
                f"market: {type(data).__name__} is not a path, pandas.DataFrame or mapping of a"
                " name to a frame; convert it, for example with .to_pandas()"
            )
        options = parse_options(**reading)
        return with_source(load_frames(data, name=name, options=options, **chosen), None)


def with_source(market: Market, spec: MarketSpec | None) -> LoadedMarket:
    """The market, which knows its source from now on."""
    kept = {field.name: getattr(market, field.name) for field in fields(Market)}
    return LoadedMarket(**kept, spec=spec)


def _iso(time: str | date | None) -> str | None:
    return time if time is None or isinstance(time, str) else time.isoformat()


def _pairs(columns: str | Mapping[str, str | int] | None) -> str | None:
    if columns is None or isinstance(columns, str):
        return columns
    for column in columns.values():
        if "," in str(column):
            raise InputError(f"columns: {column!r} has a comma; give its number from 1 instead")
    return ",".join(f"{role}={column}" for role, column in columns.items())


def pin(market: Market, store: str | None) -> MarketSpec:
    """From where the command line can load a market again.

    A market without a source is written to a Parquet file in the folder ``STORE.markets``.

    Args:
        store: The ledger; None if it is temporary.

    Raises:
        InputError: such a market cannot be written.
    """
    spec = market.spec if isinstance(market, LoadedMarket) else None
    if spec is not None:
        return spec.pinned(market)
    if store is None:
        return MarketSpec(spec=market.name)
    ledger = file_of(url_of(store))
    if ledger is None or any("," in a or a != a.strip() or not a for a in market.assets):
        raise InputError(
            f"market {market.name}: made of data frames, and cannot be written next to store"
            f" {'PostgreSQL' if ledger is None else ledger}; write it to files with simple names,"
            " and load those"
        )
    folder = ledger.absolute().with_name(f"{ledger.name}.markets")
    file = folder / f"{market.hash[:16]}.parquet"
    if not file.exists():
        try:
            folder.mkdir(exist_ok=True)
            unfinished = file.with_suffix(f".{os.getpid()}")
            _long(market).to_parquet(unfinished, index=False)
            unfinished.replace(file)
        except OSError as error:
            raise InputError(
                f"{file}: cannot be written ({error.strerror}); give a store in another folder"
            ) from None
    return MarketSpec(spec=str(file), symbol=",".join(market.assets))


def _long(market: Market) -> pd.DataFrame:
    """One row a bar and asset."""
    names = [*_PRICES, *([] if market.funding is None else ["funding"])]
    times = pd.DatetimeIndex(market.times, tz="UTC")
    return pd.concat(
        [
            pd.DataFrame(
                {"symbol": asset, "time": times} | {n: getattr(market, n)[at] for n in names}
            )
            for at, asset in enumerate(market.assets)
        ],
        ignore_index=True,
    )
