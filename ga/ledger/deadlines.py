"""Deadlines for PostgreSQL: a server that does not answer is treated as one that is away.

A stopped server (SIGSTOP, a frozen machine, a stalled disk) accepts connections and acknowledges
packets, because its kernel does. No time-out of TCP or of the server itself ends such a call, so
the client counts the seconds of silence.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from typing import Any, Final

import psycopg
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.engine.interfaces import DBAPIConnection

from ga.environment import setting
from ga.errors import InputError

VARIABLE: Final = "GA_DATABASE_SECONDS"
ANSWER_SECONDS: Final = 30.0
"""Default seconds of silence after which a call fails."""
STATEMENT_SECONDS: Final = 600.0
"""Seconds after which the server itself ends a statement: that of a client which is gone, too. The
longest statements are copies of whole tables.
"""
_CONNECT_SECONDS: Final = 5.0
_LEAST_CONNECT_SECONDS: Final = 2.0
"""The library's own minimum."""


def answer_seconds() -> float:
    """The seconds of silence from the variable ``GA_DATABASE_SECONDS``, or the default.

    Raises:
        InputError: the variable is not a positive number.
    """
    text = setting(VARIABLE)
    if text is None:
        return ANSWER_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"{VARIABLE}: must be a number of seconds above 0, not {text[:40]!r}")
    return seconds


class Connector:
    """Opens connections whose calls fail with ``OperationalError`` after seconds of silence.

    The seconds count from the last byte of the server, so a long result is not cut off.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        most = max(_LEAST_CONNECT_SECONDS, min(_CONNECT_SECONDS, seconds))
        self.parameters: dict[str, Any] = {
            "connect_timeout": math.ceil(most),
            "tcp_user_timeout": math.ceil(1000 * seconds),
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        }

    def __call__(
        self,
        _dialect: DefaultDialect,
        _record: object,
        cargs: Sequence[Any],
        cparams: dict[str, Any],
    ) -> DBAPIConnection:
        """Connect; a listener for SQLAlchemy's event ``do_connect``."""
        connection: Any = _Connection.connect(*cargs, **cparams)
        connection.seconds = self.seconds
        if "options" not in cparams:
            # Not such an option itself: connection poolers refuse those that they do not know.
            connection.autocommit = True
            connection.execute(f"SET statement_timeout = {math.ceil(1000 * STATEMENT_SECONDS)}")
            connection.autocommit = False
        return connection  # type: ignore[no-any-return]


class _Connection(psycopg.Connection[Any]):
    """A connection that is closed when the server has been silent for ``seconds``."""

    seconds: float = ANSWER_SECONDS

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **options: Any) -> Any:
        """See ``psycopg.Connection``."""
        return super().wait(self._limited(gen), *args, **options)

    def _limited(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """``gen``, with an error when nothing has happened for too long.

        The library resumes a generator several times a second, with a false value when there is
        nothing to read or write.
        """
        since = time.monotonic()
        try:
            waits_for = next(gen)
            while True:
                ready = yield waits_for
                now = time.monotonic()
                if ready:
                    since = now
                elif now - since > self.seconds:
                    gen.close()
                    # What the server does with the call is not known, so the session is over.
                    self.close()
                    raise psycopg.OperationalError(
                        f"the database has not answered for {self.seconds:g} s"
                    )
                waits_for = gen.send(ready)
        except StopIteration as done:
            return done.value
