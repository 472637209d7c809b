"""Reference implementation: one account, bar by bar. Gives the equity curve, and tests the fast
kernel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ga.backtest.jit import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@kernel(inline="always")
def _fill(
    cash: float, units: float, price: float, target: float, fee: float, slippage: float
) -> tuple[float, float]:
    change = target * (cash + units * price) / price - units
    if change > 0.0:
        paid = price * (1.0 + slippage)
        change = min(change, max(cash, 0.0) / (paid * (1.0 + fee)))
    else:
        paid = price * (1.0 - slippage)
    return cash - change * paid - abs(change) * paid * fee, units + change


@kernel()
def account(
    open_: Floats,
    close: Floats,
    paid: Floats,
    bars: NDArray[np.int32],
    targets: Floats,
    fee: float,
    slippage: float,
) -> tuple[Floats, Floats, Floats]:
    """One account, bar by bar.

    Args:
        open_, close: (T,) prices. paid: (T,) funding paid by one unit up to each bar.
        bars, targets: (E,) the target changes of one lane.

    Returns:
        equity (T,) at each close, units held (T,), and 1 in bars (T,) with a fill.
    """
    equity, held = np.empty(close.size), np.zeros(close.size)
    fills = np.zeros(close.size)
    cash, units, value = 1.0, 0.0, 1.0
    event = 0
    for t in range(close.size):
        if t > 0 and value > 0.0:
            cash -= units * (paid[t] - paid[t - 1])
            if event < bars.size and bars[event] == t - 1:
                cash, units = _fill(cash, units, open_[t], targets[event], fee, slippage)
                fills[t] = 1.0
                event += 1
            value = cash + units * close[t]
            if value <= 0.0:
                value = cash = units = 0.0
        equity[t], held[t] = value, units
    return equity, held, fills


@kernel()
def statistics(
    equity: Floats, held: Floats, fills: Floats, starts: Ints, stops: Ints, out: Floats
) -> None:
    """Fill ``out`` (F, 6) from the curves of one account. A closed account has growth 0."""
    for fold in range(starts.size):
        start, n = starts[fold], stops[fold] - starts[fold]
        before = base = peak = equity[start - 1] if start > 0 else 1.0
        total = squares = worst = 0.0
        trades = exposed = 0.0
        for t in range(start, stops[fold]):
            # A closed account has equity 0. NaN must stay NaN and not count as closed.
            change = equity[t] / before - 1.0 if before != 0.0 else equity[t]
            total += change
            squares += change * change
            peak = max(peak, equity[t])
            if peak > 0.0:
                worst = max(worst, 1.0 - equity[t] / peak)
            trades += fills[t]
            exposed += 1.0 if held[t] != 0.0 else 0.0
            before = equity[t]
        summary(out[fold], n, total, squares, base, before, worst, trades, exposed)


@kernel(inline="always")
def summary(
    row: Floats,
    n: int,
    total: float,
    squares: float,
    base: float,
    last: float,
    worst: float,
    trades: float,
    exposed: float,
) -> None:
    """Fill a row of statistics from ``n`` returns: their sum, the sum of their squares, and equity
    before and after.
    """
    mean = total / n
    row[0] = mean
    row[1] = np.sqrt(max(squares - n * mean * mean, 0.0) / (n - 1)) if n > 1 else 0.0
    row[2] = last / base if base > 0.0 else 0.0
    row[3] = worst
    row[4] = trades
    row[5] = exposed / n
