"""A random market in a random layout is read back exactly, or refused; never misread."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ga.errors import InputError
from ga.market import Market
from ga.sources import load_market

NAMES = ("open", "high", "low", "close", "volume")
BARS = 210
TIMES = (
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y.%m.%d %H:%M", "%Y/%m/%d %H:%M", "%d.%m.%Y %H:%M",
    "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d-%m-%y %H:%M", "%Y%m%d %H%M%S", "%Y%m%d%H%M", "%Y%m%d",
    "%Y-%m-%d %I:%M %p", "%d %b %Y %H:%M", "%Y-%m-%d %H:%M UTC", "%H:%M", "s", "ms", "us", "ns",
    "excel",
)  # fmt: skip
STEPS = ("1min", "5min", "1h", "4h", "1D", "7D")


@st.composite
def markets(draw: st.DrawFn) -> pd.DataFrame:
    """Prices on a grid of a power of ten, at times from 1968 to 2060."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    digits = draw(st.integers(0, 5))
    price = 10.0 ** draw(st.integers(0, 5))
    unit = max(10.0**-digits, price / 1000)
    close = np.maximum(np.round(price / unit + np.cumsum(random.integers(-3, 4, BARS))), 20)
    opened = np.concatenate([close[:1], close[:-1]])
    high = np.maximum(opened, close) + random.integers(0, 4, BARS)
    low = np.minimum(opened, close) - random.integers(0, 4, BARS)
    start = pd.Timestamp("1968-01-01") + pd.Timedelta(days=draw(st.integers(0, 33_000)))
    times = pd.date_range(start, periods=BARS, freq=draw(st.sampled_from(STEPS))).as_unit("ns")
    table = {"open": opened, "high": high, "low": low, "close": close}
    table = {name: np.round(values * unit, 5) for name, values in table.items()}
    return pd.DataFrame({"time": times, **table, "volume": random.integers(0, 10**6, BARS) / 100})


def written_times(times: pd.Series, form: str) -> pd.Series:
    seconds = (times - pd.Timestamp(0)) // pd.Timedelta("1s")
    if form == "excel":
        return seconds / 86_400 + 25_569
    scales = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
    return seconds * scales[form] if form in scales else times.dt.strftime(form)


@st.composite
def layouts(draw: st.DrawFn) -> dict[str, object]:
    return {
        "form": draw(st.sampled_from(TIMES)),
        "sep": draw(st.sampled_from([",", ";", "\t", "|"])),
        "decimal": draw(st.sampled_from([".", ","])),
        "header": draw(st.booleans()),
        "backwards": draw(st.booleans()),
        "order": draw(st.sampled_from(["ohlcv", "vohlc", "olhcv", "chlov"])),
        "thousands": draw(st.booleans()),
        "preamble": draw(
            st.sampled_from(["", "# by x\n", "https://example.com\n\n", "A,B\n1,2\n"])
        ),
        "footer": draw(st.sampled_from(["", "# end\n", "Total\n"])),
        "index": draw(st.booleans()),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])),
    }


def number(value: float, layout: dict[str, object]) -> str:
    text = f"{value:,.5f}" if layout["thousands"] else f"{value:.5f}"
    text = text.rstrip("0").rstrip(".")
    return text.translate(str.maketrans(",.", ".,")) if layout["decimal"] == "," else text


def write(table: pd.DataFrame, layout: dict[str, object]) -> str:
    order = {"o": "open", "h": "high", "l": "low", "c": "close", "v": "volume"}
    columns = {"time": written_times(table["time"], str(layout["form"]))}
    for initial in str(layout["order"]):
        columns[order[initial]] = table[order[initial]].map(lambda v: number(v, layout))
    frame = pd.DataFrame(columns)
    frame = frame[::-1] if layout["backwards"] else frame
    body = frame.to_csv(sep=layout["sep"], index=layout["index"], header=layout["header"])
    return f"{layout['preamble']}{body}{layout['footer']}"


def read_or_refused(path: Path) -> Market | None:
    """The market; None after a refusal of one line."""
    message = ""
    try:
        return load_market(str(path))
    except InputError as refused:
        message = str(refused)
    assert message
    assert "\n" not in message
    return None


@settings(max_examples=150, deadline=None, derandomize=True)
@given(markets(), layouts())
def test_random_layouts_are_never_misread(table, layout):
    # Whole days lose nothing in a format without a time of day; other times do.
    days = bool((table["time"] == table["time"].dt.normalize()).all())
    lossless = layout["form"] != "%H:%M" and (layout["form"] != "%Y%m%d" or days)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "X.csv"
        path.write_text(write(table, layout), encoding=str(layout["encoding"]), newline="")
        market = read_or_refused(path)
    if market is None:
        return
    assert lossless
    np.testing.assert_array_equal(market.times, table["time"].astype("int64"))
    for name in NAMES:
        np.testing.assert_array_equal(getattr(market, name)[0], table[name])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.binary(max_size=400),
    st.sampled_from([".csv", ".json", ".parquet", ".feather", ".zip", ".csv.gz"]),
)
@example(b"\x1f\x8b", ".csv.gz")
@example(b"PK\x03\x04", ".zip")
@example(b"PK\x05\x06" + bytes(18), ".zip")
@example(b"[[1, 2], 3]", ".json")
@example(b'{"a": {}}', ".json")
@example(b"1,2,3,4,5\n" * 30, ".csv")
@example(b'"a,1,2,3\n4,5,6,7,8\n9,1,2,3', ".csv")
def test_any_bytes_are_refused_in_one_line(content, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"X{suffix}"
        path.write_bytes(content)
        # No market of 200 bars fits into 400 bytes.
        assert read_or_refused(path) is None
