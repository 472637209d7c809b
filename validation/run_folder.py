"""The folder of a run: its name, and what of it stays."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from evolution_gate.fixtures.system import termination

OUT: Final = Path("reports") / "out"
"""Folder of the folders of all runs."""
WORK: Final = "work"
"""Ledgers, backups and restored copies of a run; what is kept of them are the logs."""
_LOGS: Final = (".log", ".jsonl", ".json")


def stamp(at: float | None = None) -> str:
    """A moment (Unix seconds; default: now) in the format of folder names, in UTC."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))


@contextmanager
def working(folder: Path, *, keep: bool) -> Iterator[Path]:
    """A folder, not made yet, for what a run works on; afterwards only logs are left of it.

    Args:
        keep: leave everything.
    """
    place = folder / WORK

    def tidy() -> None:
        if not keep and place.exists():
            only_logs(place)

    # A thread of a run that a signal ends may still write there: it is done at the very end.
    termination.owe(tidy)
    try:
        yield place
    except termination.EndedError:
        raise
    except BaseException:
        termination.settled(tidy)
        tidy()
        raise
    else:
        termination.settled(tidy)
        tidy()


def only_logs(place: Path) -> None:
    """Remove all files but logs, and folders that are then empty."""
    for path in sorted(place.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.suffix not in _LOGS:
            path.unlink()
    if not any(place.iterdir()):
        shutil.rmtree(place)
