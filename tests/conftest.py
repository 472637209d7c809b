"""What all tests share.

Properties are not timed: how long an example takes says something about the machine only.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def compiled() -> None:
    """All kernels are in the cache.

    One process compiles them and the others wait: else every worker of xdist and every process that
    a test starts would compile the same ones, and patience would run out."""
    import numba

    import ga.jit  # noqa: F401  (says where the cache is)

    folder = Path(numba.config.CACHE_DIR or tempfile.gettempdir())
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "compiled-for-tests"
    with (folder / "compiled-for-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            subprocess.run([sys.executable, "-m", "ga", "compile"], check=True)
            done.touch()
