"""Fork server: worker processes are forked from a clean process that has loaded their code.

Loading takes more than a second, and is done once, while the program starts. The program
itself must not fork: it has threads (progress, database), whose locks a fork would copy.
Imports nothing but the standard library.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import shutil
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Final

from ga.errors import InputError

ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
"""One thread a worker: more would take the other workers' cores, and sum in another order."""

CONTEXT: Final = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["ga.execution.preload"])


def start_forkserver() -> None:
    """Start the clean process, if it is not there yet, and do not wait for it."""
    named = os.environ.get("TMPDIR")
    if named and not takes_sockets(named, _RAYS_LENGTH):
        # Ray, if it comes to that, makes its sockets there, whatever Python makes of TMPDIR.
        os.environ.setdefault("RAY_TMPDIR", short_folder(_RAYS_LENGTH))
    with single_threaded_env():
        forkserver.ensure_running()


def detach_from_forkserver() -> None:
    """In a worker: stop holding the clean process alive, which is to end with the program.

    Every fork inherits the end of a pipe by which it could request forks. The clean process lives
    while any process has that end open, and workers live as long as it does.
    """
    held: Any = forkserver._forkserver
    os.close(held._forkserver_alive_fd)
    held._forkserver_alive_fd = None


@contextmanager
def single_threaded_env() -> Iterator[None]:
    """Processes started in this block use one thread: libraries read this when loaded.

    The clean process, if it is started meanwhile, hears no Ctrl-C and is asked by a short path.
    """
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        _place_sockets()
        with deaf():
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def deaf() -> Iterator[None]:
    """Processes started in this block ignore Ctrl-C: this process handles it and ends them.

    A signal during the block is delivered when the block ends.
    """
    # It would unblock the signal when it starts, and is started with every first process.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_children() -> None:
    """End all that this process started: processes with their groups, the clean one with its forks.

    Left to itself the clean process would first load all it is to load.
    """
    held: Any = forkserver._forkserver
    if held._forkserver_pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(held._forkserver_pid, signal.SIGKILL)
    for child in multiprocessing.active_children():
        if isinstance(child, SpawnProcess) and child.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                # No group of its own yet, or nothing left of it.
                os.killpg(child.pid, signal.SIGKILL)
            child.kill()
            child.join()


def clean_up() -> None:
    """End and remove at once what would outlive this process."""
    end_children()
    if _folders:
        shutil.rmtree(_folders.pop(), ignore_errors=True)


def remove_sockets_at_exit() -> None:
    """In the clean process: remove the folder of its socket at the end.

    It outlives a program that is killed, which cannot do that itself.
    """
    for number in map(int, os.listdir("/dev/fd")):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                with socket.socket(fileno=os.dup(number)) as held:
                    name = held.getsockname() if held.family == socket.AF_UNIX else ""
                folder = Path(os.fsdecode(name)).parent
                if folder.name.startswith("pymp-"):
                    # Forks end without it.
                    atexit.register(shutil.rmtree, folder, ignore_errors=True)


_folders: list[Path] = []
"""The folder of this process's sockets, once there is one."""
_NAMES_LENGTH: Final = len("/pymp-01234567/listener-01234567")
_RAYS_LENGTH: Final = 68
"""Bytes that Ray puts behind the folder: its session's name, and its own of a socket."""
_LONGEST_PATH: Final = 100
"""Bytes that every system takes for a socket's path: Linux 107, macOS 103."""


def _place_sockets() -> None:
    """Have ``multiprocessing`` make its sockets in a folder of ours with a short path.

    It would take ``TMPDIR``, which may be longer than a socket's path can be. The folder is private
    (0700), and ``multiprocessing`` removes it when this process ends.
    """
    if _folders:
        return
    signals = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    before, chosen = tempfile.tempdir, short_folder()
    # Whoever is told to end must know of the folder.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        tempfile.tempdir = chosen
        _folders.append(Path(util.get_temp_dir()))
    finally:
        tempfile.tempdir = before
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def short_folder(names: int = _NAMES_LENGTH) -> str:
    """A folder for sockets: where temporary files go, if its path is short enough.

    Args:
        names: bytes that follow the folder in a socket's path.

    Raises:
        InputError: no folder can be used.
    """
    places = ("/tmp", os.environ.get("XDG_RUNTIME_DIR"), "/var/tmp", "/dev/shm")
    for place in (tempfile.gettempdir(), *places):
        if place and takes_sockets(place, names):
            return place
    raise InputError(
        "no folder for sockets: neither TMPDIR nor /tmp, /var/tmp or /dev/shm can be written; set"
        " TMPDIR to a folder with a short path that can be"
    )


def takes_sockets(place: str, names: int) -> bool:
    """Whether sockets can be made in a folder, with so many bytes behind it in their paths."""
    if len(os.fsencode(place)) + names > _LONGEST_PATH:
        return False
    try:
        # By trying: not every file system has sockets.
        with (
            tempfile.TemporaryDirectory(prefix="ga-", dir=place) as folder,
            socket.socket(socket.AF_UNIX) as tried,
        ):
            tried.bind(f"{folder}/s")
    except OSError:
        return False
    return True
