"""What the columns of a table are: by their names, or by their order if they have none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ga.digits import whole
from ga.errors import InputError
from ga.sources.reading import NONE, PRICES, ReadOptions, shown

Name = tuple[str, ...]
"""Levels of a column's name; none if the columns have no names."""

_TIMES: Final = frozenset(
    [
        "time",
        "date",
        "datetime",
        "date_time",
        "timestamp",
        "timestamp_ms",
        "time_ms",
        "time_utc",
        "date_utc",
        "datetime_utc",
        "timestamp_utc",
        "utc",
        "utc_time",
        "gmt_time",
        "time_gmt",
        "date_gmt",
        "local_time",
        "unix",
        "unix_time",
        "unixtime",
        "unix_timestamp",
        "unix_time_ms",
        "epoch",
        "epoch_time",
        "ts",
        "dt",
        "open_time",
        "opentime",
        "open_timestamp",
        "opening_time",
        "start_time",
        "starttime",
        "bar_time",
        "period_start",
        "time_period_start",
        "trade_date",
        "trading_day",
        "candle_begin_time",
        "candle_date_time_utc",
    ]
)
_SYMBOLS: Final = frozenset(
    [
        "symbol",
        "symbols",
        "ticker",
        "tickers",
        "pair",
        "instrument",
        "coin",
        "asset",
        "sym",
        "name",
        "stock",
        "security",
        "contract",
        "isin",
        "currency_pair",
        "trading_pair",
        "product",
        "product_id",
        "market",
        "act_symbol",
        "code",
        "permno",
        "figi",
        "symbol_id",
        "instrument_id",
        "symbolid",
    ]
)
_FUNDING: Final = frozenset(("funding", "funding_rate", "fundingrate", "last_funding_rate"))
_UNNAMED: Final = re.compile(r"(unnamed[:_ ]+\d+.*|index|level_0|index_level_\d+|)")
_VOLUME: Final = re.compile(r"(^|_)(vol|volume|tickvol|volumefrom|volumeto)(_|$)|volume$|^volume")
_OTHER_VOLUME: Final = re.compile(
    r"quote|taker|buy|sell|usd_value|notional|currency|weighted|average|avg|ma$|sma|_ma|rel|spread"
)


def normal(name: str) -> str:
    """A name in lower case, with ``_`` for spaces and punctuation; ``*`` stays, as in Close*."""
    return re.sub(r"[^\w*/]+", "_", name.strip().lower()).strip("_")


def is_known(name: str, role: str) -> bool:
    """Whether a name is one that a role has."""
    plain = normal(name)
    known: Mapping[str, bool] = {
        "time": plain in _TIMES,
        "symbol": plain in _SYMBOLS,
        "funding": plain in _FUNDING,
        "volume": _VOLUME.search(plain) is not None and not _OTHER_VOLUME.search(plain),
    }
    return known.get(role, plain == role)


@dataclass(frozen=True, kw_only=True)
class Roles:
    """Indices of columns."""

    times: tuple[int, ...]
    """Candidates for the time; or the two that ``--columns time=A+B`` names."""
    joined: bool
    """``times`` are a date and a time of day."""
    prices: tuple[int, int, int, int]
    """Open, high, low, close."""
    volumes: tuple[int, ...]
    """Candidates for the volume."""
    funding: int | None
    symbol: int | None
    by_order: bool = False
    """No names: the order of the columns decided, and the prices have to confirm it."""
    ticker: str | None = None
    """The one that a second level of names gave."""

    @property
    def used(self) -> tuple[int, ...]:
        """All indices, in order."""
        optional = [i for i in (self.funding, self.symbol) if i is not None]
        return tuple(sorted({*self.times, *self.prices, *self.volumes, *optional}))


def find_roles(path: Path, names: Sequence[Name], options: ReadOptions) -> Roles:
    """Assign columns to roles by names, or by order if there are none.

    Raises:
        InputError: a column is missing, or two have the same role; the message names the option.
    """
    flat, ticker = _flat(path, names, options)
    chosen = {role: _chosen(path, flat, options, role) for role, _ in options.columns}
    if not any(flat):
        return _by_order(path, flat, chosen, options)
    prices = {role: _price(path, flat, role, chosen) for role in PRICES}
    lacking = [role for role, index in prices.items() if index is None]
    if lacking:
        raise InputError(
            f"{path}: column {', '.join(lacking)} is missing (found:"
            f" {', '.join(map(shown, flat))}); rename it, or name each with an option, as in"
            f" --columns {_proposal(flat, lacking)}"
        )
    indices = [index for index in prices.values() if index is not None]
    taken = set(indices)
    times = _times(path, flat, options, taken)
    symbol = _single(path, flat, "symbol", chosen, taken)
    return Roles(
        times=times,
        joined="+" in (options.column("time") or ""),
        prices=(indices[0], indices[1], indices[2], indices[3]),
        volumes=_volumes(flat, options, chosen, taken),
        funding=_single(path, flat, "funding", chosen, taken),
        symbol=symbol,
        ticker=ticker,
    )


def _flat(
    path: Path, names: Sequence[Name], options: ReadOptions
) -> tuple[tuple[str, ...], str | None]:
    """Names of one level; of several tickers side by side the chosen one."""
    depth = max(map(len, names), default=0)
    if depth < 2:
        return tuple(name[0] if name else "" for name in names), None
    levels = list(zip(*(name + ("",) * (depth - len(name)) for name in names), strict=True))
    found = [sum(is_known(n, role) for role in PRICES for n in set(level)) for level in levels]
    at = found.index(max(found))
    time = next((i for i, name in enumerate(names) if any(is_known(n, "time") for n in name)), None)
    first = [level[0] for level in levels if _UNNAMED.fullmatch(normal(level[0])) is None]
    flat = list(levels[at])
    if time is not None:
        flat[time] = next(n for n in names[time] if is_known(n, "time"))
    elif first:
        time, flat[0] = 0, first[-1]
    tickers: dict[int, str] = {}
    for i, column in enumerate(names):
        others = [n for j, n in enumerate(column) if j != at and n.strip()]
        if i != time and others:
            tickers[i] = others[0]
    found_tickers = tuple(dict.fromkeys(tickers.values()))
    wanted = options.symbols or found_tickers
    if len(wanted) > 1:
        raise InputError(
            f"{path}: holds {len(wanted)} symbols side by side ({', '.join(wanted[:5])}); choose"
            f" one with --symbol {wanted[0]}"
        )
    if options.symbols and wanted[0] not in found_tickers:
        raise InputError(
            f"{path}: has no symbol {wanted[0]}; it has {', '.join(found_tickers) or 'none'}"
        )
    ticker = wanted[0] if wanted else None
    kept = [n if tickers.get(i, ticker) == ticker else "" for i, n in enumerate(flat)]
    return tuple(kept), ticker


def _chosen(path: Path, flat: Sequence[str], options: ReadOptions, role: str) -> int | None:
    """Index of the column that ``--columns`` names; None for ``none`` and for two of a time."""
    column = options.column(role)
    if column is None or column == NONE or (role == "time" and "+" in column):
        return None
    return _index(path, flat, role, column)


def _index(path: Path, flat: Sequence[str], role: str, column: str) -> int:
    exact = [i for i, name in enumerate(flat) if name == column]
    alike = exact or [i for i, name in enumerate(flat) if name and normal(name) == normal(column)]
    if len(alike) == 1:
        return alike[0]
    number = whole(column)
    if not alike and number is not None and 1 <= number <= len(flat):
        return number - 1
    what = "several columns" if alike else "no column"
    raise InputError(
        f"{path}: --columns {role}={column}: the file has {what} of that name; give a number from 1"
        f" to {len(flat)}, or one of {', '.join(map(shown, flat))}"
    )


def _price(
    path: Path, flat: Sequence[str], role: str, chosen: Mapping[str, int | None]
) -> int | None:
    if chosen.get(role) is not None:
        return chosen[role]
    return _only(path, flat, role)


def _only(path: Path, flat: Sequence[str], role: str) -> int | None:
    found = [i for i, name in enumerate(flat) if is_known(name, role)]
    if len(found) > 1:
        these = ", ".join(f"{flat[i]} (column {i + 1})" for i in found)
        raise InputError(
            f"{path}: {len(found)} columns can be {role}: {these}; choose with --columns"
            f" {role}={found[0] + 1} or {role}={found[1] + 1}"
        )
    return found[0] if found else None


def _single(
    path: Path,
    flat: Sequence[str],
    role: str,
    chosen: Mapping[str, int | None],
    taken: set[int],
) -> int | None:
    if role in chosen:
        return chosen[role]
    found = _only(path, flat, role)
    return None if found in taken else found


def _times(
    path: Path, flat: Sequence[str], options: ReadOptions, taken: set[int]
) -> tuple[int, ...]:
    said = options.column("time")
    if said is not None:
        exact = said in flat or "+" not in said
        return tuple(_index(path, flat, "time", p) for p in ([said] if exact else said.split("+")))
    found = [i for i, name in enumerate(flat) if is_known(name, "time") and i not in taken]
    if not found and flat and _UNNAMED.fullmatch(normal(flat[0])):
        found = [0]
    if not found:
        found = [i for i, n in enumerate(flat) if n and _UNNAMED.fullmatch(normal(n))][:1]
    if not found:
        raise InputError(
            f"{path}: no time column (found: {', '.join(map(shown, flat))}); name it with an"
            f" option, as in --columns {_proposal(flat, ['time'])}"
        )
    return tuple(found)


def _volumes(
    flat: Sequence[str],
    options: ReadOptions,
    chosen: Mapping[str, int | None],
    taken: set[int],
) -> tuple[int, ...]:
    if options.column("volume") is not None:
        index = chosen["volume"]
        return () if index is None else (index,)
    for exact in (("volume",), ("vol",)):
        found = [i for i, name in enumerate(flat) if normal(name) in exact and i not in taken]
        if found and not (exact == ("vol",) and any(normal(n) == "tickvol" for n in flat)):
            return tuple(found)
    return tuple(i for i, n in enumerate(flat) if is_known(n, "volume") and i not in taken)


_INITIALS: Final = {"t": "time", "o": "open", "h": "high", "l": "low", "c": "close", "v": "volume"}


def _proposal(flat: Sequence[str], lacking: Sequence[str]) -> str:
    """An option that names the missing columns, as far as their names let it be guessed."""
    initials = {normal(n): n for n in flat}
    if {"o", "h", "l", "c"} <= set(initials):
        pairs = [f"{r}={initials[i]}" for i, r in _INITIALS.items() if i in initials]
        return "'" + ",".join(pairs) + "'"
    pairs = []
    for role in lacking:
        words = ("time", "date", "start", "stamp") if role == "time" else (role,)
        alike = [n for n in flat if any(word in normal(n) for word in words)] or ["COLUMN"]
        pairs.append(f"{role}={alike[0]}")
    return "'" + ",".join(pairs) + "'"


def _by_order(
    path: Path,
    flat: Sequence[str],
    chosen: Mapping[str, int | None],
    options: ReadOptions,
) -> Roles:
    """Columns without names: as ``--columns`` numbers them; else found in ``arrange``."""
    if options.columns:
        lacking = [role for role in PRICES if chosen.get(role) is None]
        if lacking or options.column("time") is None:
            raise InputError(
                f"{path}: the columns have no names, so --columns has to number all; give"
                " --columns time=1,open=2,high=3,low=4,close=5,volume=6"
            )
        prices = [index for role in PRICES if (index := chosen[role]) is not None]
        volume = chosen.get("volume")
        return Roles(
            times=_times(path, flat, options, set(prices)),
            joined="+" in (options.column("time") or ""),
            prices=(prices[0], prices[1], prices[2], prices[3]),
            volumes=() if volume is None else (volume,),
            funding=chosen.get("funding"),
            symbol=chosen.get("symbol"),
        )
    return Roles(
        times=(),
        joined=False,
        prices=(0, 0, 0, 0),
        volumes=(),
        funding=None,
        symbol=None,
        by_order=True,
    )
