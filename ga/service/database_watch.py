"""Whether the database answers: one thread asks it, so that nobody else waits to find out.

While it is away, requests are refused at once and no new session is tried. Otherwise every request
would hold a thread until its own deadline.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from ga.ledger.connection import engine_of
from ga.ledger.schema import requests
from ga.redaction import redact

_EVERY: Final = 1.0
"""Seconds between two questions."""
_REASON_CHARACTERS: Final = 200
ERRORS: Final = (sa.exc.DBAPIError, sa.exc.TimeoutError)
"""What SQLAlchemy raises when a database does not work, or no session of the pool is free."""


class DatabaseWatch:
    """Asks the database once a second, and whenever somebody wants to know.

    Without ``start`` it asks only when somebody wants to know. May be used from any thread.

    Args:
        engine: the sessions that requests use; while the database is away, it opens no new one.
        seconds: of silence after which the database is away.
        say: called with one line for each change.
    """

    def __init__(
        self, engine: Engine, *, seconds: float, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._seconds, self._say = seconds, say
        # A new session for each question: a stopped server may still serve the sessions it has.
        self._engine = engine_of(engine.url, seconds=seconds, pooled=False)
        if engine.dialect.name == "postgresql":
            sa.event.listen(engine, "do_connect", self._refuse, insert=True)
        self._changed = threading.Condition()
        self._reason: str | None = None
        self._away_since = 0.0
        self._answered_at = -1.0
        """When the last question that was answered was asked."""
        self._wanted = self._stopped = False
        self._thread = threading.Thread(target=self._run, name="database-watch", daemon=True)

    @property
    def away(self) -> str | None:
        """Why the database is away, as far as it is known; None while it answers."""
        return self._reason

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        self._engine.dispose()

    def suspect(self) -> None:
        """Ask now, because a call has failed."""
        with self._changed:
            self._wanted = True
            self._changed.notify_all()

    def ask(self, seconds: float) -> str | None:
        """Why the database does not answer within ``seconds``; None if it does.

        While it is away, the reason is returned at once.
        """
        asked_at = time.monotonic()
        if not self._thread.is_alive():
            self._note(self._ask(), asked_at)
            return self._reason
        with self._changed:
            self._wanted = True
            self._changed.notify_all()
            known = self._changed.wait_for(
                lambda: self._reason is not None or self._answered_at >= asked_at, seconds
            )
            return self._reason if known else f"no answer within {seconds:g} s"

    def _run(self) -> None:
        while True:
            asked_at = time.monotonic()
            self._note(self._ask(), asked_at)
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._stopped, _EVERY)
                if self._stopped:
                    return
                self._wanted = False
                # Whoever asked meanwhile wants an answer to a later question.

    def _ask(self) -> str | None:
        try:
            with self._engine.connect() as connection:
                connection.execute(sa.select(requests.c.run).limit(1)).first()
        except ERRORS as error:
            text = str(getattr(error, "orig", None) or error)
            return redact(" ".join(text.split()))[:_REASON_CHARACTERS] or type(error).__name__
        return None

    def _note(self, reason: str | None, asked_at: float) -> None:
        with self._changed:
            before, self._reason = self._reason, reason
            if reason is None:
                self._answered_at = asked_at
            if reason is not None and before is None:
                self._away_since = asked_at
            gone = time.monotonic() - self._away_since
            self._changed.notify_all()
        if reason is not None and before is None:
            self._say(f"database: away ({reason}); requests are refused with 503 until it answers")
        elif reason is None and before is not None:
            self._say(f"database: answers again, after {gone:.0f} s")

    def _refuse(self, dialect: Any, _record: object, _args: object, _parameters: object) -> None:
        if self._reason is not None:
            raise dialect.loaded_dbapi.OperationalError(f"the database is away: {self._reason}")
