"""The registry of families: one file each."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from ga.errors import InputError
from ga.families import (
    atr_stop_loss,
    bollinger_bands,
    donchian_breakout,
    ema_crossover,
    funding_rate_carry,
    ichimoku_cloud,
    linear_svc_classifier,
    nadaraya_watson,
    pca_tree_quantile,
    rsi_filter,
    sma_trend_filter,
    stochastic_oscillator,
    volatility_scaling,
    vwap_reversion,
)
from ga.families.base import Changes, Family, Gene, Signals
from ga.market import Market

__all__ = [
    "FAMILIES",
    "KERNEL_VERSION",
    "Changes",
    "Family",
    "Gene",
    "Signals",
    "get_family",
    "usable_families",
]

KERNEL_VERSION: Final = 8
"""Part of every evaluation key: increase it when a kernel or the backtest changes any result."""

FAMILIES: Final = MappingProxyType(
    {
        family.name: family
        for family in (
            ema_crossover.FAMILY,
            donchian_breakout.FAMILY,
            rsi_filter.FAMILY,
            stochastic_oscillator.FAMILY,
            sma_trend_filter.FAMILY,
            atr_stop_loss.FAMILY,
            ichimoku_cloud.FAMILY,
            vwap_reversion.FAMILY,
            volatility_scaling.FAMILY,
            funding_rate_carry.FAMILY,
            linear_svc_classifier.FAMILY,
            pca_tree_quantile.FAMILY,
            bollinger_bands.FAMILY,
            nadaraya_watson.FAMILY,
        )
    }
)


def get_family(name: str) -> Family:
    """The family called ``name``.

    Raises:
        InputError: there is no such family; the message lists all families.
    """
    try:
        return FAMILIES[name]
    except KeyError:
        raise InputError(f"unknown family {name!r}; use one of {', '.join(FAMILIES)}") from None


def usable_families(
    market: Market, named: Sequence[str] | None = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The families for which a market has the data, and a line for each that is left out.

    Args:
        market: the visible market. named: the requested families; None: all.

    Raises:
        InputError: a requested family, or every family, lacks data.
    """
    usable, left_out = [], []
    for name in named or FAMILIES:
        family = get_family(name)
        lacking = ""
        if family.needs_funding and market.funding is None:
            lacking = f"{name} needs a market with a funding column; this one has none"
        elif 2 * family.history > market.bars:
            lacking = (
                f"{name} needs {2 * family.history} bars before the hold-out;"
                f" market {market.name} has {market.bars}"
            )
        if lacking and named:
            raise InputError(f"--families: {lacking}; leave it out, or give it the data")
        if lacking:
            left_out.append(f"family left out: {lacking}")
        else:
            usable.append(name)
    if not usable:
        raise InputError(
            f"market {market.name}: {market.bars} bars before the hold-out are too few for any"
            " family; give a longer history"
        )
    return tuple(usable), tuple(left_out)
