"""What all tests share.

Properties are not timed: how long an example takes says something about the machine only.
"""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys

import hypothesis
import pytest

for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    # Under nohup, or behind a shell's &, these are ignored, also by what the tests start.
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler)

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


_FIRST = (
    "test_ga_service_process.py",
    "test_ga_pool.py",
    "test_soak.py",
    "test_ga_telemetry.py",
    "test_ga_faults.py",
    "test_fixtures_stack.py",
    "test_ga_cluster.py",
    "test_ga_compose.py",
    "test_deploy_docs.py",
    "test_schedule.py",
    "test_own.py",
)
"""Files that take longest, in that order: begun last, they would keep the other workers idle."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """For ``tests/goldens``."""
    parser.addoption("--update-goldens", action="store_true", help="write tests/goldens/*.json")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest; all others stay in their order."""
    turn = {name: number for number, name in enumerate(_FIRST)}
    items.sort(key=lambda item: turn.get(item.path.name, len(_FIRST)))


@pytest.fixture(scope="session")
def compiled() -> None:
    """All kernels are in the cache.

    One process compiles them and the others wait: else every worker of xdist and every process that
    a test starts would compile the same ones, and patience would run out."""
    from ga.backtest import kernel_cache

    folder = kernel_cache.folder()
    assert folder is not None, "no folder can be made for compiled kernels"
    done = folder / "compiled-for-tests"
    with (folder / "compiled-for-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            subprocess.run([sys.executable, "-m", "ga", "compile"], check=True)
            done.touch()
