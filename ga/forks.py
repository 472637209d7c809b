"""Where worker processes come from: a clean process that has loaded their code, and forks.

Loading takes more than a second, and is done once, beside the start of the program. The program
itself must not fork: it has threads (progress, database), whose locks a fork would copy.
Imports nothing but the standard library.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import Any, Final

ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
"""One thread a worker: more would take the other workers' cores, and sum in another order."""

CONTEXT: Final = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["ga.evaluators.preload"])


def begin() -> None:
    """Start the clean process, if it is not there yet, and do not wait for it."""
    with one_thread():
        forkserver.ensure_running()


def let_go() -> None:
    """In a worker: stop holding the clean process alive, which is to end with the program.

    Every fork is given the end of a pipe by which it could ask for forks of its own; the clean
    process lives while anybody has one, and workers live while it does.
    """
    held: Any = forkserver._forkserver
    os.close(held._forkserver_alive_fd)
    held._forkserver_alive_fd = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Processes started meanwhile compute with one thread: libraries read this when loaded."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
