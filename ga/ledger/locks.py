"""Locks that end with their process: on a file, or in a session of PostgreSQL."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from pathlib import Path

import sqlalchemy as sa

_held: set[Path] = set()
"""Lock files of this process, because the system's lock does not exclude the same process."""
_guard = threading.Lock()


class FileLock:
    """A lock on a file that is created for it and removed with it.

    It is a POSIX record lock. Unlike with ``flock``, a child does not inherit it, so it is free as
    soon as its process ends, even if workers outlive it. An ended process leaves an unlocked file,
    which the next one takes. Like SQLite, it does not support network file systems.
    """

    def __init__(self, path: Path, file: int) -> None:
        self._path, self._file = path, file

    @classmethod
    def take(cls, path: Path) -> FileLock | None:
        """Lock ``path``; None if it is locked already."""
        path = path.parent.resolve() / path.name
        with _guard:
            # Do not even open it: closing any handle of a file releases the process's lock on it.
            if path in _held:
                return None
            while True:
                file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except (BlockingIOError, PermissionError):
                    os.close(file)
                    return None
                if _same(path, file):
                    _held.add(path)
                    return cls(path, file)
                # Its last owner removed it after we opened it and before we locked it.
                os.close(file)

    def release(self) -> None:
        """Remove the file and release the lock."""
        with _guard:
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            _held.discard(self._path)


def _same(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def take_in_session(connection: sa.Connection, run: str) -> bool:
    """Take the advisory lock of a run until this session of PostgreSQL ends."""
    # A session whose client's host was lost must not keep its lock for hours.
    connection.exec_driver_sql(
        "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5;"
        " SET tcp_keepalives_count = 3"
    )
    digest = hashlib.sha256(f"evolution-gate run {run}".encode()).digest()
    key = int.from_bytes(digest[:8], "big", signed=True)
    query = sa.select(sa.func.pg_try_advisory_lock(sa.literal(key, sa.BigInteger)))
    return bool(connection.execute(query).scalar_one())
