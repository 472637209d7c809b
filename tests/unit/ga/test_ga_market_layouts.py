"""One true market in many layouts: each file is read back exactly."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pandas as pd
import pytest

from ga.errors import InputError
from ga.sources import load_market
from tests.support.market_layouts import (
    DAILY,
    EARLY,
    LARGE,
    SPRING,
    assert_read,
    eastern,
    epoch,
    german,
    klines,
    lines,
    rows_of,
    text,
    thousands,
    truth,
    two_columns,
    yahoo_levels,
)

TEXTS: Final[dict[str, tuple[pd.DataFrame, Callable[[pd.DataFrame], str]]]] = {
    "semicolon": (truth(), lambda t: text(t, sep=";")),
    "tab": (truth(), lambda t: text(t, sep="\t")),
    "bar": (truth(), lambda t: text(t, sep="|")),
    "decimal comma": (truth(), german),
    "decimal comma, tab": (truth(), lambda t: text(t, sep="\t", decimal=",")),
    "thousands": (LARGE, thousands),
    "newest first": (truth(), lambda t: text(t[::-1])),
    "URL above": (truth(), lambda t: "https://example.com/data\n" + text(t)),
    "comments above": (truth(), lambda t: "# made by x\n# tz: UTC\n" + text(t)),
    "comment as header": (truth(), lambda t: "#" + text(t)),
    "preamble with commas": (truth(), lambda t: "Symbol,X\nFrom,2024\n\n" + text(t)),
    "footer": (truth(), lambda t: text(t) + "\nSource: example.com\n"),
    "footer with commas": (truth(), lambda t: text(t) + "Total,,,,,\n"),
    "blank lines": (truth(), lambda t: text(t).replace("\n", "\n\n", 40)),
    "carriage returns": (truth(), lambda t: text(t).replace("\n", "\r\n")),
    "comma at line ends": (truth(), lambda t: text(t).replace("\n", ",\n")),
    "comma after bars only": (
        truth(),
        lambda t: text(t).replace("\n", ",\n").replace("volume,\n", "volume\n"),
    ),
    "ISO with Z": (truth(), lambda t: text(t, "%Y-%m-%dT%H:%M:%S.000Z")),
    "suffix UTC": (truth(), lambda t: text(t, "%Y-%m-%d %H:%M:%S UTC")),
    "suffix GMT": (truth(), lambda t: text(t, "%d.%m.%Y %H:%M:%S GMT")),
    "dots": (truth(), lambda t: text(t, "%Y.%m.%d %H:%M")),
    "day first with dots": (truth(), lambda t: text(t, "%d.%m.%Y %H:%M:%S.000")),
    "AM and PM": (truth(), lambda t: text(t, "%Y-%m-%d %I:%M %p")),
    "AM and PM, hours": (truth(), lambda t: text(t, "%Y-%m-%d %I-%p")),
    "AM and PM, seconds": (truth(), lambda t: text(t, "%Y/%m/%d %I:%M:%S%p")),
    "two blanks": (truth(), lambda t: text(t, "%Y%m%d  %H:%M:%S")),
    "month by name": (truth(), lambda t: text(t, "%d-%b-%Y %H:%M")),
    "American month by name": (DAILY, lambda t: text(t, "%b %d, %Y")),
    "zone by name": (truth(), lambda t: text(t, "%Y-%m-%d %H:%M:%S Etc/UTC")),
    "offsets change": (SPRING, eastern),
    "offsets change, T": (SPRING, lambda t: eastern(t, "%Y-%m-%dT%H:%M:%S%z")),
    "Gmt time": (truth(), lambda t: text(t).replace("time", "Gmt time", 1)),
    "Open time": (truth(), lambda t: text(t).replace("time", "Open time", 1)),
    "angle brackets": (
        truth(),
        lambda t: text(t, sep="\t").replace(
            "time\topen\thigh\tlow\tclose\tvolume",
            "<DATETIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<VOL>",
        ),
    ),
    "unnamed index": (truth(), lambda t: text(t).replace("time", "", 1)),
    "row numbers first": (truth(), lambda t: t.to_csv()),
    "two header levels": (truth(), yahoo_levels),
    "Date and Time": (
        truth(),
        lambda t: two_columns(t, "%Y-%m-%d", "%H:%M:%S").to_csv(index=False),
    ),
    "Date and Time, dots": (
        truth(),
        lambda t: two_columns(t, "%Y.%m.%d", "%H:%M").to_csv(index=False),
    ),
    "Date and Time, numbers": (
        truth(),
        lambda t: two_columns(t, "%Y%m%d", "%H%M").astype({"Time": int}).to_csv(index=False),
    ),
    "Date and Time, seconds": (
        truth(),
        lambda t: two_columns(t, "%Y%m%d", "%H%M%S").astype({"Time": int}).to_csv(index=False),
    ),
    "MetaTrader": (
        truth(),
        lambda t: two_columns(t, "%Y.%m.%d", "%H:%M").to_csv(index=False, header=False),
    ),
    "HistData": (truth(), lambda t: text(t, "%Y%m%d %H%M%S", sep=";", header=False)),
    "ccxt": (truth(), lambda t: lines(rows_of(t))),
    "ccxt, numbered header": (truth(), lambda t: "0,1,2,3,4,5\n" + lines(rows_of(t))),
    "Binance": (truth(), lambda t: lines(klines(t))),
    "Binance, numbered": (truth(), lambda t: pd.DataFrame(klines(t), dtype=object).to_csv()),
    "Kraken": (truth(), lambda t: lines([[*r, 7] for r in rows_of(t, "s")])),
    "mean before volume": (
        truth(),
        lambda t: lines([[*r[:5], round((r[2] + r[3]) / 2, 3), r[5], 7] for r in rows_of(t, "s")]),
    ),
    "whole dates": (DAILY, lambda t: text(t, "%Y%m%d")),
    "whole dates and hours": (truth(), lambda t: text(t, "%Y%m%d%H")),
    "whole dates and minutes": (truth(), lambda t: text(t, "%Y%m%d%H%M")),
    "whole dates and seconds": (truth(), lambda t: text(t, "%Y%m%d%H%M%S")),
    "spreadsheet days": (
        DAILY,
        lambda t: t.assign(time=epoch(t, "s") // 86_400 + 25_569).to_csv(index=False),
    ),
    "spreadsheet hours": (
        truth(),
        lambda t: t.assign(time=epoch(t, "s") / 86_400 + 25_569).to_csv(
            index=False, float_format="%.8f"
        ),
    ),
    "milliseconds near 1970": (EARLY, lambda t: t.assign(time=epoch(t, "ms")).to_csv(index=False)),
    "microseconds near 1970": (EARLY, lambda t: t.assign(time=epoch(t, "us")).to_csv(index=False)),
    "seconds near 1970": (EARLY, lambda t: t.assign(time=epoch(t, "s")).to_csv(index=False)),
    "day and instant": (
        truth(),
        lambda t: t.assign(date=t["time"].dt.date, time=epoch(t, "ms")).to_csv(index=False),
    ),
    "local time and instant": (
        truth(),
        lambda t: t.assign(time=t["time"] + pd.Timedelta("2h"), open_time=epoch(t, "ms")).to_csv(
            index=False
        ),
    ),
    "one symbol": (truth(), lambda t: text(t.assign(symbol="BTC/USDT"))),
    "base and quote volume": (
        truth(),
        lambda t: text(
            t.assign(**{"Volume USDT": (t["volume"] * t["close"]).round(2)}).rename(
                columns={"volume": "Volume BTC"}
            )
        ),
    ),
    "quote volume first": (
        truth(),
        lambda t: text(
            t.assign(volumeto=(t["volume"] * t["close"]).round(2), volumefrom=t["volume"]).drop(
                columns="volume"
            )
        ),
    ),
    "unused columns": (truth(), lambda t: text(t.assign(MA=t["close"], trend="up"))),
}


@pytest.mark.parametrize("layout", TEXTS)
def test_text_layouts_are_read_exactly(tmp_path, layout):
    table, write = TEXTS[layout]
    path = tmp_path / "X.csv"
    path.write_text(write(table), newline="")
    assert_read(load_market(str(path)), table)


ENCODINGS: Final = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("header", [True, False])
def test_encodings_are_read_exactly(tmp_path, encoding, header):
    table = truth()
    content = text(table, header=header)
    if encoding == "latin-1":
        content = "Börse Zürich\n" + content
    path = tmp_path / "X.csv"
    path.write_bytes(content.encode(encoding))
    assert_read(load_market(str(path)), table)


def test_large_text_crosses_sample_and_buffers(tmp_path):
    """What lies behind the sample at the beginning is judged, too."""
    table = truth(6000, freq="1min")
    for encoding in ("utf-8", "utf-16"):
        path = tmp_path / f"{encoding}.csv"
        path.write_bytes((text(table) + "# the end\n").encode(encoding))
        assert_read(load_market(str(path)), table)
    late = table.assign(close=table["close"].astype(object))
    late.loc[5500, "close"] = "12,5"
    (tmp_path / "late.csv").write_text(text(late))
    with pytest.raises(InputError, match=r"late\.csv: row 5502, column close is not a finite"):
        load_market(str(tmp_path / "late.csv"))


def _zipped(path: Path, name: str, content: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/._X.csv", b"\x00")
        archive.writestr(name, content)


@pytest.mark.parametrize(
    "suffix", [".csv.gz", ".csv.bz2", ".csv.xz", ".csv.zip", ".zip", ".txt", ".tsv"]
)
def test_compressed_text_is_read_exactly(tmp_path, suffix):
    table = truth()
    content = text(table).encode()
    path = tmp_path / f"X{suffix}"
    compress = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    if suffix.endswith("zip"):
        _zipped(path, "X.csv", content)
    else:
        path.write_bytes(compress.get(suffix.rsplit(".")[-1], bytes)(content))
    assert_read(load_market(str(path)), table)


JSON: Final[dict[str, Callable[[pd.DataFrame], object]]] = {
    "arrays": rows_of,
    "arrays of text": lambda t: [[row[0], *map(str, row[1:])] for row in rows_of(t)],
    "klines": klines,
    "objects": lambda t: t.assign(time=epoch(t, "ms")).to_dict("records"),
    "columns": lambda t: t.assign(time=epoch(t, "ms")).to_dict("list"),
    "columns by row": lambda t: json.loads(t.assign(time=epoch(t, "ms")).to_json()),
    "wrapped": lambda t: {"code": 0, "data": rows_of(t)},
}


@pytest.mark.parametrize("layout", JSON)
@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_json_layouts_are_read_exactly(tmp_path, layout, suffix):
    table = truth()
    content = json.dumps(JSON[layout](table)).encode()
    path = tmp_path / f"X{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    assert_read(load_market(str(path)), table)


def test_json_lines_are_read_exactly(tmp_path):
    table = truth()
    records = table.assign(time=epoch(table, "s")).to_dict("records")
    (tmp_path / "X.jsonl").write_text("\n".join(map(json.dumps, records)))
    assert_read(load_market(str(tmp_path / "X.jsonl")), table)


STORED: Final[dict[str, Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "unnamed index": lambda t: t.set_index("time").rename_axis(None),
    "named index": lambda t: t.set_index("time").rename_axis("Datetime"),
    "aware": lambda t: t.assign(time=t["time"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")),
    "text": lambda t: t.assign(time=t["time"].astype(str)),
    "milliseconds as text": lambda t: t.assign(time=epoch(t, "ms").astype(str)),
    "unsigned": lambda t: t.assign(time=epoch(t, "ms").astype("uint64")),
    "price above ticker": lambda t: _levels(t, lambda name: (name.title(), "X")),
    "ticker above price": lambda t: _levels(t, lambda name: ("X", name)),
    "categories": lambda t: t.assign(symbol=pd.Categorical(["X"] * len(t))),
    "numbered columns": lambda t: t.assign(time=epoch(t, "ms")).set_axis(list("012345"), axis=1),
    "newest first": lambda t: t[::-1],
}


def _levels(table: pd.DataFrame, name: Callable[[str], tuple[str, str]]) -> pd.DataFrame:
    table = table.set_index("time")
    table.columns = pd.MultiIndex.from_tuples([name(column) for column in table.columns])
    return table


@pytest.mark.parametrize("layout", STORED)
def test_parquet_layouts_are_read_exactly(tmp_path, layout):
    table = truth()
    STORED[layout](table).to_parquet(tmp_path / "X.parquet")
    assert_read(load_market(str(tmp_path / "X.parquet")), table)
