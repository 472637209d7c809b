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

from ga.families.base import Changes, Family, Floats, Gene
from ga.families.indicators import path_sums, prefix
from ga.families.scan import ENTER, LEAVE_LONG, LEAVE_SHORT, LONG, SHORT, blank, seek
from ga.jit import kernel
from ga.panel import Panel


@kernel()
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
    code,
):
    for t in range(code.size):
        # The VWAP is cash / shares; compared without dividing.
        cash, shares = money[t] - money_before[t], weights[t] - weights_before[t]
        worth = close[t] * shares
        usual, least = multiplier * (paths[t] - paths_before[t]) * shares, threshold * cash
        far = (worth - cash) * (worth - cash) > usual * usual + least * least
        loud = volume[t] * n >= confirm * (volumes[t] - volumes_before[t])
        code[t] = (
            np.uint8((worth < cash) & far & loud) * LONG
            | np.uint8((worth > cash) & far & loud) * SHORT
            | np.uint8(worth >= cash) * LEAVE_LONG
            | np.uint8(worth <= cash) * LEAVE_SHORT
        )


@kernel()
def _scan(close, volume, money, weights, volumes, paths, genes, bars, targets, counts):
    end = close.size
    code = blank(end)
    words = code.view(np.uint64)
    for lane in range(genes.shape[0]):
        n, regime = int(genes[lane, 0]), genes[lane, 4]
        if n >= end:
            counts[lane] = 0
            continue
        _conditions(
            close[n:],
            volume[n:],
            money[n + 1 :],
            money[1:],
            weights[n + 1 :],
            weights[1:],
            volumes[n + 1 :],
            volumes[1:],
            paths[n + 1 :],
            paths[1:],
            genes[lane, 1],
            float(n),
            genes[lane, 2],
            0.5 * genes[lane, 3] / np.sqrt(n),
            code[n:end],
        )
        count, wait = 0, ENTER
        t = seek(words, n, wait)
        while t < end:
            held = 0.0
            if wait != ENTER:
                wait = ENTER
            else:
                path = paths[t + 1] - paths[t + 1 - n]
                ratio = abs(close[t] - close[t - n]) / path if path > 0.0 else 0.0
                size = 1.0 - regime * min(1.0, ratio)
                if size == 0.0:
                    t = seek(words, t + 1, wait)
                    continue
                if code[t] & LONG:
                    held, wait = size, LEAVE_LONG
                else:
                    held, wait = -size, LEAVE_SHORT
            bars[lane, count] = t
            targets[lane, count] = held
            count += 1
            t = seek(words, t + 1, wait)
        counts[lane] = count


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
