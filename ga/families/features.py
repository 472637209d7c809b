"""Inputs of the learned families: fifteen causal features, computed once per market.

Each is about -3..3 on ordinary data and known at the close of its bar.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ga.backtest.panel import Panel
from ga.families.indicators import (
    atr,
    close_sums,
    deviation,
    ema,
    highest,
    lowest,
    path_sums,
    rsi,
    stochastic_k,
    volume_sums,
)

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

COUNT: Final = 15
WARM_UP: Final = 64
"""Bars before all features are known."""
HORIZON: Final = 5
"""Bars ahead that the models predict."""
REFIT: Final = 500
"""Bars between two fits: at bars 500, 1000, ... of the market, whatever its length."""


def features(panel: Panel) -> Floats:
    """(T, 15), zero during the warm-up and where a feature has no value."""
    return panel.bank("features", _features)


def ahead(panel: Panel) -> Floats:
    """(T,) relative change of the close over the next HORIZON bars, NaN for the last ones.

    For training on the past, never for trading.
    """

    def build(p: Panel) -> Floats:
        out = np.full(p.bars, np.nan)
        out[:-HORIZON] = p.close[HORIZON:] / p.close[:-HORIZON] - 1.0
        return out

    return panel.bank("ahead", build)


def _features(panel: Panel) -> Floats:
    close, bars = panel.close, panel.bars
    unit = np.zeros(bars)
    unit[32:] = (path_sums(panel)[0][33:] - path_sums(panel)[0][1:-32]) / 32
    columns: list[Floats] = []

    def add(values: Floats, per: Floats | None = None) -> None:
        per = np.ones(bars) if per is None else per
        column = np.divide(values, per, out=np.zeros(bars), where=per > 0.0)
        columns.append(np.where(np.isfinite(column), column, 0.0))

    def change(n: int) -> Floats:
        out = np.zeros(bars)
        out[n:] = close[n:] - close[:-n]
        return out

    mean, std = deviation(close, 20, 20)
    averages = ema(close, 12, 48)
    top, bottom = highest(panel.high, 60)[-1], lowest(panel.low, 60)[-1]
    ranges = atr(panel.high, panel.low, close, 14, 14)[0]
    usual = np.zeros(bars)
    usual[32:] = (volume_sums(panel)[0][33:] - volume_sums(panel)[0][1:-32]) / 32
    trend = np.zeros(bars)
    trend[47:] = close[47:] - (close_sums(panel)[0][48:] - close_sums(panel)[0][:-48]) / 48
    add(change(1), unit)
    add(change(5), unit * np.sqrt(5))
    add(close - mean[0], std[0])
    add(averages[0] - averages[26 - 12], unit)
    add((rsi(close, 14, 14)[0] - 50.0) / 15.0)
    add((stochastic_k(panel.high, panel.low, close, 14, 14)[0] - 50.0) / 30.0)
    add(change(20), unit * np.sqrt(20))
    add(ranges, unit)
    add(panel.volume - usual, usual)
    add(close - 0.5 * (top + bottom), 0.25 * (top - bottom))
    add(change(2), unit * np.sqrt(2))
    add(change(10), unit * np.sqrt(10))
    add(close - panel.open, unit)
    add(panel.high + panel.low - 2.0 * close, unit)
    add(trend, unit * np.sqrt(48))
    table = np.column_stack(columns)
    table[:WARM_UP] = 0.0
    return np.ascontiguousarray(np.clip(table, -10.0, 10.0))
