"""Damages of a file that holds JSON: what a disk, an editor or an attacker may leave in it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from validation.evidence.chained_lines import GENESIS

VALUES: Final[Mapping[str, str]] = {
    "huge integer": "1" + "0" * 400,
    "endless integer": "1" * 5000,
    "infinite number": "1e999",
    "largest number": "1.7e308",
    "largest negative number": "-1.7e308",
    "NaN": "NaN",
    "nesting": "[" * 470 + "]" * 470,
    "deep nesting": "[" * 100_000 + "]" * 100_000,
    "list": "[]",
    "object": "{}",
    "null": "null",
    "truth": "true",
    "text": '"x"',
    "lone surrogate": '"\\ud800"',
    "NUL": '"\\u0000"',
    "path": '"../../etc/passwd"',
}
"""JSON in place of one value."""
_NOBODY: Final = 65534


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _large(path: Path) -> None:
    """Sparse: it takes no room on the disk."""
    path.write_bytes(b"")
    os.truncate(path, 300 * 1024**2)


def _long_line(path: Path) -> None:
    path.write_bytes(b'{"a":[' + b"[]," * (4 * 1024**2) + b"[]]}\n")


FILES: Final[Mapping[str, Callable[[Path], object]]] = {
    "empty": lambda path: path.write_bytes(b""),
    "blank": lambda path: path.write_bytes(b"\n" * 1000),
    "truncated": _cut,
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe" + path.read_bytes()),
    "NUL bytes": lambda path: path.write_bytes(b"\0" * 1000 + b"\n"),
    "number": lambda path: path.write_bytes(b"1\n"),
    "folder": _folder,
    "link to itself": _loop,
    "pipe": _pipe,
    "300 MiB": _large,
    "long line": _long_line,
    "no permission": lambda path: path.chmod(0),
}
"""Instead of the file."""


def with_value(text: str, pattern: str, value: str, *, chained: bool) -> str:
    """The text with another value behind the first match of a pattern such as ``"seed": ``.

    Args:
        chained: It is lines with a chain of hashes, which is computed again.
    """
    changed, count = re.subn(
        rf'({pattern})("[^"]*"|[^,}}\s]+)', lambda m: m[1] + value, text, count=1
    )
    assert count == 1
    if not chained:
        return changed
    chain, lines = GENESIS, []
    for line in changed.splitlines():
        bare = re.sub(r'"chain":"[0-9a-f]{64}",', "", line, count=1)
        chain = hashlib.sha256((chain + bare).encode()).hexdigest()
        place = bare.index('"data":')
        lines.append(f'{bare[:place]}"chain":"{chain}",{bare[place:]}\n')
    return "".join(lines)


@contextmanager
def public_folder() -> Iterator[Path]:
    """A folder that every user can enter and change."""
    place = Path(tempfile.mkdtemp(prefix="ga-damage-"))
    place.chmod(0o777)
    try:
        yield place
    finally:
        shutil.rmtree(place)


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may read everything, so be another user for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
