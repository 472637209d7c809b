"""True bars, and texts that hold them in many layouts."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

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
