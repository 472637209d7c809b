"""One true market in many layouts: each file is read back exactly, or refused with a remedy."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pytest

from ga.errors import InputError
from ga.sources import load_market
from ga.sources.reading import parse_options

BARS: Final = 260
NAMES: Final = ("open", "high", "low", "close", "volume")


def truth(bars: int = BARS, *, freq: str = "1h", start: str = "2024-01-29", price: float = 100.0):
    """A market with prices of two decimals; ``time`` is naive UTC."""
    random = np.random.default_rng(11)
    close = np.round(price * np.cumprod(1 + random.normal(0, 0.003, bars)), 2)
    opened = np.concatenate([[price], close[:-1]])
    span = np.round(np.abs(random.normal(0, 0.002 * price, (2, bars))) + 0.01, 2)
    return pd.DataFrame(
        {
            "time": pd.date_range(start, periods=bars, freq=freq).as_unit("ns"),
            "open": opened,
            "high": np.round(np.maximum(opened, close) + span[0], 2),
            "low": np.round(np.minimum(opened, close) - span[1], 2),
            "close": close,
            "volume": np.round(random.uniform(1, 900, bars), 3),
        }
    )


def assert_read(market, table, *, volume=True, row=0):
    """The market has exactly the table's bars."""
    np.testing.assert_array_equal(market.times, table["time"].astype("int64"))
    for name in NAMES[: None if volume else -1]:
        np.testing.assert_array_equal(getattr(market, name)[row], table[name])
    if not volume:
        assert not market.volume.any()


def text(table: pd.DataFrame, form: str = "%Y-%m-%d %H:%M:%S", **options: object) -> str:
    table = table.assign(time=table["time"].dt.strftime(form))
    return table.to_csv(index=False, **options)


def epoch(table: pd.DataFrame, unit: str) -> pd.Series:
    return table["time"].dt.as_unit(unit).astype("int64")


def rows_of(table: pd.DataFrame, unit: str = "ms") -> list[list[float]]:
    return table.assign(time=epoch(table, unit)).to_numpy(dtype=object).tolist()


def lines(rows: list[list[object]], mark: str = ",") -> str:
    return "\n".join(mark.join(str(cell) for cell in row) for row in rows) + "\n"


def klines(table: pd.DataFrame) -> list[list[object]]:
    """The 12 columns of Binance."""
    return [
        [*row, row[0] + 3_599_999, row[5] * row[4], 12, row[5] / 2, row[5] * row[4] / 2, 0]
        for row in rows_of(table)
    ]


def two_columns(table: pd.DataFrame, date: str, clock: str) -> pd.DataFrame:
    parts = {"Date": table["time"].dt.strftime(date), "Time": table["time"].dt.strftime(clock)}
    return pd.DataFrame({**parts, **table[list(NAMES)]})


def german(table: pd.DataFrame) -> str:
    return text(table, "%d.%m.%Y %H:%M", sep=";", decimal=",")


def thousands(table: pd.DataFrame) -> str:
    table = table.assign(time=table["time"].astype(str))
    for name in NAMES:
        table[name] = table[name].map(lambda value: f"{value:,}")
    return table.to_csv(index=False)


def yahoo_levels(table: pd.DataFrame) -> str:
    head = "Price,Open,High,Low,Close,Volume\nTicker,X,X,X,X,X\nDatetime,,,,,\n"
    return head + text(table, header=False)


def eastern(table: pd.DataFrame, form: str = "%Y-%m-%d %H:%M:%S%z") -> str:
    local = table["time"].dt.tz_localize("UTC").dt.tz_convert("America/New_York")
    return table.assign(time=local.dt.strftime(form)).to_csv(index=False)


SPRING: Final = truth(start="2024-03-08")
"""Its hours cross the change of clocks in New York."""
DAILY: Final = truth(freq="1D", start="2015-01-02")
LARGE: Final = truth(price=50_000.0)
EARLY: Final = truth(900, freq="1D", start="1969-06-01")

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


def _at(row: int, column: str, value: object) -> Callable[[pd.DataFrame], str]:
    def write(table: pd.DataFrame) -> str:
        table = table.assign(time=table["time"].astype(str)).astype({column: object})
        table.loc[row, column] = value
        return table.to_csv(index=False)

    return write


def two_symbols(table: pd.DataFrame, name: str, *, minutes: int) -> str:
    other = table.assign(time=table["time"] + pd.Timedelta(minutes=minutes))
    other[list(NAMES)] *= 0.01
    both = pd.concat([table.assign(**{name: "SPY"}), other.assign(**{name: "QQQ"})])
    return text(both.sort_values("time", kind="stable"))


REFUSED: Final[dict[str, tuple[Callable[[pd.DataFrame], str], str]]] = {
    "bar numbers": (
        lambda t: t.assign(time=range(BARS)).to_csv(index=False),
        "numbers the rows and gives no time; give .*--time-format",
    ),
    "mixed units": (
        lambda t: t.assign(
            time=np.where(np.arange(BARS) < 100, epoch(t, "s"), epoch(t, "ms"))
        ).to_csv(index=False),
        "another unit",
    ),
    "rounded times": (
        lambda t: t.assign(time=epoch(t, "ns").astype(float).map("{:.5E}".format)).to_csv(
            index=False
        ),
        "export the file again",
    ),
    "all before 1970": (
        lambda t: t.assign(time=-epoch(t, "ms")).to_csv(index=False),
        "before 1970 as a whole; .*--time-format",
    ),
    "last row 2099": (_at(BARS - 1, "time", "2099-01-01"), "--end 2099-01-01"),
    "first row 1970": (_at(0, "time", "1970-01-01"), "--start 2024-01-29"),
    "year 9999": (_at(BARS - 1, "time", "9999-12-31"), "row 261, .* outside the years 1678"),
    "year 1": (_at(0, "time", "0001-01-01"), "row 2, .* outside the years 1678"),
    "close above high": (_at(7, "close", 1e6), "row 9, column close is above high"),
    "open below low": (_at(7, "open", 0.01), "row 9, column open is below low"),
    "two closes": (
        lambda t: text(t.assign(Close=2 * t["close"])),
        "2 columns can be close: close .column 5., Close .column 7.; choose with --columns close=5",
    ),
    "two assets side by side": (
        lambda t: (
            text(t.merge(2 * t[list(NAMES)], left_index=True, right_index=True))
            .replace("_x", "")
            .replace("_y", "")
        ),
        "2 columns can be open: .*--columns open=2 or open=7",
    ),
    "two volumes": (
        lambda t: text(t.rename(columns={"volume": "Volume A"}).assign(**{"Volume B": 3.0})),
        "2 columns can be volume: .*--columns 'volume=Volume A'",
    ),
    "two symbols": (lambda t: two_symbols(t, "symbol", minutes=30), "--symbol SPY,QQQ"),
    "two symbols, other name": (
        lambda t: two_symbols(t, "Wertpapier", minutes=30),
        "--columns symbol=Wertpapier --symbol SPY",
    ),
    "two symbols at a time": (
        lambda t: two_symbols(t, "Wertpapier", minutes=0),
        "--columns symbol=Wertpapier --symbol SPY",
    ),
    "day or month": (
        lambda t: text(t, "%d/%m/%Y %H:%M"),
        r"--time-format '%d/%m/%Y %H:%M'",
    ),
    "two digits of a year": (lambda t: text(t, "%d-%b-%y %H:%M"), "--time-format '%d-%b-%y %H:%M'"),
    "zone without place": (lambda t: text(t, "%Y-%m-%d %H:%M:%S EST"), "--timezone America/New"),
    "time of day only": (lambda t: text(t, "%H:%M:%S"), "without a date"),
    "cut off": (lambda t: text(t)[:-20], "cut off"),
    "currency": (lambda t: text(t).replace(",", ",$"), "write plain numbers"),
    "volume with K": (_at(7, "volume", "4.26K"), "--columns volume=none"),
    "comma may be both": (
        lambda t: text(
            t.assign(**{n: [f"{v:.3f}".replace(".", ",") for v in t[n]] for n in NAMES}), sep=";"
        ),
        r"\(thousands\) or .* \(decimal comma\); choose with --decimal",
    ),
    "columns contradict": (
        lambda t: t.assign(time=epoch(t, "s"), date="2021-05-05").to_csv(index=False),
        "different times; choose with --columns time=",
    ),
    "low before high": (
        lambda t: lines([[r[0], r[1], r[3], r[2], r[4], r[5]] for r in rows_of(t)]),
        "--columns time=1,open=2,low=3,high=4,close=5",
    ),
    "close before open": (
        lambda t: lines([[r[0], r[4], r[2], r[3], r[1], r[5]] for r in rows_of(t)]),
        "--columns time=1,open=5,high=3,low=4,close=2",
    ),
    "close before open, newest first": (
        lambda t: lines([[r[0], r[4], r[2], r[3], r[1], r[5]] for r in rows_of(t)[::-1]]),
        "--columns time=1,open=5,high=3,low=4,close=2",
    ),
    "initials": (
        lambda t: text(t.set_axis(["t", *"ohlcv"], axis=1).rename(columns={"t": "time"})),
        "--columns 'open=o",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_ambiguous_files_are_refused_with_remedy(tmp_path, case):
    write, message = REFUSED[case]
    path = tmp_path / "X.csv"
    path.write_text(write(truth()))
    with pytest.raises(InputError, match=message) as refused:
        load_market(str(path))
    assert "\n" not in str(refused.value)


CHOSEN: Final[dict[str, tuple[Callable[[pd.DataFrame], str], dict[str, str]]]] = {
    "day first": (lambda t: text(t, "%d/%m/%Y %H:%M"), {"time_format": "%d/%m/%Y %H:%M"}),
    "month first": (lambda t: text(t, "%m/%d/%Y %H:%M"), {"time_format": "%m/%d/%Y %H:%M"}),
    "other names": (
        lambda t: text(
            t.set_axis(["Zeit", "Erster", "Hoch", "Tief", "Letzter", "Menge"], axis=1).rename(
                columns={"Zeit": "time"}
            )
        ).replace("time", "Zeit", 1),
        {
            "columns": "time=Zeit,open=Erster,high=Hoch,low=4,close=Letzter,volume=Menge".replace(
                "low=3", "low=4"
            )
        },
    ),
    "other order": (
        lambda t: lines([[r[0], r[5], r[4], r[2], r[3], r[1]] for r in rows_of(t)]),
        {"columns": "time=1,open=6,high=4,low=5,close=3,volume=2"},
    ),
    "one of two closes": (lambda t: text(t.assign(Close=2 * t["close"])), {"columns": "close=5"}),
    "symbol": (lambda t: two_symbols(t, "symbol", minutes=0), {"symbol": "SPY"}),
    "symbol in another column": (
        lambda t: two_symbols(t, "Wertpapier", minutes=30),
        {"symbol": "SPY", "columns": "symbol=Wertpapier"},
    ),
    "zone": (
        lambda t: text(
            t.assign(
                time=t["time"]
                .dt.tz_localize("UTC")
                .dt.tz_convert("Europe/Berlin")
                .dt.tz_localize(None)
            )
        ),
        {"timezone": "Europe/Berlin"},
    ),
    "decimal comma": (
        lambda t: text(t, sep=";", decimal=","),
        {"decimal": ","},
    ),
    "date and clock by name": (
        lambda t: (
            two_columns(t, "%d/%m/%Y", "%H:%M")
            .rename(columns={"Date": "Tag", "Time": "Uhr"})
            .to_csv(index=False)
        ),
        {"columns": "time=Tag+Uhr", "time_format": "%d/%m/%Y"},
    ),
}


@pytest.mark.parametrize("case", CHOSEN)
def test_options_choose_the_reading(tmp_path, case):
    write, options = CHOSEN[case]
    path = tmp_path / "X.csv"
    path.write_text(write(truth()))
    assert_read(load_market(str(path), options=parse_options(**options)), truth())


def test_doubled_hour_is_read_in_its_zone(tmp_path):
    table = truth(start="2024-10-25")
    local = table["time"].dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin").dt.tz_localize(None)
    (tmp_path / "X.csv").write_text(text(table.assign(time=local)))
    with pytest.raises(InputError, match="repeats the time above"):
        load_market(str(tmp_path / "X.csv"))
    options = parse_options(timezone="Europe/Berlin")
    assert_read(load_market(str(tmp_path / "X.csv"), options=options), table)


def test_several_symbols_become_assets(tmp_path):
    (tmp_path / "X.csv").write_text(two_symbols(truth(), "symbol", minutes=0))
    market = load_market(str(tmp_path / "X.csv"), options=parse_options(symbol="SPY,QQQ"))
    assert market.assets == ("QQQ", "SPY")
    assert_read(market, truth(), row=1)
    with pytest.raises(InputError, match="has no symbol DAX; it has SPY, QQQ"):
        load_market(str(tmp_path / "X.csv"), options=parse_options(symbol="DAX"))


@pytest.mark.parametrize("name", ["funding", "fundingRate", "Funding Rate", "last_funding_rate"])
def test_funding_has_other_names(tmp_path, name):
    table = truth()
    rates = np.where(np.arange(BARS) % 8 == 0, 1e-4, np.nan)
    (tmp_path / "X.csv").write_text(text(table.assign(**{name: rates})))
    market = load_market(str(tmp_path / "X.csv"))
    np.testing.assert_array_equal(market.funding[0], np.nan_to_num(rates))
    assert any("empty cells" in note for note in market.report.notes)


def test_empty_volume_is_zero_and_told(tmp_path):
    table = truth()
    (tmp_path / "X.csv").write_text(text(table.assign(volume=np.nan)))
    market = load_market(str(tmp_path / "X.csv"))
    assert_read(market, table, volume=False)
    assert market.report.notes == (f"X: {BARS} empty cells of column volume are read as 0",)


@pytest.mark.parametrize("name", ["pipe.csv", "pipe.parquet", "pipe.feather", "pipe.json"])
def test_pipes_and_devices_are_refused(tmp_path, name):
    os.mkfifo(tmp_path / name)
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(InputError, match="not a regular file; save the data in a file"):
            load_market(str(path))
    with pytest.raises(InputError, match="not a regular file"):
        load_market("/dev/null")


@pytest.mark.parametrize("size", [24, 100, 1000])
def test_damaged_feather_is_refused(tmp_path, size):
    truth().to_feather(tmp_path / "X.feather")
    content = (tmp_path / "X.feather").read_bytes()
    for damaged in (
        b"FEA1" + bytes(size) + b"FEA1",
        content[:size],
        content[:size] + b"ARROW1",
        content[:8] + bytes(size) + content[-6:],
    ):
        (tmp_path / "Y.feather").write_bytes(damaged)
        with pytest.raises(InputError, match=r"Y\.feather"):
            load_market(str(tmp_path / "Y.feather"))
