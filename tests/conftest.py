"""What all tests share.

Properties are not timed: how long an example takes says something about the machine only.
"""

from __future__ import annotations

import fcntl
import gc
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    # Under nohup, or behind a shell's &, these are ignored, also by what the tests start.
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler)

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


_SCHEDULES = 2
_ENGINE = {Path(__file__).parent / kind / "ga" for kind in ("unit", "integration")}
_FIRST = (
    "test_ga_service_process.py",
    "test_ga_pool.py",
    "test_soak.py",
    "test_ga_metrics.py",
    "test_ga_faults.py",
    "test_fixtures_stack.py",
    "test_head_restart.py",
    "test_fixtures_removal.py",
    "test_ga_cluster.py",
    "test_ga_production.py",
    "test_deploy_docs.py",
    "test_schedule.py",
    "test_extension.py",
)
"""Files that take longest, in that order: begun last, they would keep the other workers idle."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of ``tests/goldens`` and of ``test_ga_faults.py``.

    ``--replay SEED``, the gate's own option, repeats one schedule of faults here."""
    parser.addoption("--update-goldens", action="store_true", help="write tests/goldens/*.json")
    group = parser.getgroup("faults", "schedules of faults (test_ga_faults.py)")
    group.addoption("--fault-schedules", type=int, default=_SCHEDULES, metavar="COUNT")
    group.addoption("--fault-seed", type=int, default=0, help="of the first; then one more each")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fault_seed" in metafunc.fixturenames:
        first = metafunc.config.getoption("--fault-seed", 0)
        count = metafunc.config.getoption("--fault-schedules", _SCHEDULES)
        replay = metafunc.config.getoption("--replay")
        if replay is not None:
            first, count = replay, 1
        metafunc.parametrize("fault_seed", range(first, first + count))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile the kernels while xdist's workers collect; ``compiled`` waits for it."""
    if session.config.getoption("numprocesses", None):
        threading.Thread(target=_compile, daemon=True).start()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """xdist does not tell its workers how it deals the tests."""
    node.workerinput["dist"] = node.config.getoption("dist")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Without the garbage collector: collection makes objects that all live to the end."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the files that take longest; all others stay in their order.

    ``--dist worksteal`` gives each worker one stretch of the list, so the files are dealt to as
    many stretches. In each, tests of the engine come last, since these wait for the kernels."""
    turn = {name: number for number, name in enumerate(_FIRST)}
    items.sort(key=lambda item: turn.get(item.path.name, len(_FIRST)))
    given = getattr(config, "workerinput", {})
    if given.get("dist") != "worksteal":
        return
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    stretches: list[list[pytest.Item]] = [[] for _ in range(given["workercount"])]
    for number, file in enumerate(files.values()):
        (stretches[number] if number < len(stretches) else min(stretches, key=len)).extend(file)
    for stretch in stretches:
        stretch.sort(key=lambda item: not _ENGINE.isdisjoint(item.path.parents))
    items[:] = [item for stretch in stretches for item in stretch]


def _compile() -> None:
    """Compile all kernels into the cache, in one process however many of these call."""
    from ga.backtest import kernel_cache

    folder = kernel_cache.folder()
    assert folder is not None, "no folder can be made for compiled kernels"
    done = folder / "compiled-for-tests"
    with (folder / "compiled-for-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            subprocess.run([sys.executable, "-m", "ga", "compile"], check=True)
            done.touch()


@pytest.fixture(scope="session")
def compiled() -> None:
    """All kernels are in the cache.

    One process compiles them and the others wait: else every worker of xdist and every process that
    a test starts would compile the same ones, and patience would run out."""
    _compile()


@pytest.fixture(scope="session", autouse=True)
def no_shipped_certificates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A release is shipped with certificates of its code; tests begin without any."""
    absent = tmp_path_factory.mktemp("certificates") / "none-are-shipped.jsonl"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("validation.certificates.SHIPPED", absent)
        yield
