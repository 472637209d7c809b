"""Reads the files that a verdict rests on: evidence, logs, certificates, manifests, results.

Such a file may have been written to fill the memory or to block the reader. So only regular files
are read, none of them is larger than a limit, and a line that is too long is refused before it is
parsed.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from validation.evidence.chained_lines import printable, read_object
from validation.evidence.errors import EvidenceError

MOST_BYTES: Final = 16 * 1024**2
"""Largest log, list of certificates, manifest or result."""
MOST_EVIDENCE: Final = 256 * 1024**2
"""Largest evidence file. A campaign writes a few megabytes, a soak one file for each hour."""
MOST_LINE: Final = 8 * 1024**2
"""Longest line, in bytes. Parsed, it takes up to forty times as much."""


@dataclass(frozen=True, kw_only=True)
class FileContent:
    """A file as it was read."""

    path: Path
    content: bytes

    def digest(self, size: int | None = None) -> str:
        """SHA-256 of the first bytes, hexadecimal; None: of all of them."""
        return hashlib.sha256(self.content[:size]).hexdigest()


def read_file(
    path: str | os.PathLike[str], *, most: int = MOST_BYTES, private: bool = False
) -> bytes:
    """The content of a regular file.

    Args:
        path: The file.
        most: The largest size that is read, in bytes.
        private: Refuse a file that others than its owner can read or write.

    Raises:
        EvidenceError: it is a device or a pipe, it is larger, or it is not private.
        OSError: it cannot be read.
    """
    name = os.fspath(path)
    # Opening a pipe would wait for somebody who writes into it.
    descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        if not stat.S_ISREG(found.st_mode):
            raise EvidenceError(f"{name}: not a regular file; write its content into one")
        if private and found.st_mode & 0o077:
            raise EvidenceError(f"{name}: others can read it; run: chmod 600 {name}")
        content = None
        if found.st_size <= most:
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(most + 1)
    finally:
        os.close(descriptor)
    # It may have grown since.
    if content is None or len(content) > most:
        raise EvidenceError(f"{name}: larger than {most // 1024**2} MiB, so it is not read")
    return content


def complete_lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Every line that ends with a line feed, without it, and its number from 0 on.

    One at a time: a list of a million empty lines would take a hundred times their bytes.
    """
    for number, line in enumerate(io.BytesIO(content)):
        if line.endswith(b"\n"):
            yield number, line[:-1]


def require_short(line: bytes) -> None:
    """Check that a line can be parsed in little memory.

    Raises:
        EvidenceError: it is longer than ``MOST_LINE``.
    """
    if len(line) > MOST_LINE:
        raise EvidenceError(f"longer than {MOST_LINE // 1024**2} MiB, so it is not parsed")


def read_document(path: Path, *, most: int = MOST_LINE) -> dict[str, Any]:
    """A file that holds one JSON object.

    Raises:
        EvidenceError: ``file: reason`` when it is empty or damaged.
        OSError: it cannot be read.
    """
    content = read_file(path, most=most)
    try:
        return parse_document(content)
    except EvidenceError as error:
        raise EvidenceError(f"{path}: damaged: {error}") from None


def parse_document(content: bytes) -> dict[str, Any]:
    """One JSON object in UTF-8, without what a terminal would obey.

    Raises:
        EvidenceError: it is empty or damaged.
    """
    if not content.strip():
        raise EvidenceError("the file is empty")
    return dict(printable(read_object(content, encoding="utf-8")))
