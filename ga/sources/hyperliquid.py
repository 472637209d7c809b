"""Perpetuals of Hyperliquid: ``hyperliquid:COIN[+COIN...][,interval=1h]``.

Candles and hourly funding are downloaded page by page into a cache and read from there. The
exchange keeps about the last 5 000 candles of each interval; older candles in the cache stay
usable.
"""

from __future__ import annotations

import re
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import numpy as np

from ga.environment import cache_home, own_cache, setting
from ga.errors import InputError
from ga.market import Floats, Series, Times
from ga.sources.download_cache import Rows, open_cache
from ga.sources.hyperliquid_api import MAINNET, Client, NetworkError
from ga.sources.intervals import Span, length, missing, overlap
from ga.sources.resample import parse_timeframe
from ga.sources.selection import Part, Source

PREFIX: Final = "hyperliquid:"
INTERVALS: Final = (
    "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d", "3d", "1w",
)  # fmt: skip
"""All intervals of the exchange, except the month, which has no fixed length."""
CANDLE_PAGE = 5000
"""Candles that the exchange returns per call."""
_HOUR: Final = 3_600_000
FUNDING_PAGE: Final = 500 * _HOUR
"""Hours of funding per call: the exchange returns 500 charges a call, one per hour."""
_LONG: Final = 20
_ENOUGH: Final = 0.95
"""Share of the requested time that must be cached for use without the network."""
_COLUMNS: Final = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """Request for one coin: closed candles that open in [start, end)."""

    coin: str
    interval: str
    step: int
    start: int
    end: int
    now: int
    """In milliseconds."""

    @property
    def label(self) -> str:
        return f"hyperliquid {self.coin} {self.interval}"


def hyperliquid_source(spec: str, *, start: int | None, end: int | None) -> Source:
    """The source for a spec; each asset is downloaded when it is read.

    ``start`` and ``end`` are nanoseconds. Without a start: the last 5 000 bars before the end.

    Raises:
        InputError: not a spec.
    """
    body, *options = spec.removeprefix(PREFIX[:-1]).removeprefix(":").split(",")
    coins = body.split("+")
    for coin in coins:
        if not re.fullmatch(r"[A-Za-z0-9]{1,20}", coin):
            raise InputError(
                f"--market {spec}: {coin!r} is not the name of a perpetual;"
                " give one such as hyperliquid:BTC+ETH,interval=1h"
            )
        if coins.count(coin) > 1:
            raise InputError(f"--market {spec}: {coin} is named twice; name it once")
    interval = "1h"
    for option in options:
        key, _, interval = option.partition("=")
        if key != "interval":
            raise InputError(f"--market {spec}: unknown key {key!r}; use interval")
        if interval not in INTERVALS:
            raise InputError(
                f"--market {spec}: the exchange has no interval {interval!r};"
                f" give one of {', '.join(INTERVALS)}"
            )
    parts = tuple(
        Part(asset=c, read=partial(_read, coin=c, interval=interval, start=start, end=end))
        for c in coins
    )
    return Source(name=f"{PREFIX}{'+'.join(coins)},interval={interval}", parts=parts)


def _read(*, coin: str, interval: str, start: int | None, end: int | None) -> Series:
    now = now_ms()
    step = parse_timeframe(interval) // 10**6
    # A candle is closed when its step has passed, so the open candle is never requested.
    stop = now - step + 1
    if end is not None:
        stop = min(stop, -(-end // 10**6))
    first = stop - CANDLE_PAGE * step if start is None else max(-(-start // 10**6), 1)
    asked = _Asked(coin=coin, interval=interval, step=step, start=first, end=stop, now=now)
    if first >= stop:
        raise InputError(f"{asked.label}: no closed bar in the range requested; request older ones")
    url = setting("GA_HYPERLIQUID_URL") or MAINNET
    folder = cache_folder() / quote(urlsplit(url).netloc or "unknown", safe="")
    return _Download(asked=asked, folder=folder, url=url).series()


def cache_folder() -> Path:
    """Folder of downloads."""
    return own_cache() or cache_home() / "evolution-gate" / "hyperliquid"


def now_ms() -> int:
    """This machine's clock, in milliseconds since 1970."""
    return time.time_ns() // 10**6


class _Download:
    """Fills the caches of one coin and builds its series."""

    def __init__(self, *, asked: _Asked, folder: Path, url: str) -> None:
        self._asked = asked
        self._url = url
        self._candles = open_cache(
            folder / f"{asked.coin}-{asked.interval}.parquet", label=asked.label, columns=_COLUMNS
        )
        self._funding = open_cache(
            folder / f"{asked.coin}-funding.parquet",
            label=f"hyperliquid {asked.coin} funding",
            columns=("rate",),
        )

    def series(self) -> Series:
        """Fetch missing data, and read the requested bars.

        Raises:
            InputError: no bars, or too few while the network fails.
        """
        asked = self._asked
        usable: tuple[Span, ...] = ((asked.start, asked.end),)
        if self._lacks_candles() or self._lacks_funding():
            try:
                with closing(Client(self._url)) as client:
                    self._fetch_candles(client)
                    self._fetch_funding(client)
            except NetworkError as error:
                usable = self._kept(error)
        bars = self._bars()
        chosen = np.zeros(bars.times.size, dtype=np.bool_)
        for low, high in usable:
            chosen |= (bars.times >= low) & (bars.times < high)
        times = bars.times[chosen]
        if not times.size:
            raise InputError(
                f"{asked.label}: the exchange has no bar in the range requested;"
                " give another range or a coarser interval"
            )
        prices = {name: values[chosen] for name, values in bars.columns.items()}
        charges = self._funding.rows
        funding = sum_funding(times, asked.step, charges.times, charges.columns["rate"])
        return Series(
            asset=asked.coin,
            times=times * 10**6,
            open=prices["open"],
            high=prices["high"],
            low=prices["low"],
            close=prices["close"],
            volume=prices["volume"],
            funding=funding,
        )

    def _bars(self) -> Rows:
        rows = self._candles.rows
        cut = slice(*np.searchsorted(rows.times, [self._asked.start, self._asked.end]))
        return Rows(times=rows.times[cut], columns={k: v[cut] for k, v in rows.columns.items()})

    def _lacks_candles(self) -> tuple[Span, ...]:
        return missing((self._asked.start, self._asked.end), self._candles.covered)

    def _lacks_funding(self) -> tuple[Span, ...]:
        times = self._bars().times
        if not times.size:
            return ()
        return missing((int(times[0]), int(times[-1]) + self._asked.step), self._funding.covered)

    def _settled(self, rows: Rows, stop: int, latest: int) -> int:
        """End of the time for which answers are final: rows of the last hour may still be added."""
        last = int(rows.times[-1]) + 1 if rows.times.size else 0
        return min(stop, max(last, latest - _HOUR))

    def _fetch_candles(self, client: Client) -> None:
        """Fetch the newest page first, because the exchange truncates at the old end."""
        asked = self._asked
        self._announce(asked.interval, self._lacks_candles(), CANDLE_PAGE * asked.step)
        for low, high in reversed(self._lacks_candles()):
            stop = high
            while stop > low:
                start = max(low, stop - CANDLE_PAGE * asked.step)
                rows = client.candles(asked.coin, asked.interval, start, stop)
                newer = self._candles.rows.times
                if rows.times.size:
                    start = int(rows.times[0])
                elif newer.size and newer[-1] >= stop:
                    start = low  # the exchange has no older candles
                if start - low < asked.step:
                    start = low
                final = self._settled(rows, stop, asked.now - asked.step)
                self._candles = self._candles.add(rows, (start, final))
                self._candles.save()
                stop = start

    def _fetch_funding(self, client: Client) -> None:
        """Fetch the oldest page first, because the exchange returns the oldest charges of a long
        range.
        """
        asked = self._asked
        self._announce("funding", self._lacks_funding(), FUNDING_PAGE)
        for low, high in self._lacks_funding():
            start = low
            while start < high:
                stop = min(high, start + FUNDING_PAGE)
                rows = client.funding(asked.coin, start, stop)
                if rows.times.size:
                    stop = int(rows.times[-1]) + 1
                if high - stop <= _HOUR:
                    stop = high
                final = self._settled(rows, stop, asked.now)
                self._funding = self._funding.add(rows, (start, final))
                self._funding.save()
                start = stop

    def _announce(self, what: str, spans: tuple[Span, ...], page: int) -> None:
        pages = sum(-(-(high - low) // page) for low, high in spans)
        if pages > _LONG:
            text = f"hyperliquid {self._asked.coin} {what}: about {pages} pages to fetch, a few"
            print(
                f"{text} seconds each; fetched pages are kept after an interruption",
                file=sys.stderr,
            )

    def _kept(self, error: NetworkError) -> tuple[Span, ...]:
        """The cached times that can be used; raises if they are too few."""
        asked = self._asked
        whole = (asked.start, asked.end)
        times = self._bars().times
        charged: tuple[Span, ...] = ()
        if times.size:
            # A bar needs the charges of its whole step; before the first bar none are needed.
            spans = ((low, high - asked.step + 1) for low, high in self._funding.covered)
            charged = ((asked.start, int(times[0])), *spans)
        usable = overlap(overlap([whole], self._candles.covered), charged)
        share = length(usable) / length([whole])
        if share < _ENOUGH:
            raise InputError(
                f"{asked.label}: the network failed ({error}); {times.size} bars and"
                f" {self._funding.rows.times.size} funding charges are kept in"
                f" {self._candles.path.parent}; run again to continue"
            ) from None
        print(
            f"{asked.label}: the network failed ({error}); used the cache, which covers"
            f" {share:.1%} of the range requested",
            file=sys.stderr,
        )
        return usable


def sum_funding(times: Times, step: int, charged: Times, rates: Floats) -> Floats:
    """The funding of each bar: the sum of the charges from its open up to its close."""
    funding = np.zeros(times.size)
    bar = np.searchsorted(times, charged, side="right") - 1
    inside = (bar >= 0) & (charged < times[np.maximum(bar, 0)] + step)
    np.add.at(funding, bar[inside], rates[inside])
    return funding
