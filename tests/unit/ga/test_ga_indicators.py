"""Indicators against TA-Lib, over every period that a family can ask for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import talib

from ga.backtest.panel import Panel
from ga.families import indicators
from ga.families.bollinger_bands import bands
from ga.families.features import COUNT, WARM_UP, ahead, features
from ga.families.ichimoku_cloud import middles
from ga.families.nadaraya_watson import estimates
from ga.families.stochastic_oscillator import slow_d
from ga.families.volatility_scaling import mean_squares
from ga.market import Market
from ga.sources import load_market, synthetic


@pytest.fixture(scope="module", params=["eurusd", "goog", "synthetic"])
def market(request) -> Market:
    if request.param == "synthetic":
        return synthetic(assets=1, bars=1500, seed=3)
    return load_market(request.param)


@pytest.fixture(scope="module")
def ohlc(market):
    return [getattr(market, name)[0].copy() for name in ("open", "high", "low", "close")]


def equal(found: np.ndarray, expected: np.ndarray, scale: float = 1.0) -> None:
    """To 1e-9 of the scale, NaN in the same places."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * scale)


def test_rsi_matches_talib(ohlc):
    close = ohlc[3]
    for row, period in zip(indicators.rsi(close, 10, 20), range(10, 21), strict=True):
        equal(row, talib.RSI(close, period))


def test_atr_and_true_range_match_talib(ohlc):
    _, high, low, close = ohlc
    equal(indicators.true_range(high, low, close)[1:], talib.TRANGE(high, low, close)[1:], close[0])
    rows = indicators.atr(high, low, close, 10, 20)
    for row, period in zip(rows, range(10, 21), strict=True):
        equal(row, talib.ATR(high, low, close, period), close[0])


def test_stochastic_oscillator_matches_talib(ohlc):
    _, high, low, close = ohlc
    fast = indicators.stochastic_k(high, low, close, 10, 20)
    slow = slow_d(fast, 2, 5)
    for i, k in enumerate(range(10, 21)):
        for j, d in enumerate(range(2, 6)):
            wanted, smooth = talib.STOCHF(high, low, close, k, d, 0)
            # TA-Lib begins both lines where the second one can.
            equal(fast[i, k + d - 2 :], wanted[k + d - 2 :])
            equal(slow[i * 4 + j, k + d - 2 :], smooth[k + d - 2 :])


def test_rolling_extremes_and_midpoints_match_talib(ohlc):
    _, high, low, _ = ohlc
    tops, bottoms, lines = (
        indicators.highest(high, 80),
        indicators.lowest(low, 80),
        middles(high, low, 80),
    )
    for period in (2, 7, 30, 80):
        np.testing.assert_array_equal(
            tops[period - 1, period - 1 :], talib.MAX(high, period)[period - 1 :]
        )
        np.testing.assert_array_equal(
            bottoms[period - 1, period - 1 :], talib.MIN(low, period)[period - 1 :]
        )
        wanted = talib.MIDPRICE(high, low, period)
        equal(lines[period - 1, period - 1 :], wanted[period - 1 :], high[0])
        # Shorter at the start, never longer.
        assert tops[period - 1, period // 2] == high[: period // 2 + 1].max()


def test_moving_averages_match_talib(ohlc):
    close = ohlc[3]
    rows, sums = indicators.ema(close, 5, 34), indicators.prefix(close)[0]
    for period in (5, 17, 34):
        padded = talib.EMA(np.concatenate([np.full(period - 1, close[0]), close]), period)
        equal(rows[period - 5], padded[period - 1 :], close[0])
    for period in (30, 80, 150, 300):
        found = (sums[period:] - sums[:-period]) / period
        equal(found, talib.SMA(close, period)[period - 1 :], close[0])


def test_deviations_and_bands_match_reference(ohlc):
    close = ohlc[3]
    mean, std = indicators.deviation(close, 10, 40)
    table = bands(close)
    for row, period in enumerate(range(10, 41)):
        rolling = pd.Series(close).rolling(period)
        equal(mean[row], rolling.mean().to_numpy(), close[0])
        # The deviation of a window that hardly moves is lost in pandas' running sums: by hand.
        for t in range(period - 1, close.size, 97):
            assert std[row, t] == pytest.approx(close[t - period + 1 : t + 1].std(), rel=1e-9)
        width = std[row] / mean[row]
        for t in range(period + 125, close.size, 89):
            window = width[t - 125 : t]
            part = (width[t - 1] - window.min()) / (window.max() - window.min())
            assert table[31 + row, t] == pytest.approx(part, abs=1e-12)
            assert table[row, t] == pytest.approx((close[t] - mean[row, t]) / std[row, t])


def test_variances_match_the_window():
    returns = np.random.default_rng(0).normal(0.0, 0.01, 900)
    sums = indicators.prefix(returns**2)[0]
    for times in (1, 4):
        rows = mean_squares(sums, 10, 40, times)
        for row, period in enumerate(range(10, 41)):
            n = times * period
            wanted = pd.Series(returns**2).rolling(n).mean().to_numpy()
            np.testing.assert_allclose(rows[row, n:], wanted[n:], rtol=1e-9)


def test_kernel_regression_matches_formula(ohlc):
    close = ohlc[3]
    table = estimates(close)
    for h in (5, 20, 40):
        for kind in (0, 1):
            taps = 3 * h + 1 if kind == 0 else h
            u = np.arange(taps) / h
            weights = np.exp(-0.5 * u**2) if kind == 0 else 1.0 - u**2
            for t in (taps - 1, 400, close.size - 1):
                past = close[t - taps + 1 : t + 1][::-1]
                wanted = np.average(past, weights=weights)
                assert table[kind * 36 + h - 5, t] == pytest.approx(wanted, rel=1e-12)
            assert np.isnan(table[kind * 36 + h - 5, : taps - 1]).all()


def test_features_are_finite_and_scaled(market):
    panel = Panel(market, 0)
    table = features(panel)
    assert table.shape == (market.bars, COUNT)
    assert np.isfinite(table).all()
    assert not table[:WARM_UP].any()
    spread = table[WARM_UP:].std(axis=0)
    # Volume is missing from no market here; every feature says something.
    assert ((spread > 0.1) & (spread < 4.0)).all(), spread
    outcome = ahead(panel)
    close = market.close[0]
    assert outcome[100] == close[105] / close[100] - 1.0
    assert np.isnan(outcome[-5:]).all()
