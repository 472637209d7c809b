"""One market file as bars: assembles times, prices, volume and funding, and checks every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ga.errors import InputError
from ga.market import Floats, Series
from ga.numerics import total
from ga.sources.column_order import arrange
from ga.sources.columns import Roles, find_roles, is_known, normal
from ga.sources.numbers import are_plain, to_numbers
from ga.sources.reading import PRICES, Reading, ReadOptions, Rows, Times, shown
from ga.sources.suspects import warnings_of
from ga.sources.tables import Table, open_table
from ga.sources.timestamps import choose_times, clock_of_day, join_times, read_times

_TOLERANCE: Final = 1e-6
"""Relative: prices of different precision are compared."""
_MOST_SYMBOLS: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Bars:
    """The bars of one file, and how they were read."""

    series: Series
    reading: Reading


def read_bars(path: Path, options: ReadOptions, *, asset: str) -> Bars:
    """Read and check one file.

    Raises:
        InputError: the message names the invalid file, row and column, and the remedy.
    """
    return read_table(open_table(path), options, asset=asset)


def read_table(table: Table, options: ReadOptions, *, asset: str) -> Bars:
    """Read and check one table.

    Raises:
        InputError: the message names the invalid row and column, and the remedy.
    """
    path = table.path
    roles = find_roles(path, table.names, options)
    if roles.by_order:
        roles = arrange(path, table.sample)
    suspects = [i for i in sorted(table.texts) if i not in roles.used and i < len(table.names)]
    values = [*roles.prices, *roles.volumes]
    if roles.funding is not None:
        values.append(roles.funding)
    plain = are_plain(row[i] for row in table.sample for i in values if i < len(row))
    as_text = [*suspects, *([] if roles.symbol is None else [roles.symbol])]
    if not plain:
        as_text += values
    columns = table.read(sorted({*roles.used, *suspects}), as_text)
    if not columns or len(next(iter(columns.values()))) == 0:
        raise InputError(f"{path}: no bars, only a header; give a file with bars")
    return _Assembly(table, roles, options, columns, suspects).bars(asset)


class _Assembly:
    """The columns of one file on their way to bars."""

    def __init__(
        self,
        table: Table,
        roles: Roles,
        options: ReadOptions,
        columns: dict[int, pd.Series],
        suspects: Sequence[int],
    ) -> None:
        self._table, self._roles, self._options = table, roles, options
        self._suspects = suspects
        self._columns = columns
        self._notes: list[str] = []
        index = self._selected()
        if index is not None:
            self._columns = {
                i: column.iloc[index].reset_index(drop=True) for i, column in columns.items()
            }
        self._rows = Rows(
            path=table.path,
            number=lambda row: table.line(row if index is None else int(index[row])),
        )

    def bars(self, asset: str) -> Bars:
        """Assemble and check."""
        size = len(next(iter(self._columns.values())))
        if size < 2:
            raise InputError(f"{self._table.path}: {size} bar; give a longer history")
        times = self._times()
        backwards = bool((np.diff(times.values) < 0).all())
        self._check_order(times, backwards)
        named, how = self._numbers()
        prices = {role: named[role] for role in PRICES}
        self._check_prices(prices)
        volume, volume_name = self._volume(named, prices)
        funding = self._optional(named["funding"], "funding") if "funding" in named else None
        self._check_mixture(prices["close"])
        if self._roles.by_order:
            self._check_continuity(prices, backwards)
        order = slice(None, None, -1) if backwards else slice(None)

        def turned(array: Floats) -> Floats:
            return np.ascontiguousarray(array[order])

        series = Series(
            asset=asset,
            times=np.ascontiguousarray(times.values[order]),
            open=turned(prices["open"]),
            high=turned(prices["high"]),
            low=turned(prices["low"]),
            close=turned(prices["close"]),
            volume=turned(volume),
            funding=None if funding is None else turned(funding),
        )
        notes = (*self._notes, *times.notes, *warnings_of(series, placed=not times.absolute))
        reading = self._reading(asset, times, backwards, how, volume_name, notes)
        return Bars(series=replace(series, notes=notes), reading=reading)

    def _reading(
        self,
        asset: str,
        times: Times,
        backwards: bool,
        how: str,
        volume: str | None,
        notes: tuple[str, ...],
    ) -> Reading:
        roles, table = self._roles, self._table
        columns = [("time", times.column)]
        columns += [(r, self._name(i)) for r, i in zip(PRICES, roles.prices, strict=True)]
        columns.append(("volume", volume or "none: zero"))
        columns.append(("funding", "none" if roles.funding is None else self._name(roles.funding)))
        if roles.symbol is not None:
            columns.append(("symbol", self._name(roles.symbol)))
        used = {column for _, column in columns} | set(times.column.split(" and "))
        return Reading(
            path=str(table.path),
            asset=asset,
            kind=table.kind,
            encoding=table.encoding,
            delimiter=table.delimiter,
            header=table.header,
            skipped=table.skipped,
            numbers=how,
            columns=tuple(columns),
            unused=tuple(n for i in range(len(table.names)) if (n := self._name(i)) not in used),
            time_format=times.format,
            timezone=times.zone,
            order="newest first" if backwards else "oldest first",
            notes=notes,
        )

    def _name(self, index: int) -> str:
        """As in the file; by number if it has no name."""
        levels = [level for level in self._table.names[index] if level.strip()]
        if not levels:
            return f"{index + 1}" if not any(self._table.names) else shown("")
        known = [n for n in levels if any(is_known(n, r) for r in (*PRICES, "time", "volume"))]
        return (known or levels)[0]

    def _selected(self) -> NDArray[np.int64] | None:
        """Rows of the chosen symbol; None: all."""
        path, options, at = self._table.path, self._options, self._roles.symbol
        if at is None:
            if options.symbols and self._roles.ticker is None:
                raise InputError(
                    f"{path}: has no column of symbols; leave --symbol out, or name the column:"
                    " --columns symbol=COLUMN"
                )
            return None
        symbols = self._columns[at].astype("string").str.strip()
        found = [str(symbol) for symbol in symbols.dropna().unique().tolist()]
        if options.symbols:
            chosen = options.symbols[0]
            if chosen not in found:
                raise InputError(f"{path}: has no symbol {chosen}; it has {_listed(found)}")
            return np.flatnonzero((symbols == chosen).fillna(False).to_numpy(dtype=bool))
        if len(found) > 1:
            raise InputError(
                f"{path}: holds {len(found)} symbols in column {self._name(at)}"
                f" ({_listed(found)}); choose with --symbol {found[0]} or --symbol"
                f" {found[0]},{found[1]}"
            )
        return None

    def _times(self) -> Times:
        options, roles = self._options, self._roles
        if roles.joined:
            date, clock = roles.times
            return self._joined(date, clock)
        if len(roles.times) == 1:
            return self._time(roles.times[0], options)
        clocks = [i for i in roles.times if clock_of_day(self._columns[i]) is not None]
        found: list[Times] = []
        refused: list[InputError] = []
        for i in roles.times:
            if i not in clocks:
                try:
                    found.append(self._time(i, options))
                except InputError as error:
                    refused.append(error)
        days = [t for t in found if t.days]
        if clocks and len(days) == len(found) == 1:
            date = next(i for i in roles.times if self._name(i) == days[0].column)
            return self._joined(date, clocks[0])
        if not found:
            raise (
                refused[0]
                if refused
                else InputError(
                    f"{self._table.path}: column {self._name(clocks[0])} holds times of day without"
                    " a date; give a file with a column of dates, too"
                )
            )
        return choose_times(self._rows, found)

    def _time(self, index: int, options: ReadOptions) -> Times:
        return read_times(self._rows, self._columns[index], self._name(index), options)

    def _joined(self, date: int, clock: int) -> Times:
        # The zone is that of the sum, so the date is read without it.
        days = self._time(date, replace(self._options, timezone=None))
        return join_times(self._rows, days, self._columns[clock], self._name(clock), self._options)

    def _check_order(self, times: Times, backwards: bool) -> None:
        steps = np.diff(times.values)
        if backwards:
            return
        remedy = "correct or remove the row"
        if times.absolute and times.format.startswith("ISO"):
            remedy += "; if the offsets are wrong, convert all times to UTC"
        suspects = [i for i in self._suspects if 1 < self._columns[i].nunique() <= _MOST_SYMBOLS]
        if suspects:
            name = self._name(suspects[0])
            value = self._columns[suspects[0]].iloc[0]
            remedy = (
                "correct or remove the row; if the file holds several symbols, give --columns"
                f" symbol={name} --symbol {value}"
            )
        at_first = np.zeros(1, dtype=np.bool_)
        for bad, what in ((steps == 0, "repeats the time above"), (steps < 0, _EARLIER)):
            self._rows.refuse(np.concatenate([at_first, bad]), times.column, what, remedy)

    def _numbers(self) -> tuple[dict[str, Floats], str]:
        """Numbers by role; candidates for the volume by ``volume`` and their index."""
        roles = self._roles
        keys = dict(zip(PRICES, roles.prices, strict=True))
        keys |= {f"volume {index}": index for index in roles.volumes}
        if roles.funding is not None:
            keys["funding"] = roles.funding
        # Messages name the role; of several volumes, the column.
        single = len(roles.volumes) == 1
        names = {
            key: "volume"
            if key.startswith("volume") and single
            else self._name(index)
            if key.startswith("volume")
            else key
            for key, index in keys.items()
        }
        texts = {names[key]: self._columns.pop(index) for key, index in keys.items()}
        numbers, how = to_numbers(self._rows, texts, self._options.decimal)
        return {key: numbers[names[key]] for key in keys}, how

    def _check_prices(self, prices: Mapping[str, Floats]) -> None:
        refuse = self._rows.refuse
        for name, values in prices.items():
            refuse(~np.isfinite(values), name, "is not a finite number")
        for name, values in prices.items():
            refuse(values <= 0, name, "is not above zero")
        high, low = prices["high"], prices["low"]
        refuse(high < low, "high", "is below low")
        for name in ("open", "close"):
            refuse(prices[name] > high * (1 + _TOLERANCE), name, "is above high")
            refuse(prices[name] < low * (1 - _TOLERANCE), name, "is below low")

    def _volume(
        self, named: Mapping[str, Floats], prices: Mapping[str, Floats]
    ) -> tuple[Floats, str | None]:
        """The traded volume, in units of the asset, and its column."""
        found = {i: named[f"volume {i}"] for i in self._roles.volumes}
        for index, values in found.items():
            name = "volume" if len(found) == 1 else self._name(index)
            self._rows.refuse(np.isinf(values), name, "is not a finite number")
            self._rows.refuse(values < 0, name, "is negative")
        traded = {i: v for i, v in found.items() if bool((v > 0).any())} or found
        if not traded:
            return np.zeros(prices["close"].size), None
        index = next(iter(traded)) if len(traded) == 1 else self._base(traded, prices)
        return self._optional(traded[index], self._name(index)), self._name(index)

    def _base(self, traded: Mapping[int, Floats], prices: Mapping[str, Floats]) -> int:
        """Of several volumes the one that gives another when multiplied by the price."""
        names = {normal(self._name(i)): i for i in traded}
        for real in ("vol", "real_volume"):
            if real in names and len(names) == 2 and {"tickvol", "tick_volume"} & set(names):
                return names[real]
        low, high = prices["low"] * 0.99, prices["high"] * 1.01
        bases = set()
        for one, base in traded.items():
            for other, quote in traded.items():
                both = (base > 0) & (quote > 0)
                ratio = quote[both] / base[both]
                fits = (ratio >= low[both]) & (ratio <= high[both])
                if one != other and np.count_nonzero(fits) > 0.9 * fits.size:
                    bases.add(one)
        if len(bases) == 1:
            return bases.pop()
        first, second = list(traded)[:2]
        raise InputError(
            f"{self._table.path}: {len(traded)} columns can be volume:"
            f" {', '.join(self._name(i) for i in traded)}; choose with --columns"
            f" 'volume={self._name(first)}' or 'volume={self._name(second)}'"
        )

    def _optional(self, values: Floats, name: str) -> Floats:
        """Empty cells are zero: nothing was traded, or nothing was due."""
        self._rows.refuse(np.isinf(values), name, "is not a finite number")
        empty = np.isnan(values)
        if empty.any():
            self._notes.append(f"{int(empty.sum()):,} empty cells of column {name} are read as 0")
            return np.where(empty, 0.0, values)
        return values

    def _check_mixture(self, close: Floats) -> None:
        """Refuse rows of several symbols that an unknown column tells apart.

        Neighbouring rows of one symbol are closer in price than those of one value of a column
        that only describes bars; for symbols it is the other way round.
        """
        for index in self._suspects:
            codes, values = pd.factorize(self._columns[index])
            if not 1 < len(values) <= _MOST_SYMBOLS:
                continue
            order = np.argsort(codes, kind="stable")
            same = np.diff(codes[order]) == 0
            within = _moves(close[order])[same]
            if within.size and np.median(_moves(close)) > 3 * np.median(within):
                raise InputError(
                    f"{self._table.path}: column {self._name(index)} seems to hold"
                    f" {len(values)} symbols ({_listed([str(v) for v in values])}); choose with"
                    f" --columns symbol={self._name(index)} --symbol {values[0]}, or say that it"
                    " holds none with --columns symbol=none"
                )

    def _check_continuity(self, prices: Mapping[str, Floats], backwards: bool) -> None:
        """Refuse columns without names whose open and close seem to be exchanged."""
        first, last = ("close", "open") if backwards else ("open", "close")
        usual = total(np.abs(prices[first][1:] - prices[last][:-1]))
        exchanged = total(np.abs(prices[last][1:] - prices[first][:-1]))
        if exchanged < 0.5 * usual:
            time = ",".join(str(i + 1) for i in self._roles.times[:1])
            o, h, low, c = (i + 1 for i in self._roles.prices)
            raise InputError(
                f"{self._table.path}: the columns have no names, and columns {o} and {c} can be"
                " open and close, or close and open, which fits their neighbours better; choose"
                f" with --columns time={time},open={o},high={h},low={low},close={c} or --columns"
                f" time={time},open={c},high={h},low={low},close={o}"
            )


def _moves(close: Floats) -> Floats:
    """Relative moves from row to row."""
    return np.asarray(np.abs(close[1:] - close[:-1]) / close[:-1])


_EARLIER: Final = "is earlier than the row above"


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
