"""A local double of Hyperliquid's API: pages, faults, and recorded formats."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pandas as pd
import pytest

from ga.sources import hyperliquid, hyperliquid_api

HOUR = 3_600_000
START = 1_700_006_400_000  # 2023-11-15T00:00Z
STEPS = {"5m": HOUR // 12, "1h": HOUR, "4h": 4 * HOUR, "1d": 24 * HOUR}


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
def exchange(monkeypatch, tmp_path) -> Iterator[Double]:
    made = Double()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("GA_HYPERLIQUID_URL", made.url)
    monkeypatch.setenv("GA_CACHE_DIR", str(tmp_path / "cache"))
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
def set_clock(monkeypatch, waits) -> Callable[[int], None]:  # noqa: ARG001
    """Set the clock, milliseconds."""

    def set_now(now: int) -> None:
        monkeypatch.setattr(hyperliquid, "now_ms", lambda: now)

    return set_now
