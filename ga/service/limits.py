"""Limits of a service: sizes, numbers, and the folder of market files."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from ga.errors import InputError
from ga.sources.hyperliquid import PREFIX, hyperliquid_source
from ga.sources.samples import SAMPLES
from ga.sources.synthetic import parse_synthetic
from ga.sources.tables import READABLE

_NAME: Final = r"[A-Za-z0-9_\-+=@,~ ][A-Za-z0-9_.\-+=@,~ ]*"
"""One part of a path: no ``..``, no hidden file, not empty, so that no path is absolute."""
TOKEN_VARIABLE: Final = "GA_SERVICE_TOKEN"
DATABASE_SECONDS: Final = 5.0
"""Default seconds of silence after which the database is away."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one request, and of all requests together."""

    population_size: int = 10_000
    generations: int = 1_000
    cells: int = 5_000_000
    """Bars x assets of a market."""
    queued: int = 100
    """Accepted evolutions that are not finished."""
    body_bytes: int = 65_536
    watchers: int = 200
    """Open streams of events."""
    concurrent: int = 1
    """Concurrent evolutions."""
    seconds: int = 86_400
    """Seconds that one process of an evolution may work."""
    quiet_seconds: int = 3_600
    """Seconds that an evolution may work without a new generation; loading its market counts."""
    market_bytes: int = 1 << 30
    """Bytes of a market's files together."""
    connections: int = 800
    """Open connections of all clients."""
    client_connections: int = 400
    """Open connections of one address."""
    header_seconds: int = 10
    """Seconds that a client may take for the head of a request."""
    body_seconds: int = 30
    """Seconds that a client may take for the body of a request."""
    write_seconds: int = 30
    """Seconds that a client may go without reading an answer."""
    request_rate: int = 2_000
    """Requests a second with one token."""
    hyperliquid: bool = False
    """Whether requests may name markets that are downloaded."""
    markets: Path | None = None
    """Folder of the market files that requests may name; None: files are not allowed."""

    def __post_init__(self) -> None:
        for field in fields(self):
            name = field.name
            if name not in ("markets", "hyperliquid") and getattr(self, name) < 1:
                option = f"--max-{name.replace('_', '-')}"
                raise InputError(f"{option} must be 1 or more, not {getattr(self, name)}")
        if self.markets is not None and not self.markets.is_dir():
            raise InputError(f"--markets {self.markets}: no such folder; make it, or leave it out")

    def market(self, spec: str) -> str:
        """The allowed market for ``spec``, in the format of ``evolve --market``.

        Raises:
            InputError: it is too large, or a file outside the folder of markets.
        """
        if spec in SAMPLES:
            return spec
        if spec == "hyperliquid" or spec.startswith(PREFIX):
            if not self.hyperliquid:
                raise InputError(f"market {spec}: this service does not download markets")
            hyperliquid_source(spec, start=None, end=None)
            return spec
        if spec == "synthetic" or spec.startswith("synthetic:"):
            asked = parse_synthetic(spec)
            if asked["assets"] * asked["bars"] > self.cells:
                raise InputError(f"market {spec}: assets x bars is over {self.cells:,}")
            return spec
        # The same answer for files outside the folder and for missing files, so that it reveals no
        # file.
        missing = InputError(f"market {spec}: no such market, and no such file among the markets")
        if self.markets is None:
            raise missing
        root = self.markets.resolve()
        if not all(re.fullmatch(_NAME, part) for part in spec.split("/")):
            raise missing
        try:
            path = (root / spec).resolve()
            if not path.is_relative_to(root) or path == root or not path.exists():
                raise missing
            size = sum(
                _size(file, spec) for file in (path.rglob("*") if path.is_dir() else (path,))
            )
        except InputError:
            raise
        except (OSError, ValueError, RuntimeError):
            # The name is too long, contains NUL, or is a loop of links.
            raise missing from None
        if size > self.market_bytes:
            raise InputError(f"market {spec}: its files have over {self.market_bytes:,} bytes")
        return str(path)


def _size(file: Path, spec: str) -> int:
    """The size of a file of a market; 0 of files that are none.

    Raises:
        InputError: it is not a regular file: it could block its reader, or never end.
    """
    if file.suffix.lower() not in READABLE or file.is_dir():
        return 0
    found = file.stat()
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"market {spec}: {file.name} is not a regular file")
    return found.st_size
