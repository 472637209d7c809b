"""The one way in which a test waits for something to come about."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class NotInTimeError(AssertionError):
    """What a test waited for did not come about."""


def wait_until(
    condition: Callable[[], T],
    *,
    seconds: float,
    what: str | Callable[[], object],
    every: float = 0.05,
    unless: Callable[[], object] = bool,
) -> T:
    """Ask for a condition again and again until it is true, and give what it said then.

    Args:
        seconds: when to give up; ``math.inf`` where only ``unless`` ends it.
        what: what is waited for, or a function that tells how it stands when time is up.
        every: seconds between two looks.
        unless: when this is true, it will never come about.

    Raises:
        NotInTimeError: time is up, or ``unless`` is true; it names ``what``.
    """
    if found := wait_at_most(condition, seconds=seconds, every=every, unless=unless):
        return found
    told = what if isinstance(what, str) else what()
    raise NotInTimeError(f"it did not come about, within {seconds:g} s: {told}")


def wait_at_most(
    condition: Callable[[], T],
    *,
    seconds: float,
    every: float = 0.05,
    unless: Callable[[], object] = bool,
) -> T:
    """``wait_until`` where it need not come about: gives what the condition said at last."""
    end = time.monotonic() + seconds
    while not (found := condition()) and not unless() and time.monotonic() < end:
        time.sleep(every)
    return found
