"""Hyperliquid's errors: a damaged cache, invalid answers, and invalid specs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ga.errors import InputError
from ga.sources import hyperliquid, load_market
from tests.support.hyperliquid_double import HOUR, START

pytest.importorskip("hyperliquid", reason="the extra 'hyperliquid' is not installed")


def test_empty_cache_without_network_is_refused(exchange, set_clock, monkeypatch):
    set_clock(START)
    monkeypatch.setenv("GA_HYPERLIQUID_URL", "http://127.0.0.1:1")
    with pytest.raises(InputError, match=r"network failed .*3 tries.* 0 bars .*run again"):
        load_market("hyperliquid:BTC")
    assert exchange.asked == []


def _fill(exchange, set_clock) -> Path:
    exchange.add("BTC", "1h", 300)
    set_clock(START + 300 * HOUR)
    load_market("hyperliquid:BTC", start="2023-11-15")
    (folder,) = hyperliquid.cache_folder().iterdir()
    assert sorted(p.name for p in folder.iterdir()) == ["BTC-1h.parquet", "BTC-funding.parquet"]
    return folder


@pytest.mark.parametrize("name", ["BTC-1h.parquet", "BTC-funding.parquet"])
@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other", "plain", "order", "nan"])
def test_damaged_cache_is_refused_and_kept(exchange, set_clock, name, damage):
    folder = _fill(exchange, set_clock)
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


def test_unwritable_cache_is_refused(exchange, set_clock, monkeypatch, tmp_path):
    exchange.add("BTC", "1h", 300)
    set_clock(START + 300 * HOUR)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GA_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cache cannot be written \(.*GA_CACHE_DIR"):
        load_market("hyperliquid:BTC")


def test_cache_folder_follows_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("GA_CACHE_DIR", "/own")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hyperliquid.cache_folder() == Path("/own")
    monkeypatch.delenv("GA_CACHE_DIR")
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
def test_invalid_candle_error_names_row_and_field(exchange, set_clock, field, value, message):
    exchange.add("BTC", "1h", 300)
    set_clock(START + 300 * HOUR)
    rows = [dict(row) for row in exchange.candles["BTC", "1h"]]
    rows[6][field] = value
    exchange.answer["candleSnapshot"] = rows
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
def test_unexpected_response_format_is_refused(exchange, set_clock, kind, answer, message):
    exchange.add("BTC", "1h", 300)
    set_clock(START + 300 * HOUR)
    exchange.answer[kind] = answer
    with pytest.raises(InputError, match=message):
        load_market("hyperliquid:BTC")


@pytest.mark.parametrize("status", ["400", "422"])
def test_rejected_request_is_not_repeated(exchange, set_clock, status):
    set_clock(START)
    exchange.faults = {0: (status, {})}
    with pytest.raises(InputError, match=rf"refused the request \(HTTP {status}\)"):
        load_market("hyperliquid:BTC")
    assert len(exchange.asked) == 1


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
def test_invalid_specs_are_refused(exchange, set_clock, spec, message):  # noqa: ARG001
    set_clock(START)
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        load_market(spec)


def test_range_without_closed_bar_is_refused(exchange, set_clock):
    set_clock(START + HOUR // 2)
    with pytest.raises(InputError, match="no closed bar in the range"):
        load_market("hyperliquid:BTC", start="2023-11-15")
    assert exchange.asked == []


def test_invalid_url_and_missing_package_are_refused(exchange, set_clock, monkeypatch):
    set_clock(START)
    monkeypatch.setenv("GA_HYPERLIQUID_URL", "ftp://x")
    with pytest.raises(InputError, match="GA_HYPERLIQUID_URL ftp://x: not an http"):
        load_market("hyperliquid:BTC")
    monkeypatch.setenv("GA_HYPERLIQUID_URL", exchange.url)
    monkeypatch.setitem(sys.modules, "hyperliquid.info", None)
    with pytest.raises(InputError, match="python -m pip install hyperliquid-python-sdk"):
        load_market("hyperliquid:BTC")
