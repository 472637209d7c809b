"""Folders of market files: months, parts of a data set, funding and mark files, time frames."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from ga.cli.main import main
from ga.errors import InputError
from ga.sources import load_market
from ga.sources.reading import parse_options

HOUR = 3600 * 10**9
PRICES = ("open", "high", "low", "close")


def aware(table):
    """With the column names and times of freqtrade."""
    date = pd.to_datetime(table["time"], utc=True)
    return table.assign(time=date).rename(columns={"time": "date"})


def assert_same(market, table):
    np.testing.assert_array_equal(market.times, pd.DatetimeIndex(table["time"]).as_unit("ns").asi8)
    for name in (*PRICES, "volume"):
        np.testing.assert_array_equal(getattr(market, name)[0], table[name].to_numpy())


@pytest.mark.parametrize(
    ("names", "asset"),
    [
        (("BTCUSDT-1h-2024-01", "BTCUSDT-1h-2024-02"), "BTCUSDT-1h"),
        (("DAT_ASCII_EURUSD_M1_202402", "DAT_ASCII_EURUSD_M1_202401"), "DAT_ASCII_EURUSD_M1"),
        (("X_2024-01-01", "X_2024-02-15"), "X"),
    ],
)
def test_files_of_months_are_one_asset(tmp_path, make_frame, names, asset):
    table = make_frame(400)
    for name, half in zip(sorted(names), (table[:250], table[250:]), strict=True):
        half.to_csv(tmp_path / f"{name}.csv", index=False)
    market = load_market(str(tmp_path))
    assert market.assets == (asset,)
    assert_same(market, table)


def test_overlapping_periods_stay_two_assets(tmp_path, make_frame):
    make_frame(300, seed=1).to_csv(tmp_path / "ES-2024-03.csv", index=False)
    make_frame(300, seed=2).to_csv(tmp_path / "ES-2024-06.csv", index=False)
    assert load_market(str(tmp_path)).assets == ("ES-2024-03", "ES-2024-06")


def test_parts_of_a_data_set_are_one_asset(tmp_path, make_frame):
    table = make_frame(400)
    for number, part in enumerate((table[200:], table[:200])):
        part.to_parquet(tmp_path / f"part-{number:05}-ab12.parquet")
    market = load_market(str(tmp_path))
    assert market.assets == (tmp_path.name,)
    assert_same(market, table)
    table[100:150].to_parquet(tmp_path / "part-00002-ab12.parquet")
    with pytest.raises(InputError, match="remove the bars that are in both"):
        load_market(str(tmp_path))


def test_partitioned_data_set_has_symbols(tmp_path, make_frame):
    tables = {"BTC": make_frame(400, seed=1), "ETH": make_frame(400, seed=2)}
    for symbol, table in tables.items():
        for year, part in ((2024, table[:200]), (2025, table[200:])):
            folder = tmp_path / f"symbol={symbol}" / f"year={year}"
            folder.mkdir(parents=True)
            part.to_parquet(folder / "0.parquet")
    market = load_market(str(tmp_path))
    assert market.assets == ("BTC", "ETH")
    for row, table in enumerate(tables.values()):
        np.testing.assert_array_equal(market.close[row], table["close"].to_numpy())


def test_freqtrade_funding_joins_its_pair(tmp_path, make_frame):
    table = make_frame(300)
    rates = make_frame(300)[::8].reset_index(drop=True)
    rates["open"] = np.linspace(-1e-4, 2e-4, len(rates))
    rates[["high", "low", "close", "volume"]] = 0.0
    aware(table).to_feather(tmp_path / "BTC_USDC_USDC-1h-futures.feather")
    aware(rates).to_feather(tmp_path / "BTC_USDC_USDC-8h-funding_rate.feather")
    aware(table).to_feather(tmp_path / "BTC_USDC_USDC-8h-mark.feather")
    market = load_market(str(tmp_path))
    assert market.assets == ("BTC_USDC_USDC-1h-futures",)
    assert_same(market, table)
    expected = np.zeros(300)
    expected[::8] = rates["open"]
    np.testing.assert_array_equal(market.funding[0], expected)


def test_funding_times_fall_into_their_bar(tmp_path, make_frame):
    make_frame(300).to_csv(tmp_path / "BTC.csv", index=False)
    start = 1_704_067_200_000
    times = [start - 1, start, start + 7, start + 3_599_999, start + 3_600_000, start + 10**10]
    rates = pd.DataFrame({"calc_time": times, "last_funding_rate": [64.0, 1, 2, 4, 8, 128]})
    rates.to_csv(tmp_path / "BTC-fundingRate.csv", index=False)
    funding = load_market(str(tmp_path)).funding[0]
    assert funding[:3].tolist() == [7.0, 8.0, 0.0]
    assert funding.sum() == 15.0


def test_time_frames_of_one_asset_are_refused(tmp_path, make_frame):
    make_frame(300).to_csv(tmp_path / "BTC-1h.csv", index=False)
    make_frame(3600, freq="5min").to_csv(tmp_path / "BTC-5m.csv", index=False)
    make_frame(300).to_csv(tmp_path / "ETH-1h.csv", index=False)
    with pytest.raises(InputError, match=r"60 minutes in BTC-1h, 5 in BTC-5m; .* --assets"):
        load_market(str(tmp_path))
    assert load_market(str(tmp_path), assets=["BTC-1h", "ETH-1h"]).bars == 300
    equal = load_market(str(tmp_path), timeframe="1h")
    assert len(equal.assets) == 3


def test_daily_history_is_not_dropped_unsaid(tmp_path, make_frame):
    """A short asset is left out, but not one whose bars are merely longer."""
    make_frame(9600).to_csv(tmp_path / "BTC.csv", index=False)
    make_frame(400, freq="1D").to_csv(tmp_path / "ETH.csv", index=False)
    with pytest.raises(InputError, match="bars of different lengths: 1440 minutes in ETH"):
        load_market(str(tmp_path))


def test_hidden_and_other_files_are_not_read(tmp_path, make_frame):
    table = make_frame()
    table.to_csv(tmp_path / "BTC.csv", index=False)
    (tmp_path / "._BTC.csv").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X\xff\xfe")
    (tmp_path / ".~lock.BTC.csv#").write_text(",")
    (tmp_path / "settings.json").write_text("{}")
    (tmp_path / "read me.txt").write_text("prices")
    assert load_market(str(tmp_path)).assets == ("BTC",)


def test_folders_of_other_formats_are_read(tmp_path, make_frame):
    table = make_frame()
    epochs = pd.DatetimeIndex(table["time"]).as_unit("ms").asi8
    rows = table.assign(time=epochs).to_numpy(dtype=object).tolist()
    packed = gzip.compress(table.to_csv(index=False).encode())
    for name, write in {
        "gz": lambda f: (f / "X.csv.gz").write_bytes(packed),
        "json": lambda f: (f / "X.json").write_text(json.dumps(rows)),
        "txt": lambda f: (f / "X.us.txt").write_text(table.to_csv(index=False)),
    }.items():  # fmt: skip
        (tmp_path / name).mkdir()
        write(tmp_path / name)
        assert_same(load_market(str(tmp_path / name)), table)
    with pytest.raises(InputError, match="to read its folder gz, name"):
        load_market(str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time_format": "minutes"}, "--time-format minutes: give s, ms, us, ns, excel, or a form"),
        ({"columns": "open"}, "--columns open: 'open' is not ROLE=COLUMN"),
        ({"columns": "price=3"}, "--columns price=3: 'price' is none of time, open"),
        ({"columns": "open=none"}, "--columns open=none: open is always needed"),
        ({"columns": "open=1,open=2"}, "open is given twice"),
        ({"timezone": "Mars/Base"}, "--timezone Mars/Base: not a time zone"),
        ({"symbol": "A,,B"}, "--symbol: a name is empty"),
        ({"decimal": "x"}, "--decimal x: give . or ,"),
    ],
)
def test_invalid_reading_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        parse_options(**options)


def test_reading_options_apply_to_files_only():
    with pytest.raises(InputError, match="--timezone: applies to market files only"):
        load_market("synthetic", options=parse_options(timezone="Europe/Berlin"))


def suspicious(make_frame) -> pd.DataFrame:
    """A gap of 5 bars, a spike, a split, and 20 flat bars."""
    table = make_frame(600)
    steady = 100 + np.sin(np.arange(600))
    steady[300:] /= 4
    steady[450:470] = steady[449]
    steady[200] *= 2
    table["open"] = table["high"] = table["low"] = table["close"] = steady
    return table.drop(index=range(100, 105)).reset_index(drop=True)


def test_data_check_shows_reading_and_suspects(tmp_path, make_frame, capsys):
    table = suspicious(make_frame).rename(columns={"time": "Gmt time"})
    path = tmp_path / "X.csv"
    path.write_text("# made by x\n" + table.assign(note="a").to_csv(index=False, sep=";"))
    page = tmp_path / "page.html"
    assert main(["data", "check", str(path), "--out", str(page)]) == 0
    printed = capsys.readouterr().out
    for words in ("semicolon", "Gmt time", "ISO 8601", "line 2", "not used     note",
                  "2024-01-05 03:00:00  2024-01-05 09:00:00        5",
                  "split  2024-01-13 12:00:00     1  4:1", "warning: X: 1 bars where"):  # fmt: skip
        assert words in printed
    html = page.read_text()
    assert html.count('class="gap"') == 1
    assert html.count('class="spike"') == 1
    assert html.count('class="split"') == 1
    assert html.count('class="flat"') == 1
    assert "http" not in html.replace("http-equiv", "")


def test_data_check_prints_one_json_value(tmp_path, make_frame, capsys):
    suspicious(make_frame).to_csv(tmp_path / "X.csv", index=False)
    assert main(["data", "check", str(tmp_path / "X.csv"), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["bars"], found["missing"]) == (595, 5)
    assert [suspect["kind"] for suspect in found["suspects"]] == ["spike", "split", "flat"]
    assert found["suspects"][2]["bars"] in (19, 20)
    assert found["readings"][0]["columns"]["close"] == "close"


def test_data_check_refuses_in_one_line(tmp_path, capsys):
    assert main(["data", "check", str(tmp_path / "none.csv")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_flat_weekends_are_told(tmp_path, make_frame):
    table = make_frame(24 * 21)
    weekend = pd.DatetimeIndex(table["time"]).day_of_week >= 5
    price = table["close"].where(~weekend).ffill()
    for name in PRICES:
        table[name] = table[name].where(~weekend, price)
    table["volume"] = table["volume"].where(~weekend, 0.0)
    table.to_csv(tmp_path / "X.csv", index=False)
    market = load_market(str(tmp_path / "X.csv"))
    assert market.bars == 24 * 21
    assert any("at weekends without volume" in note for note in market.report.notes)
