"""One campaign for all processes of a pytest run, also under pytest-xdist.

filelock would save one line, but takes 18 ms to acquire a released lock; ``flock`` takes 0.05 ms.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

TEST_RUN: Final = "testrunuid"
"""Key of xdist's id of the whole run in a worker's input."""


class FailedElsewhereError(Exception):
    """Another worker ran the campaign and did not complete it."""


def once(worker: Mapping[str, object] | None, out: Path, run: Callable[[], Path]) -> Path:
    """The folder that ``run`` made, in this process or in the first worker.

    Args:
        worker: xdist's input of this worker; None: there are no workers.
        out: parent of the folder that ``run`` makes, and of the locks.

    Raises:
        FailedElsewhereError: ``run`` failed in the first worker.
    """
    if worker is None:
        return run()
    out.mkdir(parents=True, exist_ok=True)
    mark = _mark(out, str(worker[TEST_RUN]))
    with mark.with_suffix(".lock").open("w") as lock:
        # The other workers wait here, so that nothing runs next to faults and measurements.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if mark.exists():
            name = mark.read_text()
            if not name:
                raise FailedElsewhereError
            return out / name
        mark.touch()
        folder = run()
        mark.write_text(folder.name)
        return folder


def forget(out: Path, test_run: str) -> None:
    """Remove the files of ``once``; called by the process that started the workers."""
    mark = _mark(out, test_run)
    for file in (mark, mark.with_suffix(".lock")):
        file.unlink(missing_ok=True)


def _mark(out: Path, test_run: str) -> Path:
    return out / f".campaign-{test_run}"
