"""Reading and writing the files that a user named. Standard library only."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import IO, Final

_MOST_BYTES: Final = 16 * 1024**2


def without_waiting(name: str, flags: int) -> int:
    """An opener, as of ``open``, that does not wait for the other end of a named pipe.

    A pipe that nobody writes is empty.

    Raises:
        OSError: ENXIO for writing to a pipe that nobody reads; else as ``os.open``.
    """
    number = os.open(name, flags | os.O_NONBLOCK, 0o666)
    os.set_blocking(number, True)
    return number


def append_lines(path: Path) -> IO[str]:
    """Open a file to append to it, line by line.

    Raises:
        OSError: as ``write_text``.
    """
    return open(path, "a", buffering=1, opener=without_waiting)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8.

    Raises:
        OSError: it cannot be written, or is a pipe that nobody reads.
    """
    with open(path, "w", encoding="utf-8", opener=without_waiting) as file:
        file.write(text)


def read_text(path: Path, *, encoding: str = "utf-8") -> str:
    """The text of a file of at most 16 MiB.

    Raises:
        OSError: it cannot be read; EFBIG if it is larger, or has no end.
        UnicodeDecodeError: it is not text in this encoding.
    """
    with open(path, "rb", opener=without_waiting) as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content.decode(encoding)
