"""How kernels are compiled: once a machine, never out of date, never from a damaged file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

from ga.backtest.kernel_cache import KernelCache

# Kernels are made of intrinsics, which Python cannot run: NUMBA_DISABLE_JIT cannot apply to them.
numba.config.DISABLE_JIT = 0  # type: ignore[attr-defined]


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator ``@kernel()``: compile a function at its first call, or take it from the cache.

    Division by zero gives infinity or NaN, as in NumPy: a check on every division would keep loops
    from becoming SIMD. There is no fastmath: it changes bits with the processor.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(error_model="numpy", **options)(function)
        # Numba's own cache misses what a function inlines from another file, lies where
        # NUMBA_CACHE_DIR says without a key of ours, and fails on a damaged file.
        dispatcher._cache = KernelCache(function)
        return dispatcher

    return decorate
