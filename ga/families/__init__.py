"""The registry of families: one file each."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from ga.errors import InputError
from ga.families import bollinger_bands, donchian_breakout, ema_crossover, rsi_filter
from ga.families.base import Family, Gene, Kernel

__all__ = ["FAMILIES", "KERNEL_VERSION", "Family", "Gene", "Kernel", "get_family"]

KERNEL_VERSION: Final = 2
"""Part of every evaluation key: raise it whenever any kernel or the backtest changes a result."""

FAMILIES: Final = MappingProxyType(
    {
        family.name: family
        for family in (
            ema_crossover.FAMILY,
            donchian_breakout.FAMILY,
            rsi_filter.FAMILY,
            bollinger_bands.FAMILY,
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
