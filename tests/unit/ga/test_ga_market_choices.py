"""Files that can be read in two ways: refused with a remedy, and read as an option chooses."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import numpy as np
import pandas as pd
import pytest

from ga.errors import InputError
from ga.sources import load_market
from ga.sources.reading import parse_options
from tests.support.market_layouts import (
    BARS,
    NAMES,
    assert_read,
    epoch,
    lines,
    rows_of,
    text,
    truth,
    two_columns,
)


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
