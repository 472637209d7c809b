"""A market file, or a folder of them, that another program appends bars to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ga.errors import InputError
from ga.market import Market
from ga.sources import MarketSpec
from ga.sources.samples import SAMPLES
from ga.sources.tables import TEXTS

_Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """What the files had at one moment."""

    market: Market
    whole: bool
    """Whether the last line of every text file is complete."""


class GrowingFiles:
    """Reads market files when they have changed.

    Args:
        spec: the market. say: takes one line of information.

    Raises:
        InputError: it is neither a file nor a folder.
    """

    def __init__(self, spec: MarketSpec, say: Callable[[str], None]) -> None:
        self._path = Path(spec.spec)
        if spec.spec in SAMPLES or not self._path.exists():
            raise InputError(
                f"--follow: --market {spec.spec} is neither a file nor a folder; give one"
                " that grows"
            )
        self._spec, self._say = spec, say
        self._read: tuple[_Signature, Reading] | None = None
        self._failed: _Signature | None = None

    def read(self) -> Reading | None:
        """The present market; None if the files are just being written.

        Raises:
            InputError: the files cannot be read, and have not changed since they could not before.
        """
        before = self._signature()
        if self._read is not None and self._read[0] == before:
            return self._read[1]
        whole = self._whole()
        try:
            market = self._spec.load()
        except InputError as error:
            self._refused(error, before, whole=whole)
            return None
        if self._signature() != before:
            return None
        self._read = before, Reading(market=market, whole=whole)
        return self._read[1]

    def accept(self) -> None:
        """Note that the last reading continues what was read before."""
        self._failed = None

    def refuse(self, error: InputError) -> None:
        """Note that the last reading does not continue what was read before. A file that is
        rewritten has only its first bars for a moment, so it is read once more.

        Raises:
            InputError: ``error``, if the files have not changed since it was refused before.
        """
        assert self._read is not None
        signature, reading = self._read
        self._read = None
        self._refused(error, signature, whole=reading.whole)

    def _refused(self, error: InputError, signature: _Signature, *, whole: bool) -> None:
        """Tell of an error once; raise it if nothing has changed since."""
        if self._failed == signature and whole:
            raise error
        if self._failed is None:
            self._say(f"ga: {error}; it may be being written: trying again")
        self._failed = signature

    def _files(self) -> list[Path]:
        if not self._path.is_dir():
            return [self._path]
        return sorted(path for path in self._path.rglob("*") if path.is_file())

    def _signature(self) -> _Signature:
        found = []
        for path in self._files():
            try:
                status = path.stat()
            except FileNotFoundError:
                # Just replaced: another signature than before and after.
                continue
            found.append((str(path), status.st_size, status.st_mtime_ns, status.st_ino))
        return tuple(found)

    def _whole(self) -> bool:
        return all(_ends(path) for path in self._files() if path.suffix.lower() in TEXTS)


def _ends(path: Path) -> bool:
    """Whether a text file ends with a line feed."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            if file.tell() == 0:
                return False
            file.seek(-1, 2)
            return file.read(1) == b"\n"
    except OSError:
        return False
