"""Opens a market file: only a regular one, decompressed, in its encoding."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, Any, Final

from ga.errors import InputError
from ga.sources.reading import decodes

COMPRESSED: Final = (".gz", ".zip", ".bz2", ".xz")
SAMPLE: Final = 1 << 16
"""Bytes that are looked at from either end of a text file."""
_MAGIC: Final = {
    b"\x1f\x8b": ".gz",
    b"PK\x03\x04": ".zip",
    b"BZh": ".bz2",
    b"\xfd7zXZ": ".xz",
    b"PAR1": ".parquet",
    b"ARROW1": ".feather",
    b"FEA1": ".feather",
}
_OPENERS: Final[Mapping[str, Callable[..., Any]]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
BROKEN: Final = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""Errors of a damaged compressed file."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text file: its two ends, and how to open it."""

    path: Path
    compression: str
    """Suffix of the compression; empty if there is none."""
    encoding: str
    head: str
    """The first characters."""
    tail: str
    """The last characters; begins at a line."""
    whole: bool
    """``head`` is the whole file."""

    @contextmanager
    def open(self) -> Iterator[IO[str]]:
        """The decompressed, decoded text."""
        with (
            open_binary(self.path, self.compression) as raw,
            io.TextIOWrapper(raw, encoding=self.encoding, errors="replace") as text,
        ):
            yield text

    def lines(self) -> Iterator[str]:
        """All lines, one after the other."""
        with self.open() as text:
            yield from text


def require_regular(path: Path) -> None:
    """Check that reading the path ends: that it is no pipe, device or socket.

    Raises:
        InputError: it is something else, or cannot be read.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the file") from None
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: not a regular file; save the data in a file and name that")


def data_suffix(path: Path) -> tuple[str, str]:
    """The suffixes of the data and of the compression, in lower case: ``.csv`` and ``.gz``."""
    suffix = path.suffix.lower()
    if suffix not in COMPRESSED:
        return suffix, ""
    return PurePath(path.stem).suffix.lower(), suffix


def check_content(path: Path, suffix: str) -> None:
    """Check that the first bytes do not contradict the name.

    Raises:
        InputError: names the suffix that the content has.
    """
    with path.open("rb") as file:
        start = file.read(8)
    found = next((s for magic, s in _MAGIC.items() if start.startswith(magic)), None)
    if found is not None and found != suffix:
        better = f"{path.name}{found}" if found in COMPRESSED else f"{path.stem}{found}"
        raise InputError(f"{path}: the content is that of a {found} file; rename it to {better}")
    if start.startswith(b"version "):
        raise InputError(
            f"{path}: cannot be read (a pointer of Git LFS, not the data); run: git lfs pull"
        )


@contextmanager
def open_binary(path: Path, compression: str) -> Iterator[IO[bytes]]:
    """The decompressed bytes of a file.

    Raises:
        InputError: an archive holds no file, or several.
    """
    if compression == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open(_member(path, archive)) as member:
            yield member
        return
    opener = _OPENERS.get(compression, open)
    with opener(path, "rb") as file:
        yield file


def _member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [
        member
        for member in archive.infolist()
        if not member.is_dir()
        and not member.filename.startswith("__MACOSX/")
        and not PurePath(member.filename).name.startswith(".")
    ]
    if len(members) != 1:
        raise InputError(
            f"{path}: the archive holds {len(members)} files; unpack it, and name a file or folder"
        )
    if members[0].flag_bits & 1:
        raise InputError(f"{path}: the archive is encrypted; unpack it, and name the file")
    return members[0]


def archived_suffix(path: Path) -> str:
    """Suffix of the one file in an archive, in lower case.

    Raises:
        InputError: the archive is damaged, holds no file, or several.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return PurePath(_member(path, archive).filename).suffix.lower()
    except BROKEN as error:
        raise InputError(f"{path}: cannot be read ({error}); check the file") from None


def open_text(path: Path, compression: str) -> Text:
    """Look at both ends of a text file.

    Raises:
        InputError: it cannot be decompressed, is empty, or is not text.
    """
    try:
        head, tail = _ends(path, compression)
    except BROKEN as error:
        raise InputError(f"{path}: cannot be read ({error}); check the file") from None
    if not head.strip():
        raise InputError(f"{path}: the file is empty; give a file with a header and bars")
    encoding = _encoding(head, tail)
    if encoding is None:
        raise InputError(f"{path}: cannot be read (it is not text); give a text file, or another")
    whole = len(head) < SAMPLE
    end = "" if whole else _decoded(tail, encoding, head)
    start = head.decode(encoding, errors="replace" if not whole else "strict")
    return Text(
        path=path,
        compression=compression,
        encoding=encoding,
        head=start,
        tail=start if whole else end.partition("\n")[2],
        whole=whole,
    )


def _decoded(tail: bytes, encoding: str, head: bytes) -> str:
    if encoding == "utf-16":
        # The mark is at the beginning of the file, and characters have even places (of two bytes).
        encoding = "utf-16-le" if head.startswith(b"\xff\xfe") else "utf-16-be"
    if encoding.startswith("utf-16"):
        tail = tail[len(tail) % 2 :]
    return tail.decode(encoding.removesuffix("-sig"), errors="replace")


def _ends(path: Path, compression: str) -> tuple[bytes, bytes]:
    with open_binary(path, compression) as file:
        head = file.read(SAMPLE)
        if not compression:
            file.seek(max(0, os.fstat(file.fileno()).st_size - SAMPLE))
            return head, file.read(SAMPLE)
        last, tail = b"", head
        while block := file.read(SAMPLE):
            last, tail = tail, block
        return head, (last + tail)[-SAMPLE:]


def _encoding(head: bytes, tail: bytes) -> str | None:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if head.startswith(b"\xef\xbb\xbf"):
        return "utf-8-sig"
    if b"\x00" in head:
        # Text in UTF-16 without its mark has a zero in every second byte.
        for encoding, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
            if zeros.count(0) > 0.9 * len(zeros):
                return encoding
        return None
    # The tail begins anywhere, perhaps inside a character.
    if decodes(head, "utf-8") and any(decodes(tail[skip:], "utf-8") for skip in range(4)):
        return "utf-8"
    strange = sum(byte > 127 or byte < 9 for byte in head)
    return "latin-1" if strange < 0.05 * len(head) else None
