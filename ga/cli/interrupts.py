"""Signal handling of ``python -m ga``. It is imported first, and imports almost nothing.

Before that, while Python itself starts, Python handles Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
"""As in ``typing``, whose import takes longer than this whole module."""
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Final, NoReturn

_HEARD: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SOON: Final = 0.01


class Ended(KeyboardInterrupt):
    """A signal requested the end. It is a ``KeyboardInterrupt``, so that ``except Exception`` does
    not handle it as a failure.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def how(self) -> str:
        """Description for a line on stderr."""
        if self.number == signal.SIGINT:
            return "interrupted"
        return f"ended by {signal.Signals(self.number).name}"


class Signals:
    """Handling of SIGINT, SIGTERM and SIGHUP in this process.

    At first, and after the first signal, a signal ends the process at once. After ``end_in_order``
    the next one raises ``Ended``, so that the process ends in order. A signal that was ignored at
    the start (``nohup``) stays ignored.
    """

    def __init__(self) -> None:
        self.clean_up: Callable[[], None] = lambda: None
        """Callback that removes what would outlive the process, called when it ends at once."""
        self._mine = [n for n in _HEARD if signal.getsignal(n) is not signal.SIG_IGN]
        self.end_at_once()

    def end_at_once(self) -> None:
        """From now on a signal ends the process at once."""
        self._set(self._at_once)

    def end_in_order(self) -> None:
        """From now on the next signal raises ``Ended`` in the main thread."""
        sys.unraisablehook = self._ignored
        self._set(self._raise)

    def _set(self, handler: Callable[[int, FrameType | None], None]) -> None:
        for number in self._mine:
            signal.signal(number, handler)

    def _raise(self, number: int, _frame: FrameType | None) -> None:
        # A second signal ends the process without waiting for the orderly end.
        self.end_at_once()
        raise Ended(number)

    def _at_once(self, number: int, _frame: FrameType | None) -> NoReturn:
        try:
            self.clean_up()
        finally:
            os._exit(128 + number)

    def _ignored(self, ignored: sys.UnraisableHookArgs, /) -> None:
        error = ignored.exc_value
        if not isinstance(error, Ended):
            sys.__unraisablehook__(ignored)
            return
        # An exception in a finaliser is lost, so raise it again soon.
        number = error.number
        signal.signal(signal.SIGALRM, lambda _, frame: self._raise(number, frame))
        signal.setitimer(signal.ITIMER_REAL, _SOON)
