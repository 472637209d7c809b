"""Markets from pandas data frames: read like the CSV files with the same data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ga
from ga.sources import synthetic

BARS = 400


def frame(asset: int = 0, bars: int = BARS) -> pd.DataFrame:
    """Hourly bars with an index of UTC times."""
    made = synthetic(assets=2, bars=bars, seed=1)
    names = ("open", "high", "low", "close", "volume")
    index = pd.DatetimeIndex(made.times, tz="UTC", name="time")
    return pd.DataFrame({name: getattr(made, name)[asset] for name in names}, index=index)


def both() -> dict[str, pd.DataFrame]:
    return {"AAA": frame(0), "BBB": frame(1)}


LAYOUTS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "index of UTC times": lambda f: f,
    "index without offset": lambda f: f.tz_localize(None),
    "index without name": lambda f: f.rename_axis(None),
    "column of times": lambda f: f.reset_index(),
    "column of text": lambda f: f.reset_index().astype({"time": "string"}),
    "epoch milliseconds": lambda f: (
        f.reset_index().assign(time=f.index.as_unit("ms").asi8, Time=None).drop(columns="Time")
    ),
    "index of periods": lambda f: f.set_index(f.index.tz_localize(None).to_period("h")),
    "capital letters": lambda f: f.rename(columns=str.title).rename_axis("Date"),
    "objects": lambda f: f.reset_index().astype(object),
    "newest first": lambda f: f.iloc[::-1],
    "rows numbered anyhow": lambda f: f.reset_index().set_axis(range(7, 7 + BARS)),
    "other columns": lambda f: f.assign(rsi=50.0, comment="none"),
    "names of two levels": lambda f: pd.concat({"AAA": f}, axis=1).swaplevel(axis=1),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "prices.csv"
    frame().to_csv(path)
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_frame_gives_market_of_csv_file(layout: str, file: Path) -> None:
    market = ga.load_market(LAYOUTS[layout](frame()), name="prices")
    assert market.hash == ga.load_market(file).hash
    assert market.assets == ("prices",)


def test_time_zone_places_naive_times(file: Path) -> None:
    local = frame().tz_convert("Asia/Tokyo").tz_localize(None)
    market = ga.load_market(local, name="prices", timezone="Asia/Tokyo")
    assert market.hash == ga.load_market(file).hash


def test_mapping_gives_market_of_folder(tmp_path: Path) -> None:
    for name, one in both().items():
        one.to_csv(tmp_path / f"{name}.csv")
    market = ga.load_market(both())
    assert market.hash == ga.load_market(tmp_path).hash
    assert ga.load_market(both(), assets="BBB").assets == ("BBB",)


@pytest.mark.parametrize("layout", ["rows", "index", "columns"])
def test_symbol_selects_assets_of_one_frame(layout: str) -> None:
    rows = pd.concat(both(), names=["symbol", "time"])
    made = {
        "rows": rows.reset_index(),
        "index": rows,
        "columns": pd.concat(both(), axis=1).swaplevel(axis=1),
    }[layout]
    with pytest.raises(ga.InputError, match=r"holds 2 symbols .*choose .*with symbol AAA"):
        ga.load_market(made)
    market = ga.load_market(made, symbol=["AAA", "BBB"])
    assert market.hash == ga.load_market(both()).hash


def test_coarser_bars_and_range_of_frame() -> None:
    made = frame(bars=1000)
    start, end = made.index[24].to_pydatetime(), "2020-02-01"
    market = ga.load_market(made, time_frame="2h", start=start, end=end)
    assert market.step == 2 * 3600 * 10**9
    assert market.times[0] == made.index[24].value
    assert market.times[-1] == pd.Timestamp("2020-01-31 22:00", tz="UTC").value


def with_value(column: str, value: float) -> pd.DataFrame:
    made = frame()
    made.loc[made.index[17], column] = value
    return made


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "high below low": (lambda: with_value("high", 0.5), "row 17, column high is below low"),
    "no number": (lambda: with_value("close", np.nan), "row 17, column close is not a finite"),
    "negative": (lambda: with_value("volume", -1.0), "row 17, column volume is negative"),
    "no time": (lambda: frame().reset_index(drop=True), "no time column .*as in columns 'time="),
    "no close": (lambda: frame().drop(columns="close"), "column close is missing"),
    "two closes": (lambda: frame().assign(Close=1.0), "2 columns can be close: .* columns close=5"),
    "two times": (
        lambda: frame().assign(timestamp=np.arange(BARS) * 1000 + 10**9),
        "column time .* and column timestamp .* give different times",
    ),
    "two volumes": (
        lambda: frame().rename(columns={"volume": "Volume A"}).assign(VolumeB=3.0),
        "2 columns can be volume: Volume A, VolumeB; choose with columns 'volume=Volume A'",
    ),
    "repeated time": (lambda: pd.concat([frame(), frame().iloc[-1:]]), "repeats the time above"),
    "mixed symbols": (
        lambda: pd.concat([both()["AAA"].assign(who="A"), both()["BBB"].assign(who="B")]),
        "is earlier than the row above; .*columns symbol=who symbol A",
    ),
    "no rows": (lambda: frame().iloc[:0], "no bars"),
    "array": (lambda: frame().to_numpy(), "ndarray is not a path, pandas.DataFrame or mapping"),
    "list in mapping": (lambda: {"AAA": [1.0]}, "'AAA': list is not a pandas.DataFrame"),
    "number as name": (lambda: {1: frame()}, "market 1: DataFrame is not a .* with the name"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_frame_is_refused_in_one_line(case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(ga.InputError, match=message) as refused:
        ga.load_market(make())  # type: ignore[arg-type]
    text = str(refused.value)
    assert "\n" not in text
    assert "--" not in text


def test_columns_choose_between_candidates() -> None:
    doubled = frame().assign(Close=1.0)
    market = ga.load_market(doubled, columns={"close": 5})
    assert market.hash == ga.load_market(frame()).hash
    assert not ga.load_market(frame(), columns={"volume": "none"}).volume.any()
    with pytest.raises(ga.InputError, match="'a,b' has a comma; give its number"):
        ga.load_market(frame(), columns={"close": "a,b"})


def test_options_that_do_not_apply_are_refused() -> None:
    with pytest.raises(ga.InputError, match="symbol AAA: the mapping already names"):
        ga.load_market(both(), symbol="AAA")
    with pytest.raises(ga.InputError, match="name x: a path has a name of its own"):
        ga.load_market("synthetic", name="x")
    with pytest.raises(ga.InputError, match=r"^time_frame 7 bananas"):
        ga.load_market(frame(), time_frame="7 bananas")


def test_market_keeps_its_bars_when_frame_changes() -> None:
    made = frame()
    # A column of its own: pandas changes it in place when no other frame refers to it.
    close = made.pop("close").to_numpy(copy=True)
    made["close"] = close
    market = ga.load_market(made)
    before = market.close.copy()
    made.loc[:, "close"] = 1.0
    assert made["close"].eq(1.0).all()
    assert np.array_equal(market.close, before)
    assert not market.close.flags.writeable
