"""Allows one service per store, because two would evolve each other's requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from ga.errors import InputError
from ga.ledger import Ledger
from ga.ledger.connection import file_of
from ga.ledger.locks import FileLock, take_in_session

LOCK_SECONDS: Final = 5.0
"""Seconds that PostgreSQL may take to detect that the last session or service ended."""
_LOOK_SECONDS: Final = 1.0
_NAME: Final = "service"


@contextmanager
def acquire_singleton(ledger: Ledger) -> Iterator[Callable[[], bool]]:
    """Acquire the lock of a store; yields a function that returns whether it is still held.

    Raises:
        InputError: another service uses the store.
    """
    file = file_of(ledger.engine.url)
    refused = InputError("--store: another service uses it; stop that, or give another store")
    if file is not None:
        lock = FileLock.take(file.with_name(f"{file.name}.service.lock"))
        if lock is None:
            raise refused
        try:
            yield lambda: True
        finally:
            lock.release()
        return
    session = _Session(ledger.engine)
    try:
        if not session.take():
            raise refused
        yield session.held
    finally:
        session.close()


class _Session:
    """A session of PostgreSQL with the lock; a restart of the server ends both."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._looked = 0.0
        self._displaced = False

    def take(self) -> bool:
        """Take the lock, in a new session if there is none; False if another session keeps it.

        Waits for the end of an earlier session, but not again while another service has the lock.
        """
        if self._connection is None:
            self._connection = self._engine.connect()
        deadline = time.monotonic() + (0.0 if self._displaced else LOCK_SECONDS)
        while True:
            taken = take_in_session(self._connection, _NAME)
            self._connection.commit()
            if taken or time.monotonic() > deadline:
                self._displaced = not taken
                return taken
            time.sleep(0.1)

    def held(self) -> bool:
        """Whether the lock is held. Checked once a second, and taken again if its session ended.

        Raises:
            DBAPIError: the database is unreachable.
        """
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return True
        if self._connection is not None:
            try:
                self._connection.execute(sa.select(1))
                self._connection.commit()
            except sa.exc.DBAPIError:
                self.close()
        if (self._connection is None or self._displaced) and not self._retaken():
            return False
        self._looked = time.monotonic()
        return True

    def _retaken(self) -> bool:
        try:
            return self.take()
        except BaseException:
            # A session without the lock must not be taken for one with it.
            self.close()
            raise

    def close(self) -> None:
        """End the session, and with it the lock."""
        if self._connection is not None:
            # Not returned to the pool, where it would keep the lock.
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
