"""The registry of families: one file each."""

from __future__ import annotations

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

__all__ = ["FAMILIES", "KERNEL_VERSION", "Changes", "Family", "Gene", "Signals", "get_family"]

KERNEL_VERSION: Final = 3
"""Part of every evaluation key: raise it whenever any kernel or the backtest changes a result."""

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
        InputError: there is none; the message lists those there are.
    """
    try:
        return FAMILIES[name]
    except KeyError:
        raise InputError(f"unknown family {name!r}; use one of {', '.join(FAMILIES)}") from None
