"""Hyperliquid's public data through the PyPI package ``hyperliquid-python-sdk``.

Calls are paced to the exchange's budget and repeated with back-off; every row is checked.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from ga.errors import InputError
from ga.sources.download_cache import Rows

MAINNET: Final = "https://api.hyperliquid.xyz"
WEIGHT_PER_SECOND = 1200 / 60
"""The exchange's budget for one address."""
_CALL_WEIGHT: Final = 20
_CANDLES_PER_WEIGHT: Final = 60
_CHARGES_PER_WEIGHT: Final = 20
_TIMEOUT: Final = 30.0
_BUSY_TRIES: Final = 6
_BROKEN_TRIES: Final = 3
_LONGEST_WAIT: Final = 60.0
_NO_SPOT: Final[dict[str, list[Any]]] = {"universe": [], "tokens": []}
sleep = time.sleep
"""Waits between calls."""


class NetworkError(Exception):
    """The exchange cannot be reached, or stays too busy; fetched pages are kept."""


class Client:
    """One session with the exchange. Not thread-safe."""

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise InputError(f"GA_HYPERLIQUID_URL {url}: not an http:// or https:// address")
        try:
            self._sdk = importlib.import_module("hyperliquid.info")
            self._errors = importlib.import_module("hyperliquid.utils.error")
            self._requests = importlib.import_module("requests")
        except ImportError as error:
            raise InputError(
                "--market hyperliquid: needs the package 'hyperliquid-python-sdk'"
                f" ({error}); run: python -m pip install hyperliquid-python-sdk"
            ) from None
        self._url = url.rstrip("/")
        self._response: Any = None
        self._next_call = 0.0
        self._info = self._open(())
        self._known: frozenset[str] = frozenset()

    def close(self) -> None:
        """Close the connection."""
        self._info.session.close()

    def candles(self, coin: str, interval: str, start: int, stop: int) -> Rows:
        """Candles that open from ``start`` up to, not including, ``stop`` (milliseconds).

        Raises:
            NetworkError: no answer after all attempts.
            InputError: the coin is unknown, or a row is not as documented.
        """
        self._require_known(coin)
        answer = self._call(lambda: self._info.candles_snapshot(coin, interval, start, stop - 1))
        label = f"hyperliquid {coin} {interval}"
        names = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}
        same = {"s": coin, "i": interval}
        rows = _rows(label, answer, time_field="t", names=names, same=same)
        self._pace(rows.times.size / _CANDLES_PER_WEIGHT)
        for name in ("open", "high", "low", "close"):
            _refuse(label, rows.columns[name] <= 0, names[name], "is not above zero")
        _refuse(label, rows.columns["high"] < rows.columns["low"], "h", "is below l")
        _refuse(label, rows.columns["volume"] < 0, "v", "is negative")
        return _between(rows, start, stop)

    def funding(self, coin: str, start: int, stop: int) -> Rows:
        """Funding charges from ``start`` up to, not including, ``stop``: the oldest 500.

        Raises:
            NetworkError, InputError: see ``candles``.
        """
        self._require_known(coin)
        answer = self._call(lambda: self._info.funding_history(coin, start, stop - 1))
        rows = _rows(
            f"hyperliquid {coin} funding",
            answer,
            time_field="time",
            names={"rate": "fundingRate"},
            same={"coin": coin},
        )
        self._pace(rows.times.size / _CHARGES_PER_WEIGHT)
        return _between(rows, start, stop)

    def _open(self, coins: Sequence[str]) -> Any:
        """An SDK session that knows these coins; given both lists, the SDK calls nothing."""
        meta = {"universe": [{"name": coin, "szDecimals": 0} for coin in coins]}
        info = self._sdk.Info(
            self._url, skip_ws=True, meta=meta, spot_meta=_NO_SPOT, timeout=_TIMEOUT
        )
        info.session.hooks["response"].append(self._keep_response)
        return info

    def _keep_response(self, response: Any, *_: Any, **__: Any) -> None:
        # The SDK's own errors contain the status and headers only in some cases.
        self._response = response

    def _require_known(self, coin: str) -> None:
        if not self._known:
            meta = self._call(lambda: self._info.meta())
            self._pace(0)
            universe = meta.get("universe") if isinstance(meta, dict) else None
            coins = [c.get("name") for c in universe or () if isinstance(c, dict)]
            names = [name for name in coins if isinstance(name, str)]
            if not names:
                raise InputError(
                    f"hyperliquid: {self._url} gave no list of coins;"
                    " try later, or update hyperliquid-python-sdk"
                )
            self._info.session.close()
            self._info = self._open(names)
            self._known = frozenset(names)
        if coin not in self._known:
            close = sorted(n for n in self._known if n.lower() == coin.lower())
            known = sorted(self._known)
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(known[:20])}"
            more = f" and {len(known) - 20} more" if not close and len(known) > 20 else ""
            raise InputError(f"--market hyperliquid:{coin}: no such perpetual; {hint}{more}")

    def _call(self, ask: Callable[[], Any]) -> Any:
        """Call until there is an answer, or all attempts are used."""
        tries = 0
        while True:
            tries += 1
            sleep(max(0.0, self._next_call - time.monotonic()))
            self._response = None
            try:
                return ask()
            except self._requests.exceptions.RequestException as error:
                reason, limit = type(error).__name__, _BROKEN_TRIES
            except (self._errors.Error, KeyError, TypeError, AttributeError):
                # The SDK raises the last three for unexpected error pages.
                status = 0 if self._response is None else int(self._response.status_code)
                if status != 429 and status < 500:
                    raise InputError(
                        f"hyperliquid: {self._url} refused the request (HTTP {status});"
                        " update hyperliquid-python-sdk"
                    ) from None
                reason, limit = f"HTTP {status}", _BUSY_TRIES
            if tries == limit:
                raise NetworkError(f"{reason} from {self._url} after {tries} tries")
            sleep(self._wait(tries))

    def _wait(self, tries: int) -> float:
        """Seconds before the next attempt: as the server requests, else doubled each time."""
        headers = {} if self._response is None else self._response.headers
        try:
            asked = float(headers.get("Retry-After", ""))
        except ValueError:  # none, or a date: the exchange sends seconds if anything
            asked = math.nan
        seconds = asked if asked >= 0 else 2.0 ** (tries - 1)
        return min(seconds, _LONGEST_WAIT)

    def _pace(self, extra: float) -> None:
        """Delay the next call according to the exchange's rate limit."""
        self._next_call = time.monotonic() + (_CALL_WEIGHT + extra) / WEIGHT_PER_SECOND


def _rows(
    label: str, answer: Any, *, time_field: str, names: dict[str, str], same: dict[str, str]
) -> Rows:
    """Check the schema of an answer row by row."""
    if not isinstance(answer, list):
        shown = str(answer)[:80]
        raise InputError(f"{label}: the answer is not a list ({shown}); try again later")
    times = np.empty(len(answer), dtype=np.int64)
    columns = {name: np.empty(len(answer), dtype=np.float64) for name in names}
    for index, row in enumerate(answer):
        if not isinstance(row, dict):
            raise _fault(label, index, "(all)", "is not an object")
        for field in (*same, time_field, *names.values()):
            if field not in row:
                raise _fault(label, index, field, "is missing")
        for field, value in same.items():
            if row[field] != value:
                raise _fault(label, index, field, f"is {row[field]!r}, not {value!r}")
        stamp = row[time_field]
        if type(stamp) is not int or not 0 < stamp < 2**43:
            raise _fault(label, index, time_field, f"is not a time in milliseconds ({stamp!r})")
        if index and stamp <= times[index - 1]:
            raise _fault(label, index, time_field, "is not later than the row above")
        times[index] = stamp
        for name, field in names.items():
            columns[name][index] = _number(label, index, field, row[field])
    return Rows(times=times, columns=columns)


def _number(label: str, index: int, field: str, value: Any) -> float:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise _fault(label, index, field, f"is not a finite number ({value!r:.40})")


def _refuse(label: str, bad: Any, field: str, what: str) -> None:
    if bad.any():
        raise _fault(label, int(np.argmax(bad)), field, what)


def _fault(label: str, index: int, field: str, what: str) -> InputError:
    return InputError(
        f"{label}: row {index + 1} of the answer, field {field} {what};"
        " try again later, or update hyperliquid-python-sdk"
    )


def _between(rows: Rows, start: int, stop: int) -> Rows:
    """Drop rows outside the request: the exchange adds the candle that is open at ``start``."""
    low, high = np.searchsorted(rows.times, [start, stop])
    columns = {name: values[low:high] for name, values in rows.columns.items()}
    return Rows(times=rows.times[low:high], columns=columns)
