"""Markets from files, samples and the generator: what is read, aligned, reported and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ga.errors import InputError
from ga.market import NANOSECONDS_PER_YEAR
from ga.sources import load_market, synthetic

HOUR = 3600 * 10**9
COLUMNS = ("open", "high", "low", "close", "volume")


def _same(market, table):
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(market, name)[0], table[name].to_numpy())


def test_file_formats_give_bit_equal_markets(tmp_path, make_frame):
    table = make_frame()
    table["funding"] = np.linspace(-1e-4, 1e-4, len(table))
    for folder in ("csv", "parquet", "feather"):
        (tmp_path / folder).mkdir()
    table.to_csv(tmp_path / "csv" / "coin.csv", index=False)
    table.to_parquet(tmp_path / "parquet" / "coin.parquet", index=False)
    table.to_feather(tmp_path / "feather" / "coin.feather")
    one = load_market(str(tmp_path / "csv"))
    other = load_market(str(tmp_path / "parquet"))
    assert one.hash == other.hash == load_market(str(tmp_path / "feather")).hash
    assert one.assets == other.assets == ("coin",)
    _same(one, table)
    np.testing.assert_array_equal(one.funding[0], table["funding"].to_numpy())
    assert one.times[0] == pd.Timestamp("2024-01-01", tz="UTC").value
    assert set(np.diff(one.times)) == {HOUR}


def test_parquet_time_index_is_read(tmp_path, make_frame):
    table = make_frame()
    indexed = table.set_index(pd.DatetimeIndex(table.pop("time"), name="Date", tz="Asia/Tokyo"))
    indexed.to_parquet(tmp_path / "coin.parquet")
    market = load_market(str(tmp_path / "coin.parquet"))
    assert market.times[0] == pd.Timestamp("2024-01-01", tz="Asia/Tokyo").value
    _same(market, table)


@pytest.mark.parametrize("column", ["Time", "DATE", "Datetime", "timestamp", "open_time", ""])
def test_time_column_has_aliases(write_csv, make_frame, column):
    table = make_frame().rename(columns={"time": column})
    assert load_market(str(write_csv(table=table))).bars == 260


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_epoch_units_give_equal_times(write_csv, unit):
    stamps = pd.date_range("2024-01-01", periods=260, freq="1h")
    epoch = stamps.as_unit(unit).astype("int64")
    market = load_market(str(write_csv(time=epoch)))
    np.testing.assert_array_equal(market.times, stamps.as_unit("ns").astype("int64"))


@pytest.mark.parametrize(
    ("suffix", "hours"), [("", 0), ("Z", 0), ("+00:00", 0), ("+02:00", -2), ("-0530", 5.5)]
)
def test_time_zones_become_utc(write_csv, make_frame, suffix, hours):
    table = make_frame()
    market = load_market(str(write_csv(time=table["time"] + suffix)))
    expected = pd.Timestamp("2024-01-01", tz="UTC") + pd.Timedelta(hours=hours)
    assert market.times[0] == expected.value


def test_z_and_zero_offset_are_equal(write_csv, make_frame):
    times = make_frame()["time"] + "Z"
    times[1::2] = times[1::2].str.replace("Z", "+00:00")
    assert load_market(str(write_csv(time=times))).bars == 260


def test_assets_are_aligned_on_common_bars(tmp_path, make_frame):
    a, b = make_frame(300, seed=1), make_frame(300, seed=2, start="2024-01-01T10:00")
    b = b.drop(index=[50, 51, 120]).reset_index(drop=True)
    b.to_csv(tmp_path / "b.csv", index=False)
    a.to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "notes.txt").write_text("not a market")
    market = load_market(str(tmp_path))
    shared = sorted(set(a["time"]) & set(b["time"]))
    assert market.assets == ("a", "b")
    assert market.bars == len(shared) == 287
    np.testing.assert_array_equal(market.times, pd.DatetimeIndex(shared).as_unit("ns").asi8)
    for row, table in enumerate((a, b)):
        kept = table[table["time"].isin(shared)]
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(market, name)[row], kept[name].to_numpy())
    assert market.report.unshared == (300 - 287) + (297 - 287)
    gaps = [(g.asset, g.missing) for g in market.report.gaps]
    assert gaps == [("b", 2), ("b", 1)]
    assert market.report.missing == 3


def test_gap_report_names_adjacent_bars(write_csv, make_frame):
    table = make_frame(400).drop(index=range(100, 107)).reset_index(drop=True)
    (gap,) = load_market(str(write_csv(table=table))).report.gaps
    start = pd.Timestamp("2024-01-01", tz="UTC").value
    assert (gap.asset, gap.missing) == ("asset", 7)
    assert (gap.after, gap.before) == (start + 99 * HOUR, start + 107 * HOUR)


def test_weekend_closures_are_not_gaps(write_csv, make_frame):
    table = make_frame(24 * 40, start="2024-01-01")
    days = pd.DatetimeIndex(table["time"])
    lost = (days >= "2024-01-17") & (days < "2024-01-24")
    open_days = days.day_of_week < 5
    market = load_market(str(write_csv(table=table[open_days & ~lost].reset_index(drop=True))))
    # Weekends after 5, 12 and 26 January and 2 February; that of the 20th is inside the lost week.
    assert market.report.closures == 4
    assert [g.missing for g in market.report.gaps] == [7 * 24]


def test_market_trading_on_saturday_has_no_closures(write_csv, make_frame):
    table = make_frame(24 * 14)
    days = pd.DatetimeIndex(table["time"])
    second_weekend = (days.day_of_week >= 5) & (days >= "2024-01-10")
    market = load_market(str(write_csv(table=table[~second_weekend].reset_index(drop=True))))
    assert market.report.closures == 0
    # The file ends with that weekend, so only what lies between two bars can be missing.
    assert market.report.gaps == ()
    first = (days.day_of_week >= 5) & (days < "2024-01-07")
    market = load_market(str(write_csv(table=table[~first].reset_index(drop=True))))
    assert [g.missing for g in market.report.gaps] == [24]


@pytest.mark.parametrize(("freq", "a_year"), [("1h", 8766.0), ("5min", 105_192.0), ("1D", 365.25)])
def test_bars_per_year_come_from_data(write_csv, make_frame, freq, a_year):
    market = load_market(str(write_csv(table=make_frame(freq=freq))))
    assert market.bars_per_year == pytest.approx(a_year)
    assert NANOSECONDS_PER_YEAR / market.step == pytest.approx(a_year)


def test_samples_are_real_markets_with_closures():
    eurusd, goog = load_market("eurusd"), load_market("goog")
    assert (eurusd.bars, goog.bars) == (5000, 2148)
    assert eurusd.report.closures > 30
    assert 6000 < eurusd.bars_per_year < 6500
    assert 250 < goog.bars_per_year < 254


def test_synthetic_market_depends_on_seed_alone():
    spec = "synthetic:assets=3,bars=300,seed=4,step_minutes=5"
    market = load_market(spec)
    assert market.hash == synthetic(assets=3, bars=300, seed=4, step_minutes=5).hash
    assert market.hash != load_market(spec.replace("seed=4", "seed=5")).hash
    # One more asset changes no other.
    wider = synthetic(assets=4, bars=300, seed=4, step_minutes=5)
    np.testing.assert_array_equal(market.close, wider.close[:3])
    assert (market.high >= np.maximum(market.open, market.close)).all()
    assert (market.low <= np.minimum(market.open, market.close)).all()


def test_markets_are_immutable_and_fully_hashed(market):
    with pytest.raises(ValueError, match="read-only"):
        market.close[0, 0] = 1.0
    seen = {market.hash}
    for name in ("open", "high", "low", "close", "volume", "funding"):
        rows = synthetic(assets=2, bars=900, seed=5)
        array = getattr(rows, name)
        array.flags.writeable = True
        array[1, 700] = np.nextafter(array[1, 700], np.inf)
        seen.add(rows.hash)
    assert len(seen) == 7


def test_head_returns_first_bars_only(market):
    head = market.head(300)
    assert head.bars == 300
    for name in (*COLUMNS, "funding"):
        np.testing.assert_array_equal(getattr(head, name), getattr(market, name)[:, :300])
        assert getattr(head, name).base is None


REFUSED_CELLS = {
    "nan price": ({(7, "close"): np.nan}, "row 9, column close is not a finite number"),
    "text price": ({(7, "open"): "n/a!"}, "row 9, column open is not a finite number"),
    "infinite price": ({(7, "high"): np.inf}, "row 9, column high is not a finite number"),
    "zero price": ({(7, "low"): 0.0}, "row 9, column low is not above zero"),
    "negative price": ({(7, "open"): -1.0}, "row 9, column open is not above zero"),
    "high below low": ({(7, "high"): 1.0}, "row 9, column high is below low"),
    "negative volume": ({(7, "volume"): -1.0}, "row 9, column volume is negative"),
    "two bad rows": (
        {(7, "low"): 0.0, (9, "low"): 0.0},
        "row 9, column low is not above zero .and 1 more",
    ),
    "no time": ({(7, "time"): ""}, "row 9, column time"),
    "not a time": ({(7, "time"): "yesterday"}, "row 9, column time is not an ISO 8601 time"),
    "repeated time": (
        {(7, "time"): "2024-01-01T06:00:00"},
        "row 9, column time repeats the time above",
    ),
    "unsorted": (
        {(7, "time"): "2023-12-31T06:00:00"},
        "row 9, column time is earlier than the row above",
    ),
    "mixed zones": ({(7, "time"): "2024-01-01T07:00:00+05:00"}, "row 9, column time mixes time zo"),
    "zone missing once": (
        {(7, "time"): "2024-01-01T07:00:00Z"},
        "row 9, column time mixes time zones",
    ),
}


@pytest.mark.parametrize("case", REFUSED_CELLS)
def test_invalid_cell_error_names_file_row_column(write_csv, case):
    cells, message = REFUSED_CELLS[case]
    path = write_csv("bad.csv", cells=cells)
    with pytest.raises(InputError, match=rf"{path.name}: {message}"):
        load_market(str(path))


def test_parquet_rows_count_from_one(tmp_path, make_frame):
    table = make_frame()
    table.loc[7, "close"] = np.nan
    table.to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(InputError, match=r"bad\.parquet: row 8, column close"):
        load_market(str(tmp_path / "bad.parquet"))


def test_epoch_times_are_validated(write_csv):
    stamps = 1_700_000_000 + 3600 * np.arange(260)
    stamps[5] = stamps[4]
    with pytest.raises(InputError, match="row 7, column time repeats"):
        load_market(str(write_csv(time=stamps)))
    with pytest.raises(InputError, match="row 4, column time is not a finite number"):
        load_market(str(write_csv(time=pd.Series(stamps).where(np.arange(260) != 2))))


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "time"])
def test_missing_column_is_named(write_csv, column):
    with pytest.raises(InputError, match=rf"bad\.csv: .*{column}"):
        load_market(str(write_csv("bad.csv", drop=column)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", "is empty"),
        ("header.csv", b"time,open,high,low,close\n", "no bars"),
        ("blank.csv", b"\n\n\n", "is empty"),
        ("binary.csv", bytes(range(128, 256)) * 20, "cannot be read"),
        ("ragged.csv", b"time,open\n1,2\n1,2,3,4\n", "cannot be read"),
        ("fake.parquet", b"PAR1 but not really", "cannot be read"),
        ("empty.parquet", b"", "cannot be read"),
        ("fake.feather", b"ARROW1 but not really", "cannot be read"),
        ("empty.feather", b"", "cannot be read"),
        ("prices.xlsx", b"PK", "unknown file type"),
        ("one.csv", b"time,open,high,low,close\n2024-01-01,1,1,1,1\n", "1 bar"),
    ],
)
def test_invalid_file_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}.*{message}"):
        load_market(str(tmp_path / name))


@pytest.mark.parametrize("spec", ["no/such/file.csv", "eurusd2", "x" * 300, "a\x00b"])
def test_missing_file_is_refused(spec):
    with pytest.raises(InputError, match="no such file or folder"):
        load_market(spec)


def test_unusable_folders_are_refused(tmp_path, make_frame):
    with pytest.raises(InputError, match=r"holds no \.csv, \.parquet or \.feather"):
        load_market(str(tmp_path))
    make_frame().to_csv(tmp_path / "a.csv", index=False)
    make_frame(start="2030-01-01").to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(InputError, match="0 bars shared by all its assets"):
        load_market(str(tmp_path))
    make_frame().to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="two files hold asset a"):
        load_market(str(tmp_path))


def test_short_history_and_partial_funding_are_refused(tmp_path, make_frame):
    make_frame(150).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match="150 bars, at least 200"):
        load_market(str(tmp_path / "a.csv"))
    make_frame().to_csv(tmp_path / "a.csv", index=False)
    make_frame().assign(funding=0.0).to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(InputError, match="a has no funding column"):
        load_market(str(tmp_path))


@pytest.mark.parametrize(
    "spec", ["bars=1", "bars=x", "colour=1", "assets=0", "bars=-5", "assets=1000,bars=1000000"]
)
def test_invalid_synthetic_specs_are_refused(spec):
    with pytest.raises(InputError, match="--market synthetic:"):
        load_market(f"synthetic:{spec}")


def test_error_row_matches_file_line(tmp_path):
    """A blank line inside a CSV must not shift the row that an error names."""
    rows = [f"2024-01-{1 + d:02d},1,1,1,1" for d in range(20)]
    rows[12] = "2024-01-13,1,1,-1,1"
    lines = ["time,open,high,low,close", *rows[:5], "", *rows[5:]]
    path = Path(tmp_path / "blank.csv")
    path.write_text("\n".join(lines) + "\n")
    line = 1 + lines.index(rows[12])
    with pytest.raises(InputError, match=rf"row {line}, column low"):
        load_market(str(path))


def test_prices_are_read_to_nearest_double(tmp_path):
    digits = np.random.default_rng(6).random((300, 1)) * 10.0 ** np.arange(-8, 8)
    prices = [f"{value:.19e}" for value in digits.ravel()[:1000]]
    times = pd.date_range("2024-01-01", periods=len(prices), freq="h", tz="UTC")
    rows = [f"{time.isoformat()},{p},{p},{p},{p}" for time, p in zip(times, prices, strict=True)]
    path = tmp_path / "exact.csv"
    path.write_text("\n".join(["time,open,high,low,close", *rows]))
    assert load_market(str(path)).close[0].tolist() == [float(price) for price in prices]


@pytest.mark.parametrize("spec", ["eurusd", "synthetic"])
def test_selecting_everything_changes_nothing(spec):
    market = load_market(spec)
    assert "[" not in market.name
    everything = load_market(spec, start="1970-01-01", end="9999-12-31", timeframe="1h")
    assert everything.hash == market.hash
    assert everything.name.endswith("[start=1970-01-01,end=9999-12-31,timeframe=1h]")


def test_selection_precedes_alignment(tmp_path, make_frame):
    a, b = make_frame(600, seed=1), make_frame(500, seed=2)
    a.to_csv(tmp_path / "a.csv", index=False)
    b.to_parquet(tmp_path / "b.parquet")
    (tmp_path / "c.csv").write_text("not read unless asked for")
    market = load_market(
        str(tmp_path), assets=["b", "a"], start="2024-01-02T03:00", end="2024-01-15T03:00+03:00"
    )
    kept = a[(a["time"] >= "2024-01-02T03:00") & (a["time"] < "2024-01-15T00:00")]
    assert market.assets == ("a", "b")
    _same(market, kept)
    selected = "assets=a+b,start=2024-01-02T03:00,end=2024-01-15T03:00+03:00"
    assert market.name == f"{tmp_path.name}[{selected}]"
    alone = load_market(str(tmp_path), assets=["a"])
    assert alone.bars == 600
    assert alone.report.unshared == 0


def test_synthetic_assets_are_selected_by_name():
    wide = load_market("synthetic:assets=5,bars=300")
    market = load_market("synthetic:assets=5,bars=300", assets=["SYN003"])
    np.testing.assert_array_equal(market.close[0], wide.close[3])


def test_timeframe_resamples_hours_to_days():
    market = load_market("synthetic:assets=2,bars=6000", timeframe="1d")
    hours = load_market("synthetic:assets=2,bars=6000")
    assert market.bars == 250
    np.testing.assert_array_equal(market.open, hours.open[:, ::24])
    np.testing.assert_array_equal(market.close, hours.close[:, 23::24])
    assert market.bars_per_year == pytest.approx(365.25)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"assets": ["EURUSD", "GBP"]}, "--assets EURUSD,GBP: market eurusd has no GBP; it has EU"),
        ({"assets": []}, "--assets: a name is empty"),
        ({"assets": ["EURUSD", " "]}, "--assets: a name is empty"),
        ({"start": "yesterday"}, "--start yesterday: not an ISO 8601 time; .* 2024-01-31T12:00"),
        ({"end": "2024-13-01"}, "--end 2024-13-01: not an ISO 8601 time"),
        ({"end": ""}, "--end : not an ISO 8601 time"),
        ({"start": "1700000000"}, "--start 1700000000: not an ISO 8601 time"),
        ({"start": "2018-01-01", "end": "2018-01-01"}, "--start .* is not before --end"),
        ({"start": "2030-01-01"}, "EURUSD has no bar .* from 2017-04-19T09:00:00 to 2018-02-07T15"),
        ({"end": "0001-01-01T00:00:00+10:00"}, "EURUSD has no bar in the range"),
        ({"start": "2018-02-01"}, "bars, at least 200 are needed"),
        ({"timeframe": "1w"}, "bars, at least 200 are needed"),
        ({"timeframe": "30m"}, "--timeframe 30m: the bars of EURUSD are of 1h"),
    ],
)
def test_invalid_selections_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        load_market("eurusd", **options)
