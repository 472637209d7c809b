"""How kernels are compiled: once a machine, and never out of date.

Numba keys its cache by the file that a function stands in, and so misses a change in what that
function inlines from another file. Here the cache's folder is keyed by the text of all kernels.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

import numba

_HERE: Final = Path(__file__).parent


def _folder() -> Path:
    home = os.environ.get("GA_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    digest = hashlib.sha256(numba.__version__.encode())
    kernels = [*_HERE.glob("account*.py"), *_HERE.glob("simd*.py"), *_HERE.glob("families/*.py")]
    for file in sorted(kernels):
        digest.update(file.read_bytes())
    name = f"evolution-gate/numba/{digest.hexdigest()[:16]}"
    for place in (Path(home), Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"):
        try:
            (place / name).mkdir(parents=True, exist_ok=True)
        except OSError:
            # A home that cannot be written, as in a container without one.
            continue
        return place / name
    raise OSError(f"no folder can be made for compiled kernels in {home}; set GA_CACHE to one")


if "NUMBA_CACHE_DIR" not in os.environ:
    numba.config.CACHE_DIR = str(_folder())  # type: ignore[attr-defined]

kernel = partial(numba.njit, cache=True, error_model="numpy")
"""Decorator factory: ``@kernel()``. Division by zero gives infinity or NaN, as in NumPy: a check on
every division would keep loops from becoming SIMD."""
