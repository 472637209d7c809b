"""Hyperliquid against a local double of its API: pages, faults, the cache and the funding."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ga.errors import InputError
from ga.sources import hyperliquid, hyperliquid_api, intervals, load_market

pytest.importorskip("hyperliquid", reason="the extra 'hyperliquid' is not installed")

HOUR = 3_600_000
START = 1_700_006_400_000  # 2023-11-15T00:00Z
STEPS = {"5m": HOUR // 12, "1h": HOUR, "4h": 4 * HOUR, "1d": 24 * HOUR}
ROW = ("open", "high", "low", "close", "volume")


class Double:
    """The exchange: candles and charges of some coins, the schema as recorded, and faults."""

    def __init__(self) -> None:
        self.candles: dict[tuple[str, str], list[dict[str, object]]] = {}
        self.charges: dict[str, list[dict[str, object]]] = {}
        self.coins = ["BTC", "ETH", "kPEPE"]
        self.asked: list[dict[str, object]] = []
        self.candle_cap, self.charge_cap, self.kept = 5000, 500, 5000
        self.faults: dict[int, tuple[str, dict[str, str]]] = {}
        self.broken_from: int | None = None
        self.answer: dict[str, object] = {}
        double = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                number = len(double.asked)
                double.asked.append(body)
                kind, headers = double.faults.get(number, ("", {}))
                if double.broken_from is not None and number >= double.broken_from:
                    kind = "cut"
                answer = json.dumps(double.reply(body)).encode()
                if kind.isdigit():
                    answer = b"null" if kind == "429" else b"<html>no</html>"
                self.send_response(int(kind) if kind.isdigit() else 200)
                self.send_header("Content-Type", "application/json")
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer[: len(answer) // 2] if kind == "cut" else answer)

            def log_message(self, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def reply(self, body: dict[str, object]) -> object:
        kind = str(body["type"])
        if kind in self.answer:
            return self.answer[kind]
        if kind == "meta":
            return {"universe": [{"name": c, "szDecimals": 5} for c in self.coins]}
        if kind == "spotMeta":
            return {"universe": [], "tokens": []}
        if kind == "candleSnapshot":
            req = body["req"]
            rows = self.candles.get((req["coin"], req["interval"]), [])[-self.kept :]
            hit = [r for r in rows if r["T"] >= req["startTime"] and r["t"] <= req["endTime"]]
            return hit[-self.candle_cap :]
        rows = self.charges.get(str(body["coin"]), [])
        hit = [r for r in rows if body["startTime"] <= r["time"] <= body["endTime"]]
        return hit[: self.charge_cap]

    def add(
        self, coin: str, interval: str, bars: int, *, seed: int = 0, start: int = START
    ) -> pd.DataFrame:
        """Candles, and hourly charges over the same time, some missing; the candles' table."""
        rng = np.random.default_rng(seed)
        step = STEPS[interval]
        close = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, bars))), 4)
        table = pd.DataFrame({"time": start + step * np.arange(bars), "close": close})
        table["open"] = np.concatenate([[100.0], close[:-1]])
        table["high"] = np.round(np.maximum(table["open"], close) * 1.001, 4)
        table["low"] = np.round(np.minimum(table["open"], close) * 0.999, 4)
        table["volume"] = np.round(rng.uniform(1.0, 9.0, bars), 2)
        self.candles[coin, interval] = [
            {
                "T": int(r.time) + step - 1, "c": str(r.close), "h": str(r.high), "i": interval,
                "l": str(r.low), "n": 7, "o": str(r.open), "s": coin, "t": int(r.time),
                "v": str(r.volume),
            }
            for r in table.itertuples()
        ]  # fmt: skip
        hours = np.arange(-(-start // HOUR), (start + step * bars) // HOUR + 1)
        hours = hours[rng.random(hours.size) < 0.97]
        self.charges[coin] = [
            {
                "coin": coin, "fundingRate": f"{rng.normal(0, 1e-5):.8f}", "premium": "0.0001",
                "time": int(h) * HOUR + int(rng.integers(0, 700)),
            }
            for h in hours
        ]  # fmt: skip
        return table

    def count(self, *kinds: str) -> int:
        return sum(str(a["type"]) in (kinds or ("candleSnapshot", "fundingHistory"))
                   for a in self.asked)  # fmt: skip


@pytest.fixture
def double(monkeypatch, tmp_path) -> Iterator[Double]:
    made = Double()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("GA_HYPERLIQUID_URL", made.url)
    monkeypatch.setenv("GA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join(10)
        made.server.server_close()
        assert not thread.is_alive()
    assert not list(tmp_path.rglob("*.new"))


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """What was slept, without sleeping it; the pace is left out."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        if seconds > 0:
            slept.append(seconds)

    monkeypatch.setattr(hyperliquid_api, "sleep", sleep)
    monkeypatch.setattr(hyperliquid_api, "WEIGHT_PER_SECOND", 1e12)
    return slept


@pytest.fixture
def at(monkeypatch, waits):  # noqa: ARG001
    """Set the clock, milliseconds."""

    def set_clock(now: int) -> None:
        monkeypatch.setattr(hyperliquid, "now_ms", lambda: now)

    return set_clock


def _matches(market, row, table):
    for name in ROW:
        np.testing.assert_array_equal(getattr(market, name)[row], table[name].to_numpy())
    np.testing.assert_array_equal(market.times, table["time"].to_numpy() * 10**6)


def _funding_oracle(charges, table, interval):
    frame = pd.DataFrame(charges)
    stamps = pd.to_datetime(frame["time"], unit="ms").dt.floor(
        interval.replace("m", "min").replace("d", "D")
    )
    sums = frame["fundingRate"].astype(float).groupby(stamps).sum()
    return sums.reindex(pd.to_datetime(table["time"], unit="ms"), fill_value=0.0).to_numpy()


@pytest.mark.parametrize("interval", STEPS)
def test_bars_and_funding_match_the_exchange(double, at, interval):
    step = STEPS[interval]
    table = double.add("BTC", interval, 700)
    gone = [5, 6, 300]
    double.candles["BTC", interval] = [
        c for i, c in enumerate(double.candles["BTC", interval]) if i not in gone
    ]
    # Half way into bar 699: it is open, and its candle is there already.
    at(START + 699 * step + step // 2)
    market = load_market(f"hyperliquid:BTC,interval={interval}")
    table = table.drop(index=[*gone, 699]).reset_index(drop=True)
    _matches(market, 0, table)
    expected = _funding_oracle(double.charges["BTC"], table, interval)
    np.testing.assert_allclose(market.funding[0], expected, rtol=0, atol=1e-18)
    assert np.count_nonzero(market.funding) > 30
    assert market.name == f"hyperliquid:BTC,interval={interval}"
    assert market.report.missing == 3
    # The SDK is given its lists of coins, so it asks for nothing but the perpetuals' names.
    assert double.count("meta", "spotMeta") == 1


def test_coins_are_aligned_on_default_interval(double, at):
    double.add("BTC", "1h", 300)
    table = double.add("kPEPE", "1h", 280, seed=1, start=START + 20 * HOUR)
    at(START + 300 * HOUR)
    market = load_market("hyperliquid:kPEPE+BTC")
    assert market.assets == ("BTC", "kPEPE")
    _matches(market, 1, table)


def test_market_hash_is_reproducible(double, at):
    double.add("BTC", "1h", 300)
    for i, row in enumerate(double.candles["BTC", "1h"]):
        price = 100.0 + (i * 7919 % 1000) / 7.0
        row |= {"o": f"{price:.4f}", "c": f"{price + 0.1:.4f}", "v": f"{1 + i % 9}.25"}
        row |= {"h": f"{price + 0.3:.4f}", "l": f"{price - 0.2:.4f}"}
    first = START // HOUR
    double.charges["BTC"] = [
        {
            "coin": "BTC",
            "fundingRate": f"{(h * 31 % 17 - 8) * 1e-6:.8f}",
            "premium": "0.0",
            "time": h * HOUR + 7,
        }
        for h in range(first, first + 301)
    ]
    at(START + 300 * HOUR)
    assert load_market("hyperliquid:BTC").hash[:16] == "441d6c9849106ba5"


@pytest.mark.parametrize("cap", [5000, 60])
def test_short_pages_are_joined_without_gaps(double, at, monkeypatch, cap):
    monkeypatch.setattr(hyperliquid, "CANDLE_PAGE", 100)
    monkeypatch.setattr(hyperliquid, "FUNDING_PAGE", 200 * HOUR)
    double.candle_cap, double.charge_cap = cap, min(cap, 200)
    table = double.add("BTC", "1h", 950)
    at(START + 950 * HOUR)
    market = load_market("hyperliquid:BTC", start="2023-11-15")
    _matches(market, 0, table)
    expected = _funding_oracle(double.charges["BTC"], table, "1h")
    np.testing.assert_allclose(market.funding[0], expected, rtol=0, atol=1e-18)
    assert double.count("candleSnapshot") == -(-950 // min(cap, 100))


def test_start_end_assets_and_timeframe_select(double, at):
    double.add("BTC", "1h", 2000)
    table = double.add("ETH", "1h", 2000, seed=3)
    at(START + 2000 * HOUR)
    market = load_market(
        "hyperliquid:BTC+ETH",
        assets=["ETH"],
        start="2023-11-16",
        end="2024-01-20T02:00+02:00",
        timeframe="4h",
    )
    stamps = pd.to_datetime(table["time"], unit="ms")
    inside = table[(stamps >= "2023-11-16") & (stamps < "2024-01-20")]
    inside = inside.set_index(pd.to_datetime(inside["time"], unit="ms"))
    close = inside["close"].resample("4h").last()
    np.testing.assert_array_equal(market.close[0], close.to_numpy())
    assert market.assets == ("ETH",)
    assert "assets=ETH,start=2023-11-16," in market.name
    # What was not asked for was not downloaded.
    assert all(a.get("coin", a.get("req", {}).get("coin", "ETH")) == "ETH" for a in double.asked)
    assert min(a["req"]["startTime"] for a in double.asked if "req" in a) == START + 24 * HOUR


def test_download_stops_at_oldest_bar(double, at, monkeypatch, capsys):
    monkeypatch.setattr(hyperliquid, "CANDLE_PAGE", 100)
    table = double.add("BTC", "1h", 600)
    double.kept = 400
    at(START + 600 * HOUR)
    market = load_market("hyperliquid:BTC", start="2020-01-01")
    _matches(market, 0, table[200:].reset_index(drop=True))
    assert double.count("candleSnapshot") == 5
    assert "pages to fetch" in capsys.readouterr().err


def test_second_load_requests_only_new_bars(double, at):
    double.add("BTC", "1h", 520)
    full = list(double.candles["BTC", "1h"])
    double.candles["BTC", "1h"] = full[:500]
    at(START + 500 * HOUR)
    load_market("hyperliquid:BTC", start="2023-11-15")
    double.candles["BTC", "1h"] = full
    double.asked.clear()
    at(START + 520 * HOUR)
    market = load_market("hyperliquid:BTC", start="2023-11-15")
    assert market.bars == 520
    assert double.count("candleSnapshot") == double.count("fundingHistory") == 1
    (request,) = [a["req"] for a in double.asked if "req" in a]
    assert request["startTime"] > START + 498 * HOUR
    # A range that is long settled needs no request at all, and no SDK.
    double.asked.clear()
    load_market("hyperliquid:BTC", start="2023-11-15", end="2023-12-01")
    assert double.asked == []


def test_late_bar_is_not_lost(double, at):
    double.add("BTC", "5m", 400)
    full = list(double.candles["BTC", "5m"])
    double.candles["BTC", "5m"] = full[:397]
    at(START + 400 * STEPS["5m"])
    assert load_market("hyperliquid:BTC,interval=5m", start="2023-11-15").bars == 397
    double.candles["BTC", "5m"] = full
    assert load_market("hyperliquid:BTC,interval=5m", start="2023-11-15").bars == 400


def test_rate_limit_is_waited_out(double, at, waits):
    double.add("BTC", "1h", 300)
    at(START + 300 * HOUR)
    double.faults = {
        0: ("429", {}),
        2: ("429", {"Retry-After": "7"}),
        3: ("429", {}),
        4: ("503", {"Retry-After": "9999"}),
        5: ("429", {"Retry-After": "soon"}),
    }
    assert load_market("hyperliquid:BTC").bars == 300
    assert waits == [1.0, 7.0, 2.0, 60.0, 8.0]


def test_calls_stay_within_budget(double, at, waits, monkeypatch):
    monkeypatch.setattr(hyperliquid_api, "WEIGHT_PER_SECOND", 20.0)
    # A clock that only sleeping moves: the answers themselves take no time.
    monkeypatch.setattr(
        hyperliquid_api, "time", SimpleNamespace(monotonic=lambda: 100.0 + sum(waits))
    )
    double.add("BTC", "1h", 1000)
    at(START + 1000 * HOUR)
    load_market("hyperliquid:BTC", start="2023-11-15")
    # After the coins' names 20/20 s, after the candles (20 + 1000/60)/20 s, then the charges.
    assert waits[:2] == pytest.approx([1.0, (20 + 1000 / 60) / 20])
    assert len(waits) == len(double.asked) - 1


def test_permanent_rate_limit_reports_cached_amount(double, at, waits):
    double.add("BTC", "1h", 300)
    at(START + 300 * HOUR)
    double.faults = {n: ("429", {}) for n in range(2, 99)}
    with pytest.raises(InputError, match=r"HTTP 429 .* 6 tries.*300 bars and 0 funding.*run again"):
        load_market("hyperliquid:BTC")
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0]


@pytest.mark.parametrize("good", range(1, 14))
def test_interrupted_download_continues(double, at, monkeypatch, good):
    """The connection breaks after ``good`` answers; the next run asks for the others only."""
    monkeypatch.setattr(hyperliquid, "CANDLE_PAGE", 100)
    monkeypatch.setattr(hyperliquid, "FUNDING_PAGE", 100 * HOUR)
    table = double.add("BTC", "1h", 700)
    at(START + 700 * HOUR)
    double.broken_from = good
    with pytest.raises(InputError, match=r"network failed .*run again"):
        load_market("hyperliquid:BTC", start="2023-11-15")
    done = double.asked[1:good]
    double.broken_from = None
    double.asked.clear()
    market = load_market("hyperliquid:BTC", start="2023-11-15")
    _matches(market, 0, table)
    expected = _funding_oracle(double.charges["BTC"], table, "1h")
    np.testing.assert_allclose(market.funding[0], expected, rtol=0, atol=1e-18)
    # 7 pages of candles and 7 to 9 of charges: none is asked for twice.
    assert double.count("candleSnapshot") + sum("req" in d for d in done) == 7
    assert all(d not in double.asked for d in done)
    total = double.count() + len(done)
    assert 14 <= total <= 16


def test_nearly_complete_cache_bridges_network_failure(double, at, capsys):
    table = double.add("BTC", "1h", 520)
    double.candles["BTC", "1h"] = double.candles["BTC", "1h"][:500]
    at(START + 500 * HOUR)
    load_market("hyperliquid:BTC", start="2023-11-15")
    double.broken_from = 0
    at(START + 510 * HOUR)
    market = load_market("hyperliquid:BTC", start="2023-11-15")
    # The last bar's charges were not settled when it was fetched, so it may be left out.
    assert market.bars in (499, 500)
    _matches(market, 0, table[: market.bars])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "used the cache, which covers 9" in lines[0]
    at(START + 900 * HOUR)
    with pytest.raises(InputError, match=r"network failed.*500 bars and \d+ funding charges are"):
        load_market("hyperliquid:BTC", start="2023-11-15")


def test_bar_needs_all_its_funding_charges(double, at, monkeypatch):
    """The download breaks off inside a bar's charges: that bar is not used with half of them."""
    monkeypatch.setattr(hyperliquid, "FUNDING_PAGE", 1190 * HOUR)
    double.charge_cap = 2000
    table = double.add("BTC", "4h", 300)
    at(START + 300 * 4 * HOUR)
    double.broken_from = 3
    market = load_market("hyperliquid:BTC,interval=4h", start="2023-11-15")
    known = max(c["time"] for c in double.charges["BTC"] if c["time"] < START + 1190 * HOUR)
    whole = table[table["time"] + 4 * HOUR <= known + 1]
    assert 290 < len(whole) < 299
    _matches(market, 0, whole)
    expected = _funding_oracle(double.charges["BTC"], whole, "4h")
    np.testing.assert_allclose(market.funding[0], expected, rtol=0, atol=1e-18)


def test_open_candle_is_never_cached(double, at):
    """Not even if the exchange gives it unasked: its prices are not final."""
    table = double.add("BTC", "1h", 300)
    early = [dict(row) for row in double.candles["BTC", "1h"]]
    early[299]["c"] = "1.0"
    double.answer["candleSnapshot"] = early
    at(START + 299 * HOUR + HOUR // 2)
    assert load_market("hyperliquid:BTC", start="2023-11-15T02:30").bars == 296
    (cached,) = hyperliquid.cache_folder().rglob("BTC-1h.parquet")
    assert len(pq.read_table(cached)) == 296
    double.answer.clear()
    at(START + 300 * HOUR)
    _matches(load_market("hyperliquid:BTC", start="2023-11-15"), 0, table)


def test_empty_cache_without_network_is_refused(double, at, monkeypatch):
    at(START)
    monkeypatch.setenv("GA_HYPERLIQUID_URL", "http://127.0.0.1:1")
    with pytest.raises(InputError, match=r"network failed .*3 tries.* 0 bars .*run again"):
        load_market("hyperliquid:BTC")
    assert double.asked == []


def _fill(double, at) -> Path:
    double.add("BTC", "1h", 300)
    at(START + 300 * HOUR)
    load_market("hyperliquid:BTC", start="2023-11-15")
    (folder,) = hyperliquid.cache_folder().iterdir()
    assert sorted(p.name for p in folder.iterdir()) == ["BTC-1h.parquet", "BTC-funding.parquet"]
    return folder


@pytest.mark.parametrize("name", ["BTC-1h.parquet", "BTC-funding.parquet"])
@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other", "plain", "order", "nan"])
def test_damaged_cache_is_refused_and_kept(double, at, name, damage):
    folder = _fill(double, at)
    path = folder / name
    whole = path.read_bytes()
    table = pq.read_table(path)
    if damage in ("cut", "empty", "text"):
        path.write_bytes({"cut": whole[:-9], "empty": b"", "text": b"time,open\n"}[damage])
    elif damage == "other":
        other = {"BTC-1h.parquet": "BTC-funding.parquet"}.get(name, "BTC-1h.parquet")
        path.write_bytes((folder / other).read_bytes())
    elif damage == "plain":
        pq.write_table(table.replace_schema_metadata(None), path)
    elif damage == "order":
        pq.write_table(table.take(list(range(len(table)))[::-1]), path)
    else:
        last = table.column_names[-1]
        values = table[last].to_numpy().copy()
        values[3] = np.nan
        pq.write_table(table.set_column(len(table.column_names) - 1, last, pa.array(values)), path)
    damaged = path.read_bytes()
    with pytest.raises(InputError, match=rf"{name}: damaged cache .*delete the file and run again"):
        load_market("hyperliquid:BTC")
    assert path.read_bytes() == damaged
    path.unlink()
    assert load_market("hyperliquid:BTC", start="2023-11-15").bars == 300


def test_unwritable_cache_is_refused(double, at, monkeypatch, tmp_path):
    double.add("BTC", "1h", 300)
    at(START + 300 * HOUR)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GA_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cache cannot be written \(.*GA_CACHE"):
        load_market("hyperliquid:BTC")


def test_cache_folder_follows_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("GA_CACHE", "/own")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hyperliquid.cache_folder() == Path("/own")
    monkeypatch.delenv("GA_CACHE")
    assert hyperliquid.cache_folder() == Path("/xdg/evolution-gate/hyperliquid")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert hyperliquid.cache_folder() == tmp_path / ".cache" / "evolution-gate" / "hyperliquid"


BAD_CELLS = [
    ("o", "abc", "field o is not a finite number"),
    ("c", None, "field c is not a finite number"),
    ("h", "nan", "field h is not a finite number"),
    ("l", "0", "field l is not above zero"),
    ("h", "0.01", "field h is below l"),
    ("v", "-1", "field v is negative"),
    ("v", True, "field v is not a finite number"),
    ("s", "ETH", "field s is 'ETH', not 'BTC'"),
    ("i", "5m", "field i is '5m', not '1h'"),
    ("t", "12", "field t is not a time in milliseconds"),
    ("t", 12, "field t is not later than the row above"),
    ("t", -12, "field t is not a time in milliseconds"),
]


@pytest.mark.parametrize(("field", "value", "message"), BAD_CELLS)
def test_invalid_candle_error_names_row_and_field(double, at, field, value, message):
    double.add("BTC", "1h", 300)
    at(START + 300 * HOUR)
    rows = [dict(row) for row in double.candles["BTC", "1h"]]
    rows[6][field] = value
    double.answer["candleSnapshot"] = rows
    with pytest.raises(InputError, match=rf"hyperliquid BTC 1h: row 7 of the answer, {message}.*;"):
        load_market("hyperliquid:BTC")
    del rows[6][field]
    with pytest.raises(InputError, match=rf"row 7 of the answer, field {field} is missing"):
        load_market("hyperliquid:BTC")


@pytest.mark.parametrize(
    ("kind", "answer", "message"),
    [
        ("candleSnapshot", {"error": "x"}, "1h: the answer is not a list"),
        ("candleSnapshot", None, "1h: the answer is not a list"),
        ("candleSnapshot", ["x"], "row 1 of the answer, field .all. is not an object"),
        ("candleSnapshot", [], "has no bar in the range"),
        ("fundingHistory", {}, "funding: the answer is not a list"),
        ("fundingHistory", [{"coin": "BTC"}], "funding: row 1 of the answer, field time is mis"),
        ("meta", [], "gave no list of coins"),
        ("meta", {"universe": None}, "gave no list of coins"),
    ],
)
def test_unexpected_response_format_is_refused(double, at, kind, answer, message):
    double.add("BTC", "1h", 300)
    at(START + 300 * HOUR)
    double.answer[kind] = answer
    with pytest.raises(InputError, match=message):
        load_market("hyperliquid:BTC")


@pytest.mark.parametrize("status", ["400", "422"])
def test_rejected_request_is_not_repeated(double, at, status):
    at(START)
    double.faults = {0: (status, {})}
    with pytest.raises(InputError, match=rf"refused the request \(HTTP {status}\)"):
        load_market("hyperliquid:BTC")
    assert len(double.asked) == 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hyperliquid", "'' is not the name of a perpetual"),
        ("hyperliquid:", "'' is not the name"),
        ("hyperliquid:BTC+", "'' is not the name"),
        ("hyperliquid:../x", "is not the name"),
        ("hyperliquid:BTC+BTC", "BTC is named twice"),
        ("hyperliquid:BTC,interval=7m", "no interval '7m'; give one of 1m, "),
        ("hyperliquid:BTC,interval=1M", "no interval '1M'"),
        ("hyperliquid:BTC,step=1h", "unknown key 'step'"),
        ("hyperliquid:BTC,", "unknown key ''"),
        ("hyperliquid:DOGGY", "DOGGY: no such perpetual; it has BTC, ETH, kPEPE"),
        ("hyperliquid:KPEPE", "did you mean kPEPE?"),
    ],
)
def test_invalid_specs_are_refused(double, at, spec, message):  # noqa: ARG001
    at(START)
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        load_market(spec)


def test_range_without_closed_bar_is_refused(double, at):
    at(START + HOUR // 2)
    with pytest.raises(InputError, match="no closed bar in the range"):
        load_market("hyperliquid:BTC", start="2023-11-15")
    assert double.asked == []


def test_invalid_url_and_missing_package_are_refused(double, at, monkeypatch):
    at(START)
    monkeypatch.setenv("GA_HYPERLIQUID_URL", "ftp://x")
    with pytest.raises(InputError, match="GA_HYPERLIQUID_URL ftp://x: not an http"):
        load_market("hyperliquid:BTC")
    monkeypatch.setenv("GA_HYPERLIQUID_URL", double.url)
    monkeypatch.setitem(sys.modules, "hyperliquid.info", None)
    with pytest.raises(InputError, match="python -m pip install hyperliquid-python-sdk"):
        load_market("hyperliquid:BTC")


SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6)


def _numbers(some):
    return {n for low, high in some for n in range(low, high)}


@given(SPANS, SPANS, st.tuples(st.integers(0, 40), st.integers(0, 40)))
def test_spans_behave_like_sets_of_integers(one, other, asked):
    assert _numbers(intervals.union(one)) == _numbers(one)
    assert _numbers(intervals.overlap(one, other)) == _numbers(one) & _numbers(other)
    assert _numbers(intervals.missing(asked, one)) == _numbers([asked]) - _numbers(one)
    assert intervals.length(one) == len(_numbers(one))
    for made in (
        intervals.union(one),
        intervals.overlap(one, other),
        intervals.missing(asked, one),
    ):
        edges = [edge for span in made for edge in span]
        assert edges == sorted(set(edges))
