"""Compiles kernels once per machine and caches them; outdated or damaged files are not used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

from ga.backtest.kernel_cache import KernelCache

# Kernels are made of intrinsics, which Python cannot run: NUMBA_DISABLE_JIT cannot apply to them.
numba.config.DISABLE_JIT = 0  # type: ignore[attr-defined]


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator ``@kernel()``: compile a function at its first call, or take it from the cache.

    Division by zero gives infinity or NaN, as in NumPy, because a check on every division would
    prevent SIMD loops. fastmath is off, because it makes the bits depend on the processor.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(error_model="numpy", **options)(function)
        # Numba's own cache ignores changes in inlined functions of other files, uses
        # NUMBA_CACHE_DIR without our key, and fails on a damaged file.
        dispatcher._cache = KernelCache(function)
        return dispatcher

    return decorate
