"""Tokens of the service: who may do what, how often, and what was done.

A file has one token, whose owner may do everything, or lines ``NAME ROLE TOKEN``. It is read again
when it changes, so tokens are replaced without a restart.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ga.errors import InputError
from ga.files import read_text, without_waiting

ROLES: Final = ("read", "submit", "admin")
"""Each may do what those before it may do."""
LEAST_LETTERS: Final = 16
_LOOK_SECONDS: Final = 0.5
_REMEMBERED: Final = 1_000


@dataclass(eq=False)
class Holder:
    """The owner of a token."""

    name: str
    role: str
    _allowance: float = 0.0
    _since: float = field(default=-float("inf"))

    def may(self, role: str) -> bool:
        """Whether the role includes ``role``."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def admitted(self, rate: float) -> bool:
        """Whether one more request is within ``rate`` a second; a second's worth may come at
        once.
        """
        now = time.monotonic()
        self._allowance = min(rate, self._allowance + (now - self._since) * rate)
        self._since = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True


def parse_tokens(text: str, source: str) -> dict[bytes, Holder]:
    """Digest of a token -> its owner.

    Raises:
        InputError: the text is no token, and no list of tokens.
    """
    lines = [line.split() for line in text.splitlines() if line.strip() and line.strip()[0] != "#"]
    if len(lines) == 1 and len(lines[0]) == 1:
        lines = [["admin", "admin", lines[0][0]]]
    found: dict[bytes, Holder] = {}
    names: set[str] = set()
    for number, line in enumerate(lines, 1):
        if len(line) != 3 or line[1] not in ROLES:
            raise InputError(
                f"{source}: entry {number} must be NAME ROLE TOKEN, with the role {_EITHER}"
            )
        name, role, token = line
        if len(token) < LEAST_LETTERS or not token.isascii() or not token.isprintable():
            raise InputError(
                f"{source}: entry {number}: a token needs {LEAST_LETTERS} or more printable ASCII"
                " characters"
            )
        if name in names or digest(token) in found:
            raise InputError(f"{source}: entry {number}: its name or token is there already")
        names.add(name)
        found[digest(token)] = Holder(name, role)
    if not found:
        raise InputError(f"{source}: has no token")
    return found


_EITHER: Final = ", ".join(ROLES[:-1]) + f" or {ROLES[-1]}"


def digest(token: str) -> bytes:
    """What is compared: all have one length, so the time says nothing of a token."""
    return hashlib.sha256(token.encode()).digest()


class Tokens:
    """The tokens of a text, or of a file that is read again when it changes.

    Raises:
        InputError: see ``parse_tokens``.
    """

    def __init__(
        self, text: str, *, file: Path | None = None, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._source = f"--token-file {file}" if file is not None else "token"
        self._file, self._say = file, say
        self._holders: Mapping[bytes, Holder] = parse_tokens(text, self._source)
        self._seen = self._stamp()
        self._looked = time.monotonic()
        self._lock = threading.Lock()

    def holder(self, token: str) -> Holder | None:
        """The owner of a token; None if nobody has it."""
        self._look()
        # By its hash: a lookup reveals nothing about a token.
        return self._holders.get(digest(token))

    def _look(self) -> None:
        with self._lock:
            if self._file is None or time.monotonic() - self._looked < _LOOK_SECONDS:
                return
            self._looked = time.monotonic()
            stamp = self._stamp()
            if stamp == self._seen:
                return
            self._seen = stamp
            try:
                new = parse_tokens(read_text(self._file, encoding="ascii"), self._source)
            except (OSError, UnicodeDecodeError, InputError) as error:
                reason = str(error) if isinstance(error, InputError) else type(error).__name__
                self._say(f"tokens: not changed ({reason})")
                return
            self._holders = new
            self._say(f"tokens: read again, {len(new)} valid")

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat() if self._file is not None else None
        except OSError:
            return None
        return None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino)


class Audit:
    """Who changed what: the newest entries in memory, and all of them in a file, as JSON Lines.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, file: Path | None, say: Callable[[str], None] = lambda _: None) -> None:
        self._say, self._broken = say, False
        self._newest: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)
        self._lock = threading.Lock()
        self._file = file
        try:
            if file is not None:
                open(file, "ab", opener=without_waiting).close()
        except OSError as error:
            raise InputError(
                f"--audit {file}: cannot be written ({error.strerror}); give another file"
            ) from None

    def add(self, **entry: Any) -> None:
        """Add an entry with the time."""
        line = {"at": time.time(), **entry}
        with self._lock:
            self._newest.append(line)
            if self._file is None:
                return
            try:
                # Opened each time, so that the file may be rotated.
                with open(self._file, "ab", buffering=0, opener=without_waiting) as file:
                    file.write(json.dumps(line).encode() + b"\n")
                self._broken = False
            except OSError as error:
                if not self._broken:
                    self._say(f"audit: entries are lost ({error.strerror})")
                self._broken = True

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """The newest entries, newest first."""
        with self._lock:
            return list(self._newest)[: -limit - 1 : -1]
