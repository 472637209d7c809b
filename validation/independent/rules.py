"""The rule families as plain state machines, written from their descriptions.

Each function takes the prices of one asset and the genes in their order, and returns the target
position (T,) at every close.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np

from validation.independent.prices import (
    Floats,
    Prices,
    changes,
    ema,
    highest,
    lowest,
    totals,
    true_ranges,
    wilder,
)
from validation.independent.reversion import (
    bollinger_bands,
    rsi_filter,
    stochastic_oscillator,
    vwap_reversion,
)
from validation.independent.slow_rules import (
    funding_rate_carry,
    nadaraya_watson,
    volatility_scaling,
)
from validation.independent.states import earlier, sides, sized

Rule = Callable[[Prices, Sequence[float]], Floats]
_CALM: Final = 100


def ema_crossover(prices: Prices, genes: Sequence[float]) -> Floats:
    """Separation of two exponential averages, with momentum."""
    fast, slow, momentum, strength, trend = genes
    close = prices.close
    quick = prices.keep("ema", int(fast), of=lambda: ema(close, int(fast)))
    lasting = prices.keep("ema", int(slow), of=lambda: ema(close, int(slow)))
    apart, moved = quick / lasting - 1.0, close / earlier(close, int(slow)) - 1.0
    found = sides(
        int(slow),
        (apart > trend) & (moved > momentum),
        (apart < -trend) & (moved < -momentum),
        apart < 0.0,
        apart > 0.0,
    )
    return sized(found, lambda _t, _side: strength)


def donchian_breakout(prices: Prices, genes: Sequence[float]) -> Floats:
    """Closes beyond the channel of the bars before."""
    period, buffer, confirm, hold, bias = int(genes[0]), genes[1], genes[2], int(genes[3]), genes[4]
    close, volume = prices.close, prices.volume
    upper = earlier(
        prices.keep("highest", period, of=lambda: highest(prices.high, period)), 1
    ).tolist()
    lower = earlier(
        prices.keep("lowest", period, of=lambda: lowest(prices.low, period)), 1
    ).tolist()
    usual = earlier(prices.keep("volumes", period, of=lambda: totals(volume, period)), 1)
    loud = (volume * period >= usual * confirm).tolist()
    sums = np.concatenate([[0.0], np.cumsum(close)]).tolist()
    price, out, position = close.tolist(), np.zeros(close.size), 0.0
    entered = 0
    for t in range(2 * period, close.size):
        up = loud[t] and price[t] > upper[t] * (1.0 + buffer)
        down = loud[t] and price[t] < lower[t] * (1.0 - buffer)
        side = 1.0 if position > 0.0 else -1.0
        if (up or down) if position == 0.0 else (down if side > 0.0 else up):
            side = 1.0 if up else -1.0
            span = min(8 * period, t + 1)
            trend = price[t] - (sums[t + 1] - sums[t + 1 - span]) / span
            position, entered = side if side * trend > 0.0 else side * (1.0 - bias), t
        elif position != 0.0:
            level = upper[entered] if side > 0.0 else lower[entered]
            back = side * (price[t] - (upper[t] + lower[t]) / 2.0) < 0.0
            if back or (t - entered <= hold and side * (price[t] - level) < 0.0):
                position = 0.0
        out[t] = position
    return out


def sma_trend_filter(prices: Prices, genes: Sequence[float]) -> Floats:
    """Two simple averages, a straight trend and a leading close."""
    fast, slow, span = (int(gene) for gene in genes[:3])
    need, lead, close = genes[3], genes[4], prices.close
    quick = prices.keep("closes", fast, of=lambda: totals(close, fast)) / fast
    lasting = prices.keep("closes", slow, of=lambda: totals(close, slow)) / slow
    path = prices.keep("path", span, of=lambda: totals(changes(close), span))
    move = close - earlier(close, span)
    found = sides(
        slow - 1,
        (move > path * need / 2.0) & (quick > lasting) & (close - quick > path / span * lead),
        (-move > path * need / 2.0) & (quick < lasting) & (quick - close > path / span * lead),
        (quick < lasting) | (close < lasting),
        (quick > lasting) | (close > lasting),
    )
    return sized(found, lambda _t, _side: 1.0)


def atr_stop_loss(prices: Prices, genes: Sequence[float]) -> Floats:
    """Follows a move beyond the average true range, out at a stop that trails."""
    n, stops, trails, factor, adjust = int(genes[0]), *genes[1:]
    ranges = prices.keep("true ranges", of=lambda: true_ranges(prices))
    atr = prices.keep("atr", n, of=lambda: wilder(ranges.tolist(), n)).tolist()
    usual = prices.keep("calm", of=lambda: totals(ranges, _CALM) / _CALM).tolist()
    price, out = prices.close.tolist(), np.zeros(prices.bars)
    position, stop, best, armed, distance = 0.0, 0.0, 0.0, 0.0, 0.0
    for t in range(_CALM + n, prices.bars):
        if position == 0.0:
            move = price[t] - price[t - 1]
            if abs(move) > atr[t - 1]:
                side, unit = (1.0 if move > 0.0 else -1.0), atr[t]
                size = 0.5 * factor * ((1.0 - adjust) + adjust * usual[t] / unit)
                position, best = side * min(1.0, size), side * price[t]
                stop, armed, distance = best - stops * unit, best + unit, trails * unit
        else:
            now = price[t] if position > 0.0 else -price[t]
            if now <= (max(best - distance, stop) if best >= armed else stop):
                position = 0.0
            best = max(best, now)
        out[t] = position
    return out


def ichimoku_cloud(prices: Prices, genes: Sequence[float]) -> Floats:
    """Closes beyond the cloud, with the lines in order."""
    n, base, long = (int(gene) for gene in genes[:3])
    weight, confirm, close = genes[3], genes[4], prices.close

    def middle(period: int) -> Floats:
        return prices.keep(
            "middle",
            period,
            of=lambda: (highest(prices.high, period) + lowest(prices.low, period)) / 2.0,
        )

    tenkan, kijun = middle(n), middle(base)
    a = earlier((tenkan + kijun) / 2.0, base)
    b = earlier(middle(long), base)
    risen, away = close - earlier(close, base), close - kijun
    above, below = np.maximum(a, b), np.minimum(a, b)
    found = sides(
        long + base,
        (close > above) & (tenkan > kijun) & (away > 0.0) & (risen > confirm * away),
        (close < below) & (tenkan < kijun) & (away < 0.0) & (risen < confirm * away),
        close < kijun,
        close > kijun,
    )

    def size(t: int, side: int) -> float:
        far = below[t] if side > 0 else above[t]
        return float(1.0 - weight * (1.0 - (above[t] - below[t]) / abs(close[t] - far)))

    return sized(found, size)


RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        rule.__name__: rule
        for rule in (
            ema_crossover,
            donchian_breakout,
            rsi_filter,
            stochastic_oscillator,
            sma_trend_filter,
            atr_stop_loss,
            ichimoku_cloud,
            vwap_reversion,
            volatility_scaling,
            funding_rate_carry,
            bollinger_bands,
            nadaraya_watson,
        )
    }
)
"""By family. The two learned families are not among them: their fits stop at a tolerance, so that
another implementation decides otherwise near zero."""
