"""Coarser bars out of finer ones, against pandas, and the selection of assets and times."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ga.errors import InputError
from ga.market import Series
from ga.sources import load_market
from ga.sources.resample import format_timeframe, parse_timeframe, resample

MINUTE = 60 * 10**9
OHLC = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}


def make(times, *, seed=0, funding=True) -> Series:
    rng = np.random.default_rng(seed)
    times = np.asarray(times, dtype=np.int64)
    close = 100.0 + np.cumsum(rng.normal(0.0, 0.1, times.size))
    open_ = close + rng.normal(0.0, 0.1, times.size)
    return Series(
        asset="X",
        times=times,
        open=open_,
        high=np.maximum(open_, close) + rng.random(times.size),
        low=np.minimum(open_, close) - rng.random(times.size),
        close=close,
        volume=rng.random(times.size),
        funding=rng.normal(0.0, 1e-5, times.size) if funding else None,
    )


@given(
    own=st.sampled_from([1, 5, 15, 60, 1440]),
    factor=st.integers(2, 24),
    bars=st.integers(2, 200),
    first=st.integers(0, 10**5),
    drop=st.sets(st.integers(1, 198), max_size=20),
    funding=st.booleans(),
    seed=st.integers(0, 9),
)
def test_resampling_matches_pandas(own, factor, bars, first, drop, funding, seed):
    index = (np.arange(bars) + first) * own * MINUTE
    keep = np.ones(bars, dtype=bool)
    # Few enough holes for the median step to stay the bars' own.
    keep[[i for i in drop if i < bars - 1][: bars // 5]] = False
    series = make(index[keep], seed=seed, funding=funding)
    step = factor * own * MINUTE
    made = resample(series, step)

    columns = {**OHLC, **({"funding": "sum"} if funding else {})}
    frame = pd.DataFrame(
        {name: getattr(series, name) for name in columns}, index=pd.to_datetime(series.times)
    )
    expected = frame.resample(pd.Timedelta(step, "ns"), origin="epoch").agg(columns).dropna()
    starts = expected.index.as_unit("ns").asi8
    whole = (starts >= index[0]) & (starts + step <= index[-1] + own * MINUTE)
    expected, starts = expected[whole], starts[whole]
    np.testing.assert_array_equal(made.times, starts)
    for name in ("open", "high", "low", "close"):
        np.testing.assert_array_equal(getattr(made, name), expected[name].to_numpy())
    for name in ("volume", "funding") if funding else ("volume",):
        np.testing.assert_allclose(getattr(made, name), expected[name].to_numpy(), atol=1e-15)
    assert (made.funding is None) == (not funding)
    assert made.asset == "X"
    assert made.times.dtype == np.int64
    assert {getattr(made, n).dtype for n in OHLC} == {np.dtype(np.float64)}


def test_incomplete_bucket_is_never_visible():
    """A series cut anywhere gives a prefix of the buckets of the whole one."""
    series = make(np.arange(100) * 60 * MINUTE)
    full = resample(series, 240 * MINUTE)
    for bars in range(2, 100):
        cut = Series(**{
            name: value if isinstance(value, str) else value[:bars]
            for name, value in vars(series).items()
        })  # fmt: skip
        part = resample(cut, 240 * MINUTE)
        assert part.times.size == bars // 4
        np.testing.assert_array_equal(part.close, full.close[: part.times.size])


def test_resampling_to_same_step_changes_nothing():
    series = make(30 * MINUTE + np.arange(50) * 60 * MINUTE)
    assert resample(series, 60 * MINUTE) is series


@pytest.mark.parametrize(
    ("step", "message"),
    [("30m", "the bars of X are of 1h; give a multiple"), ("90m", "give a multiple of that")],
)
def test_incompatible_step_is_refused(step, message):
    with pytest.raises(InputError, match=f"--timeframe {step}: .*{message}"):
        resample(make(np.arange(50) * 60 * MINUTE), parse_timeframe(step))


@pytest.mark.parametrize("bars", [0, 1])
def test_series_without_step_is_refused(bars):
    with pytest.raises(InputError, match=f"X has {bars} bars"):
        resample(make(np.arange(bars)), parse_timeframe("1h"))


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("1m", 1), ("5m", 5), ("1h", 60), ("4h", 240), ("1d", 1440), ("1w", 10080)],
)
def test_timeframes_round_trip(text, minutes):
    assert parse_timeframe(text) == minutes * MINUTE
    assert format_timeframe(minutes * MINUTE) == text


@pytest.mark.parametrize(
    "text", ["", "h", "0h", "-1h", "1.5h", "1M", "1H", "1 h", "1y", "h1", "٣h", "999999w", "1h\n"]
)
def test_invalid_timeframes_are_refused(text):
    with pytest.raises(InputError, match=r"--timeframe (.|\n)*not a time frame; .* such as 5m, 1h"):
        load_market("eurusd", timeframe=text)


def test_odd_steps_are_formatted():
    assert format_timeframe(1_500_000_000) == "1.5s"
