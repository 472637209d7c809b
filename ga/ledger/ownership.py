"""Run ownership: exactly one process may write a run, by a lock and a fencing token.

The lock excludes a second coordinator. An owner can lose it without noticing, for example when
PostgreSQL restarts. So each owner also takes the next number of the run, its token, and each of its
transactions first checks that token. Writes of a superseded owner are rejected (fenced).
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from ga.errors import InputError, LedgerError
from ga.ledger.connection import PATIENCE
from ga.ledger.locks import FileLock, take_in_session
from ga.ledger.schema import runs

GRACE: Final = 2.0
"""Seconds that PostgreSQL may take to detect that the last owner ended."""
_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_FENCE: Final = (
    sa.update(runs)
    .where(runs.c.run == sa.bindparam("mine"), runs.c.token == sa.bindparam("held"))
    .values(token=sa.bindparam("held"))
)
"""Made once, because building a statement takes longer than executing it."""
_TRANSIENT: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)


class RunOwner:
    """Ownership of one run until ``release``. May be used from any thread.

    Raises:
        InputError: another process evolves the run.
    """

    def __init__(self, engine: Engine, run: str, beside: Path | None) -> None:
        self.run = run
        self._engine = engine
        self._mutex = threading.Lock()
        self._file: FileLock | None = None
        self._session: sa.Connection | None = None
        if beside is not None:
            self._file = FileLock.take(_lock_file(beside, run))
            if self._file is None:
                raise self._refused()
        try:
            if not self._connect(time.monotonic() + GRACE):
                raise self._refused()
            self.token = self._take_token()
        except BaseException:
            self.release()
            raise

    def write(
        self, work: Callable[[sa.Connection], None], *, done: Callable[[sa.Connection], bool]
    ) -> None:
        """Execute ``work`` in one transaction, exactly once.

        While the database is unreachable, locked or without space, it is retried for a minute. If
        the connection was lost, the commit may have succeeded, so ``done`` is checked before a
        retry.

        Raises:
            LedgerError: the database stayed unreachable, or another process owns the run now.
        """
        with self._mutex:
            deadline, pause, tried = 0.0, _PAUSE, False
            while True:
                try:
                    self._once(work, done if tried else None, deadline)
                    return
                except sa.exc.DBAPIError as error:
                    if not _is_transient(error):
                        raise
                    reason = _reason(error)
                self._disconnect()
                now = time.monotonic()
                deadline = deadline or now + PATIENCE
                if now > deadline:
                    raise LedgerError(
                        f"run {self.run}: the ledger could not be written for {PATIENCE:.0f} s"
                        f" ({reason}); start the database, or make space for it, then:"
                        f" python -m ga resume {self.run}"
                    )
                tried = True
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def release(self) -> None:
        """Release the run. Nothing is written, because the lock ends with the session."""
        self._disconnect()
        if self._file is not None:
            self._file.release()
            self._file = None

    def _once(
        self,
        work: Callable[[sa.Connection], None],
        done: Callable[[sa.Connection], bool] | None,
        deadline: float,
    ) -> None:
        if self._session is None and not self._connect(deadline):
            raise self._superseded("its lock is held by another session")
        assert self._session is not None
        with self._session.begin():
            # A write, not a read: from here on a new owner must wait for this transaction.
            mine = {"mine": self.run, "held": self.token}
            if self._session.execute(_FENCE, mine).rowcount != 1:
                raise self._superseded("it was taken over")
            if done is None or not done(self._session):
                work(self._session)

    def _connect(self, deadline: float) -> bool:
        """Open a session and lock the run in it; False if another session keeps it until the
        deadline.
        """
        session = self._engine.connect()
        try:
            if session.dialect.name == "postgresql":
                while not self._locked(session):
                    if time.monotonic() > deadline:
                        session.close()
                        return False
                    time.sleep(_PAUSE)
        except BaseException:
            session.invalidate()
            session.close()
            raise
        self._session = session
        return True

    def _locked(self, session: sa.Connection) -> bool:
        with session.begin():
            return take_in_session(session, self.run)

    def _disconnect(self) -> None:
        if self._session is not None:
            # Not returned to the pool, because the lock ends with the session.
            self._session.invalidate()
            self._session.close()
            self._session = None

    def _take_token(self) -> int:
        assert self._session is not None
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        name = f"process {os.getpid()} on {socket.gethostname()} since {since}"
        this = runs.c.run == self.run
        with self._session.begin():
            change = sa.update(runs).where(this).values(token=runs.c.token + 1, owner=name)
            if self._session.execute(change).rowcount != 1:
                raise InputError(f"run {self.run}: no such run; list them with: python -m ga runs")
            return int(self._session.execute(sa.select(runs.c.token).where(this)).scalar_one())

    def _refused(self) -> InputError:
        with self._engine.connect() as connection:
            query = sa.select(runs.c.owner).where(runs.c.run == self.run)
            name = connection.execute(query).scalar()
        return InputError(
            f"run {self.run} is being evolved by another process"
            f" ({name or 'it has just begun'}); wait for its end, or stop it"
        )

    def _superseded(self, how: str) -> LedgerError:
        return LedgerError(
            f"run {self.run}: another process evolves it now ({how}); this one has stopped, and"
            " has written nothing since"
        )


def is_owned(engine: Engine, run: str, beside: Path | None) -> bool:
    """Whether a process owns a run now. The run itself is not changed."""
    if beside is not None:
        path = _lock_file(beside, run)
        if not path.exists():
            return False
        lock = FileLock.take(path)
        if lock is not None:
            lock.release()
        return lock is None
    if engine.dialect.name != "postgresql":
        return False
    with engine.connect() as session:
        try:
            with session.begin():
                return not take_in_session(session, run)
        finally:
            # The lock ends with the session.
            session.invalidate()


def _lock_file(beside: Path, run: str) -> Path:
    return beside.with_name(f"{beside.name}.{run}.lock")


def _is_transient(error: sa.exc.DBAPIError) -> bool:
    """Whether a retry may succeed."""
    cause = error.orig
    if isinstance(cause, sqlite3.OperationalError):
        return (cause.sqlite_errorcode & 0xFF) in _TRANSIENT
    return error.connection_invalidated or isinstance(
        error, sa.exc.OperationalError | sa.exc.InterfaceError
    )


def _reason(error: sa.exc.DBAPIError) -> str:
    return (str(error.orig).strip().splitlines() or ["connection lost"])[0]
