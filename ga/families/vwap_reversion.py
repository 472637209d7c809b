"""VWAP reversion: fade the deviation of the close from a rolling volume-weighted average price.

VWAP = sum(typical price x volume) / sum(volume) over vwap_period, typical price = (high + low +
close) / 3 (Berkowitz, Logue and Noser, 1988); without volume all bars weigh the same. Enter against
a deviation of the close from the VWAP above sqrt((reversion_threshold x VWAP)^2 +
(deviation_multiplier x d)^2), so that either counts on quiet and on wild markets, with a volume of
at least volume_confirmation x its mean; d = sqrt(vwap_period) / 2 x the mean absolute change of the
close over the period, about the standard deviation of a random walk from its mean. Out when the
close is back at the VWAP. Size = 1 - regime_weight x Kaufman's efficiency ratio (1995) over the
period: less against a trend.
"""

from __future__ import annotations

import numpy as np

from ga.backtest.jit import kernel
from ga.backtest.panel import Panel
from ga.backtest.simd.masks import masks
from ga.families.base import Changes, Family, Floats, Gene
from ga.families.indicators import path_sums, prefix
from ga.families.signals import TILE, room, settle, sides


@masks
def _conditions(
    close,
    volume,
    money,
    money_before,
    weights,
    weights_before,
    volumes,
    volumes_before,
    paths,
    paths_before,
    threshold,
    n,
    confirm,
    multiplier,
):
    # The VWAP is cash / shares; compared without dividing.
    cash, shares = money - money_before, weights - weights_before
    worth = close * shares
    usual, least = (paths - paths_before) * multiplier * shares, cash * threshold
    off = worth - cash
    enter = (off * off > usual * usual + least * least) & (
        volume * n >= (volumes - volumes_before) * confirm
    )
    return enter & (worth < cash), enter & (worth > cash), worth >= cash, worth <= cash


@kernel()
def _scan(close, volume, money, weights, volumes, paths, genes, bars, targets, counts):
    words, state = room(TILE), np.zeros((counts.size, 3), np.uint64)
    for begin in range(0, close.size, TILE):
        for lane in range(counts.size):
            n = int(genes[lane, 0])
            start = begin + n
            stop = min(start + TILE, close.size)
            if start >= stop:
                continue
            after, before = start + 1, start + 1 - n
            _conditions(
                close[start:],
                volume[start:],
                money[after:],
                money[before:],
                weights[after:],
                weights[before:],
                volumes[after:],
                volumes[before:],
                paths[after:],
                paths[before:],
                genes[lane, 1],
                float(n),
                genes[lane, 2],
                0.5 * genes[lane, 3] / np.sqrt(n),
                words,
                stop - start,
            )
            sides(words, start, stop, state[lane], bars[lane], targets[lane])
    for lane in range(counts.size):
        count, n, regime = np.int64(state[lane, 2]), int(genes[lane, 0]), genes[lane, 4]
        for i in range(count):
            t = bars[lane, i]
            path = paths[t + 1] - paths[t + 1 - n]
            ratio = abs(close[t] - close[t - n]) / path if path > 0.0 else 0.0
            targets[lane, i] *= 1.0 - regime * min(1.0, ratio)
        counts[lane] = settle(bars[lane], targets[lane], count)


def _weights(panel: Panel) -> Floats:
    return panel.volume if panel.volume.any() else np.ones(panel.bars)


def _money_sums(panel: Panel) -> Floats:
    typical = (panel.high + panel.low + panel.close) / 3.0
    return np.asarray(prefix(typical * _weights(panel)))


def signals(panel: Panel, genes: Floats, out: Changes) -> None:
    """See ``ga.families.base.Signals``."""
    volumes = panel.bank("volume sums", lambda p: np.asarray(prefix(p.volume)))
    _scan(
        panel.close,
        panel.volume,
        panel.bank("money sums", _money_sums)[0],
        panel.bank("weight sums", lambda p: np.asarray(prefix(_weights(p))))[0],
        volumes[0],
        path_sums(panel)[0],
        genes,
        out.bars,
        out.targets,
        out.counts,
    )


FAMILY = Family(
    name="vwap_reversion",
    kind="mean reversion",
    rule="fade closes far from a rolling VWAP, out when they are back at it",
    genes=(
        Gene(name="vwap_period", low=10, high=200, integer=True),
        Gene(name="reversion_threshold", low=0.008, high=0.015),
        Gene(name="volume_confirmation", low=0.5, high=2.5),
        Gene(name="deviation_multiplier", low=1.0, high=4.0),
        Gene(name="regime_weight", low=0.0, high=1.0),
    ),
    signals=signals,
    history=201,
)
