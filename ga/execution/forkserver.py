"""Fork server: worker processes are forked from a clean process that has loaded their code.

Loading takes more than a second and is done once, while the program starts. The program itself must
not fork, because it has threads (progress, database) whose locks a fork would copy. This module
imports only the standard library.

Neither the clean process nor a worker loads the main module of the program. ``multiprocessing``
loads it in each process that it starts, because a function may be defined there. Ours never is, and
to load a script without ``if __name__ == "__main__"`` would run it again in each worker.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import multiprocessing
import os
import shutil
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import (
    context,
    forkserver,
    popen_forkserver,
    reduction,
    resource_tracker,
    spawn,
    util,
)
from multiprocessing import process as processes
from pathlib import Path
from typing import Any, Final

from ga.errors import InputError

ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
"""One thread per worker: more threads would use other workers' cores and add in another order."""

_MAIN: Final = ("init_main_from_name", "init_main_from_path")
"""What tells a new process to load the main module of the program."""


class _Popen(popen_forkserver.Popen):
    """Starts a process that does not load the main module of the program."""

    _fds: list[int]

    def _launch(self, process_obj: processes.BaseProcess) -> None:
        # The method of the base class, except for the main module.
        told = spawn.get_preparation_data(process_obj.name)
        buffer = io.BytesIO()
        context.set_spawning_popen(self)
        try:
            reduction.dump({k: v for k, v in told.items() if k not in _MAIN}, buffer)
            reduction.dump(process_obj, buffer)
        finally:
            context.set_spawning_popen(None)
        self.sentinel, pipe = forkserver.connect_to_new_process(self._fds)
        # The process ends with this one, when the other end of its pipe is closed.
        ours = os.dup(pipe)
        self.finalizer = util.Finalize(self, _close, (ours, self.sentinel))
        with open(pipe, "wb", closefd=True) as file:
            file.write(buffer.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)


def _close(*held: int) -> None:
    for one in held:
        os.close(one)


class WorkerProcess(context.ForkServerProcess):
    """A process that is forked from the clean process."""

    @staticmethod
    def _Popen(process_obj: processes.BaseProcess) -> _Popen:  # noqa: N802
        return _Popen(process_obj)


class _Context(context.ForkServerContext):
    Process = WorkerProcess


CONTEXT: Final = _Context()
CONTEXT.set_forkserver_preload(["ga.execution.preload"])


def start_forkserver() -> None:
    """Start the clean process if it does not run yet, without waiting for it."""
    named = os.environ.get("TMPDIR")
    if named and not takes_sockets(named, _RAYS_LENGTH):
        # Ray may later make its sockets there, regardless of Python's own choice of TMPDIR.
        os.environ.setdefault("RAY_TMPDIR", short_folder(_RAYS_LENGTH))
    with single_threaded_env():
        forkserver.ensure_running()


def detach_from_forkserver() -> None:
    """In a worker: release the clean process, which must end with the program.

    Every fork inherits one end of a pipe that requests forks. The clean process lives while any
    process has that end open, and workers live as long as the clean process.
    """
    held: Any = forkserver._forkserver
    os.close(held._forkserver_alive_fd)
    held._forkserver_alive_fd = None


@contextmanager
def single_threaded_env() -> Iterator[None]:
    """Processes started in this block use one thread: libraries read this when loaded.

    If the clean process is started in the block, it ignores Ctrl-C and uses a short socket path.
    """
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        _place_sockets()
        with ignoring_interrupts():
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def ignoring_interrupts() -> Iterator[None]:
    """Processes started in this block ignore Ctrl-C: this process handles it and ends them.

    A signal during the block is delivered when the block ends.
    """
    # The resource tracker would unblock the signal at its start, which is with the first process.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_children() -> None:
    """End everything that this process started: processes with their groups, and the clean process
    with its forks.

    Without this, the clean process would first load all its modules.
    """
    held: Any = forkserver._forkserver
    if held._forkserver_pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(held._forkserver_pid, signal.SIGKILL)
    for child in multiprocessing.active_children():
        if isinstance(child, context.SpawnProcess) and child.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                # Its group does not exist yet, or has ended.
                os.killpg(child.pid, signal.SIGKILL)
            child.kill()
            child.join()


def clean_up() -> None:
    """End and remove at once everything that would outlive this process."""
    end_children()
    if _folders:
        shutil.rmtree(_folders.pop(), ignore_errors=True)


def remove_sockets_at_exit() -> None:
    """In the clean process: remove the folder of its socket at its end.

    A program that is killed cannot do that itself; the clean process outlives it.
    """
    for number in map(int, os.listdir("/dev/fd")):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                with socket.socket(fileno=os.dup(number)) as held:
                    name = held.getsockname() if held.family == socket.AF_UNIX else ""
                folder = Path(os.fsdecode(name)).parent
                if folder.name.startswith("pymp-"):
                    # Forks must not remove it.
                    atexit.register(shutil.rmtree, folder, ignore_errors=True)


_folders: list[Path] = []
"""The folder of this process's sockets, after it is made."""
_NAMES_LENGTH: Final = len("/pymp-01234567/listener-01234567")
_RAYS_LENGTH: Final = 68
"""Bytes that Ray appends to the folder: the names of its session and of a socket."""
_LONGEST_PATH: Final = 100
"""Maximum bytes of a socket's path on every system: Linux allows 107, macOS 103."""


def _place_sockets() -> None:
    """Make ``multiprocessing`` use a private folder with a short path for its sockets.

    By default it uses ``TMPDIR``, which may be too long for a socket's path. The folder has mode
    0700, and ``multiprocessing`` removes it when this process ends.
    """
    if _folders:
        return
    signals = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    before, chosen = tempfile.tempdir, short_folder()
    # Block signals until the folder is registered, because their handler removes it.
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
    """Whether sockets can be made in a folder, with ``names`` more bytes in their paths."""
    if len(os.fsencode(place)) + names > _LONGEST_PATH:
        return False
    try:
        # Checked by making one, because not every file system supports sockets.
        with (
            tempfile.TemporaryDirectory(prefix="ga-", dir=place) as folder,
            socket.socket(socket.AF_UNIX) as tried,
        ):
            tried.bind(f"{folder}/s")
    except OSError:
        return False
    return True
