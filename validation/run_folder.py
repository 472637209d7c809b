"""The folder of a run: its name, and the files that are kept."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from evolution_gate.fixtures.system import termination

OUT: Final = Path("reports") / "out"
"""Parent folder of all runs."""
WORK: Final = "work"
"""Folder of ledgers, backups and restored copies of a run; only its logs are kept."""
_LOGS: Final = (".log", ".jsonl", ".json")


def stamp(at: float | None = None) -> str:
    """A moment (Unix seconds; default: now) in the format of folder names, in UTC."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))


@contextmanager
def working(folder: Path, *, keep: bool) -> Iterator[Path]:
    """Path of a new folder for working files; afterwards only its logs are kept.

    Args:
        keep: keep everything.
    """
    place = folder / WORK

    def tidy() -> None:
        if not keep and place.exists():
            only_logs(place)

    # A thread of an interrupted run may still write there, so remove files at the very end.
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
    """Remove all files except logs, and empty folders."""
    for path in sorted(place.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.suffix not in _LOGS:
            path.unlink()
    if not any(place.iterdir()):
        shutil.rmtree(place)
