"""The record of live positions: one JSON line for what it is about, then one for each closed bar.

It is only appended to, and is also the state that a follower continues from: a line that was cut
short by a crash is removed, and all others count.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np

from ga.errors import InputError
from ga.exported import Exported, exported_of, require_kernels
from ga.families import KERNEL_VERSION
from ga.market import Market
from ga.presentation import named_genes

FORMAT: Final = "evolution-gate/positions/1"

Positions = Mapping[str, Mapping[str, float]]
"""Key of the strategy -> asset -> target position at the close, a fraction of equity."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """The first line: what the positions are of."""

    strategies: tuple[Exported, ...]
    market: str
    """The source of the market, as it was typed."""
    bars: int
    """Bars of the market before the first recorded one."""
    history: str
    """Hash of the market with these bars."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One closed bar."""

    time: int
    """Opening time, nanoseconds since the epoch, UTC."""
    bar: str
    """``bar_digest`` of the bar when its positions were computed."""
    positions: Positions

    @property
    def text(self) -> str:
        """The line as JSON, without a line feed."""
        found = {"time": iso(self.time), "bar": self.bar, "positions": self.positions}
        return json.dumps(found)


def bar_digest(market: Market, bar: int) -> str:
    """16 hexadecimal digits over time, prices, volume and funding of one bar of all assets."""
    digest = hashlib.sha256(market.times[bar].tobytes())
    for table in (market.open, market.high, market.low, market.close, market.volume):
        digest.update(table[:, bar].tobytes())
    digest.update(b"none" if market.funding is None else market.funding[:, bar].tobytes())
    return digest.hexdigest()[:16]


def iso(nanoseconds: int) -> str:
    """A time as ISO 8601 in UTC, exact."""
    unit: Final = "ns" if nanoseconds % 10**9 else "s"
    return f"{np.datetime_as_string(np.datetime64(nanoseconds, 'ns'), unit=unit)}Z"


def read_record(path: Path) -> tuple[Header, tuple[Line, ...]]:
    """Read a record; a last line that was cut short is left out.

    Raises:
        InputError: it cannot be read, or a line is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    header, lines = _parsed(path, content)
    if header is None:
        raise InputError(f"{path}: has no complete line; record positions with: signals --follow")
    return header, lines


class Record:
    """A record that is written; a context manager. One process at a time can open it.

    Raises:
        InputError: it cannot be opened, another process follows with it, or a line is damaged.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise InputError(f"--state {path}: cannot be written ({error.strerror})") from None
        try:
            self._lock(path)
            content = path.read_bytes()
            self.header, self.lines = _parsed(path, content)
            # What a crash cut short was never a line.
            os.ftruncate(self._file, content.rfind(b"\n") + 1)
            os.lseek(self._file, 0, os.SEEK_END)
        except BaseException:
            os.close(self._file)
            raise

    def _lock(self, path: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"--state {path}: another process follows with it; end that one, or give another"
                " file"
            ) from None

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        os.close(self._file)

    def begin(self, header: Header) -> None:
        """Write the first line."""
        self._write(
            json.dumps(
                {
                    "format": FORMAT,
                    "kernel_version": KERNEL_VERSION,
                    "market": header.market,
                    "bars": header.bars,
                    "history": header.history,
                    "strategies": [
                        {"key": s.key, "family": s.genome.family, "genes": named_genes(s.genome)}
                        for s in header.strategies
                    ],
                }
            )
        )

    def append(self, line: Line) -> None:
        """Write one bar; it is on the disk when this returns."""
        self._write(line.text)

    def _write(self, text: str) -> None:
        # In one call, so that a signal cannot come between parts of a line.
        os.write(self._file, f"{text}\n".encode())
        os.fsync(self._file)


def _parsed(path: Path, content: bytes) -> tuple[Header | None, tuple[Line, ...]]:
    whole = content[: content.rfind(b"\n") + 1].splitlines()
    documents: list[Mapping[str, object]] = []
    for number, text in enumerate(whole, 1):
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise InputError(f"{path}: line {number} is not a JSON object; restore the file")
        documents.append(found)
    if not documents:
        return None, ()
    header = _header(path, documents[0])
    keys = {one.key for one in header.strategies}
    return header, tuple(
        _line(path, number, one, keys) for number, one in enumerate(documents[1:], 2)
    )


def _header(path: Path, document: Mapping[str, object]) -> Header:
    if document.get("format") != FORMAT:
        raise InputError(f"{path}: not a record of format {FORMAT}; `signals --follow` writes one")
    require_kernels(path, document.get("kernel_version"))
    bars, listed = document.get("bars"), document.get("strategies")
    if not isinstance(bars, int) or bars < 1 or not isinstance(listed, list) or not listed:
        raise InputError(f"{path}: line 1 is damaged; restore the file")
    return Header(
        strategies=tuple(exported_of(path, one) for one in listed),
        market=str(document.get("market")),
        bars=bars,
        history=str(document.get("history")),
    )


def _line(path: Path, number: int, document: Mapping[str, object], keys: set[str]) -> Line:
    try:
        text, positions = str(document["time"]), document["positions"]
        time = int(np.datetime64(text.removesuffix("Z"), "ns").astype(np.int64))
        if not isinstance(positions, dict) or set(positions) != keys:
            raise ValueError("positions of other strategies")
        found = {
            key: {asset: float(value) for asset, value in by_asset.items()}
            for key, by_asset in positions.items()
        }
        return Line(time=time, bar=str(document["bar"]), positions=found)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: line {number} is damaged ({error}); restore the file") from None


def require_same(path: Path, header: Header, strategies: Sequence[Exported]) -> None:
    """Refuse to continue the record of other strategies.

    Raises:
        InputError: it has others.
    """
    if header.strategies != tuple(strategies):
        raise InputError(
            f"--state {path}: records {', '.join(s.key[:10] for s in header.strategies)}; give"
            " these strategies in this order, or another file"
        )
