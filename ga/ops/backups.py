"""Backups of the ledger at an interval, with a series that says when the newest one was made."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from ga.errors import GaError

RETRY_SECONDS: Final = 300.0
"""Wait after a backup that failed."""


def newest(file: Path) -> float:
    """When the newest backup was made, in Unix seconds; 0 if there is none."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def series(file: Path) -> CollectorRegistry:
    """The series of a scheduled backup. The file is looked at for each scrape, so that a backup
    that somebody removed counts as none.
    """
    registry = CollectorRegistry()
    gauge = Gauge(
        "ga_backup_timestamp_seconds",
        "When the newest backup of the ledger was made, in Unix seconds; 0: there is none",
        registry=registry,
    )
    gauge.set_function(lambda: newest(file))
    return registry


def next_wait(file: Path, every: float, now: float) -> float:
    """Seconds until a backup is due: at once if there is none, or if it is dated in the future."""
    age = now - newest(file)
    return every - age if 0 <= age < every else 0.0


def repeat(
    file: Path,
    every: float,
    write: Callable[[], None],
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], object] = time.sleep,
    rounds: int | None = None,
) -> None:
    """Call ``write`` whenever a backup is due, for ever; a failure is reported and tried again.

    The time of the file decides, so that a restart neither repeats nor leaves out a backup.

    Args:
        every: Seconds from one backup to the next.
        rounds: Number of backups to try; None: no end.
    """
    done = 0
    while rounds is None or done < rounds:
        # In parts, because a clock may be set meanwhile.
        while wait := next_wait(file, every, clock()):
            sleep(min(wait, RETRY_SECONDS))
        done += 1
        try:
            write()
        except GaError as error:
            print(f"backup failed: {error}; tried again in {RETRY_SECONDS:.0f} s", file=sys.stderr)
            sleep(RETRY_SECONDS)
