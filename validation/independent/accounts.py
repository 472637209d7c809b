"""From target positions to fitness: one account after the other, bar by bar.

A target decided at the close of a bar is filled at the next open, worsened by the slippage, with a
fee on the traded value. It is a fraction of equity, traded when it changes. A buy never costs more
than the cash. Funding is paid on the position at each open. Equity of zero closes the account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from validation.independent.prices import Floats, Prices

_STILL: Final = 1e-15
"""Standard deviation of returns below which equity counts as constant."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """An account over one range of bars."""

    mean: float
    deviation: float
    """Of the bar returns, with n - 1."""
    drawdown: float
    fills: int

    @property
    def ratio(self) -> float:
        """Sharpe ratio per bar; 0 for constant equity."""
        return self.mean / self.deviation if self.deviation > _STILL else 0.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """What the engine calls an outcome."""

    fitness: float
    trades: int
    drawdown: float


def in_sample(bars: int, settings: Mapping[str, Any]) -> list[tuple[int, int]]:
    """In-sample ranges [start, stop) of the visible bars."""
    return [inside for inside, _ in _folds(bars, settings)]


def out_of_sample(bars: int, settings: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Out-of-sample ranges."""
    return [outside for _, outside in _folds(bars, settings) if outside is not None]


def visible(bars: int, settings: Mapping[str, Any]) -> int:
    """Bars before the hold-out."""
    return int(bars * (1.0 - float(settings["holdout"])))


def _folds(
    bars: int, settings: Mapping[str, Any]
) -> list[tuple[tuple[int, int], tuple[int, int] | None]]:
    count, first = int(settings["folds"]), int(bars * float(settings["warm_up"]))
    purge, share = int(settings["purge"]), float(settings["out_of_sample"])
    gap, step = purge + int(float(settings["embargo"]) * bars), (bars - first) / count
    found: list[tuple[tuple[int, int], tuple[int, int] | None]] = []
    for number in range(count):
        start = int(first + number * step)
        stop = bars if number == count - 1 else int(first + (number + 1) * step)
        until = stop - gap
        if share:
            turn = start + round((until - start) * (1.0 - share))
            found.append(((start, turn - purge), (turn, until)))
        else:
            found.append(((start, until), None))
    return found


def trade(
    prices: Prices, targets: Floats, start: int, stop: int, settings: Mapping[str, Any]
) -> Part:
    """An account that follows ``targets`` (T,), measured over the bars [start, stop)."""
    fee, slippage = (float(settings["costs"][name]) for name in ("fee", "slippage"))
    # Returns do not depend on what was gained before the last flat moment.
    begin = max(start - 1, 0)
    while begin > 0 and targets[begin - 1] != 0.0:
        begin -= 1
    opens, closes = prices.open[begin:stop].tolist(), prices.close[begin:stop].tolist()
    wanted = targets[begin:stop].tolist()
    funding = None if prices.funding is None else prices.funding[begin:stop].tolist()
    cash, units, held = 1.0, 0.0, 0.0
    equity, fills, closed = [], [], False
    for t in range(stop - begin):
        filled = False
        if t and not closed:
            price = opens[t]
            if funding is not None and units:
                cash -= units * price * funding[t]
            if wanted[t - 1] != held:
                held, filled = wanted[t - 1], True
                change = held * (cash + units * price) / price - units
                if change > 0.0:
                    each = price * (1.0 + slippage) * (1.0 + fee)
                    change = min(change, max(cash, 0.0) / each)
                    cash -= change * each
                else:
                    cash -= change * price * (1.0 - slippage) * (1.0 - fee)
                units += change
        value = cash + units * closes[t]
        if value <= 0.0:
            closed, value, cash, units = True, 0.0, 0.0, 0.0
        equity.append(value)
        fills.append(filled)
    before = equity[start - 1 - begin] if start else 1.0
    curve = np.array([before, *equity[start - begin :]])
    earlier = curve[:-1]
    returns = np.divide(curve[1:], earlier, out=np.ones(len(earlier)), where=earlier > 0.0) - 1.0
    peaks = np.maximum.accumulate(curve)
    drops = 1.0 - np.divide(curve, peaks, out=np.ones(len(curve)), where=peaks > 0.0)
    return Part(
        mean=float(returns.mean()),
        deviation=float(returns.std(ddof=1)) if len(returns) > 1 else 0.0,
        drawdown=float(drops.max()),
        fills=sum(fills[start - begin :]),
    )


def result(
    market: Sequence[Prices], targets: Sequence[Floats], settings: Mapping[str, Any]
) -> Result:
    """Fitness, fills and drawdown over all assets and in-sample folds of a visible market."""
    ratios, fills, drawdown = [], 0, 0.0
    for prices, wanted in zip(market, targets, strict=True):
        for start, stop in in_sample(prices.bars, settings):
            part = trade(prices, wanted, start, stop, settings)
            ratio, least = part.ratio, int(settings["min_trades"])
            if ratio > 0.0 and part.fills < least:
                ratio *= part.fills / least
            ratios.append(ratio)
            fills += part.fills
            drawdown = max(drawdown, part.drawdown)
    scale = float(np.sqrt(market[0].bars_per_year))
    return Result(fitness=float(np.mean(ratios)) * scale, trades=fills, drawdown=drawdown)


def sharpes(
    market: Sequence[Prices], targets: Sequence[Floats], settings: Mapping[str, Any]
) -> tuple[float | None, float | None, float | None]:
    """Annualised Sharpe ratios in-sample, out-of-sample and on the hold-out of a whole market."""
    seen = visible(market[0].bars, settings)
    last = [(seen, market[0].bars)] if market[0].bars - seen >= 2 else []
    scale = float(np.sqrt(market[0].bars_per_year))

    def mean(parts: Sequence[tuple[int, int]]) -> float | None:
        found = [
            trade(prices, wanted, start, stop, settings).ratio
            for start, stop in parts
            for prices, wanted in zip(market, targets, strict=True)
        ]
        return float(np.mean(found)) * scale if found else None

    return mean(in_sample(seen, settings)), mean(out_of_sample(seen, settings)), mean(last)
