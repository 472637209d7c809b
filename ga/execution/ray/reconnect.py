"""Reconnects to the cluster during local evaluation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ga.errors import ClusterError, InputError
from ga.execution.protocol import Evaluator

_FIRST_SECONDS: Final = 5.0
_LAST_SECONDS: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class Reconnected:
    """The cluster is back."""

    evaluator: Evaluator
    """The warm evaluator; the caller must close it."""
    tries: int
    seconds: float
    """Seconds since the loss."""


class Reconnector:
    """Retries in a thread to make an evaluator on the cluster until one is ready.

    Args:
        make: makes a new connection; raises ``InputError`` while nothing answers.
        first: seconds before the first attempt; doubled after each, up to ``last``.
    """

    def __init__(
        self,
        make: Callable[[], Evaluator],
        *,
        first: float = _FIRST_SECONDS,
        last: float = _LAST_SECONDS,
    ) -> None:
        self._make, self._first, self._last = make, first, last
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._making: Evaluator | None = None
        self._returned: Reconnected | None = None
        self._thread = threading.Thread(target=self._try, name="cluster-standby", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether ``pop`` would return an evaluator."""
        return self._returned is not None

    @property
    def trying(self) -> bool:
        """Whether it still tries: not once an evaluator is ready, nor after ``close``."""
        return self._thread.is_alive()

    def pop(self) -> Reconnected | None:
        """Return the evaluator once; the caller owns it from then on."""
        with self._lock:
            returned, self._returned = self._returned, None
        return returned

    def close(self) -> None:
        """Stop retrying; any started driver has ended when this returns."""
        with self._lock:
            self._stop.set()
            making = self._making
        if making is not None:
            # The thread waits for the evaluator; closing it raises ClusterError there.
            making.close()
        self._thread.join()
        if (left := self.pop()) is not None:
            left.evaluator.close()

    def _try(self) -> None:
        began, delay, tries = time.monotonic(), self._first, 0
        while not self._stop.wait(delay):
            delay, tries = min(2 * delay, self._last), tries + 1
            try:
                evaluator = self._make()
            except (ClusterError, InputError):
                # The cluster is not back; its loss was reported before.
                continue
            with self._lock:
                self._making = evaluator
                if self._stop.is_set():
                    break
            try:
                evaluator.warm_up()
            except (ClusterError, InputError):
                # An input error: the cluster at that address has another token.
                evaluator.close()
                continue
            with self._lock:
                seconds = time.monotonic() - began
                self._making = None
                self._returned = Reconnected(evaluator=evaluator, tries=tries, seconds=seconds)
            return
        if self._making is not None:
            self._making.close()
