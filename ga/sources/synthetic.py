"""A seeded synthetic market: geometric random walks with regimes, for tests and load."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from ga.digits import whole
from ga.errors import InputError
from ga.market import Market, Series, align
from ga.numerics import Stream, decaying_sums, exp, log
from ga.sources.selection import Part, Selection, Source

MAX_CELLS: Final = 50_000_000
_EPOCH_2020: Final = 1_577_836_800 * 10**9
_PURPOSE: Final = 0x5EED_0A4E7


def parse_synthetic(spec: str) -> dict[str, int]:
    """Parse ``synthetic:assets=2,bars=5000,seed=1,step_minutes=60``.

    Raises:
        InputError: an unknown key or a value out of range.
    """
    values = {"assets": 2, "bars": 5000, "seed": 0, "step_minutes": 60}
    limits = {"assets": (1, 1000), "bars": (200, 10_000_000), "seed": (0, 2**63 - 1)}
    limits["step_minutes"] = (1, 1440)
    body = spec.partition(":")[2]
    for item in filter(None, body.split(",")):
        key, _, text = item.partition("=")
        if key not in values:
            raise InputError(f"--market {spec}: unknown key {key!r}; use {', '.join(values)}")
        low, high = limits[key]
        value = whole(text)
        if value is None or not low <= value <= high:
            raise InputError(f"--market {spec}: {key} must be a whole number {low}..{high}")
        values[key] = value
    if values["assets"] * values["bars"] > MAX_CELLS:
        raise InputError(f"--market {spec}: assets x bars is over {MAX_CELLS:,}; ask for less")
    return values


def synthetic(
    *, assets: int = 2, bars: int = 5000, seed: int = 0, step_minutes: int = 60
) -> Market:
    """Make a market of ``assets`` x ``bars`` that depends only on the arguments.

    Log returns are Gaussian with a volatility and a drift that switch between regimes of about
    500 bars, so that trend and reversion rules both find something. Funding is a small
    mean-reverting series.
    """
    source = synthetic_source(assets=assets, bars=bars, seed=seed, step_minutes=step_minutes)
    return align(source.name, Selection().series(source), min_bars=2)


def synthetic_source(
    *, assets: int = 2, bars: int = 5000, seed: int = 0, step_minutes: int = 60
) -> Source:
    """The source of ``synthetic``, not generated yet. An additional asset does not change the
    others.
    """
    step = step_minutes * 60 * 10**9
    walk = partial(_walk, bars=bars, seed=seed, step=step)
    return Source(
        name=f"synthetic:assets={assets},bars={bars},seed={seed},step_minutes={step_minutes}",
        parts=tuple(Part(asset=_name(i), read=partial(walk, i)) for i in range(assets)),
    )


def _name(index: int) -> str:
    return f"SYN{index:03d}"


def _walk(index: int, *, bars: int, seed: int, step: int) -> Series:
    rng = Stream(key=(seed, _PURPOSE), counter=(index, 0))
    regimes = bars // 500 + 1
    volatility = np.repeat(0.002 + 0.006 * rng.random(regimes), 500)[:bars]
    drift = np.repeat(0.0004 * rng.normal(regimes), 500)[:bars]
    close = 100.0 * exp(np.cumsum(drift + volatility * rng.normal(bars)))
    before = np.concatenate([[100.0], close[:-1]])
    open_ = before * exp(0.1 * volatility * rng.normal(bars))
    reach = volatility * 0.5
    high = np.maximum(open_, close) * exp(reach * np.abs(rng.normal(bars)))
    low = np.minimum(open_, close) * exp(-reach * np.abs(rng.normal(bars)))
    usual = exp(5.0 + 0.6 * rng.normal(bars))
    volume = usual * (1.0 + 50.0 * np.abs(log(close / open_)))
    funding = np.clip(decaying_sums(1e-5 * rng.normal(bars), 0.98), -5e-4, 5e-4)
    return Series(
        asset=_name(index),
        times=_EPOCH_2020 + step * np.arange(bars, dtype=np.int64),
        open=open_,
        high=high,
        low=low,
        close=close,
        volume=volume,
        funding=funding,
    )
