"""Limits of a service: sizes, numbers, and the folder of market files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ga.errors import InputError
from ga.sources.hyperliquid import PREFIX
from ga.sources.samples import SAMPLES
from ga.sources.synthetic import parse_synthetic

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
    markets: Path | None = None
    """Folder of the market files that requests may name; None: files are not allowed."""

    def __post_init__(self) -> None:
        for name in (
            "population_size",
            "generations",
            "cells",
            "queued",
            "body_bytes",
            "watchers",
            "concurrent",
            "seconds",
            "quiet_seconds",
        ):
            if getattr(self, name) < 1:
                option = f"--max-{name.replace('_', '-')}"
                raise InputError(f"{option} must be 1 or more, not {getattr(self, name)}")
        if self.markets is not None and not self.markets.is_dir():
            raise InputError(f"--markets {self.markets}: no such folder; make it, or leave it out")

    def market(self, spec: str) -> str:
        """The allowed market for ``spec``, in the format of ``evolve --market``.

        Raises:
            InputError: it is too large, or a file outside the folder of markets.
        """
        if spec in SAMPLES or spec == "hyperliquid" or spec.startswith(PREFIX):
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
        try:
            path = (root / spec).resolve()
            if not path.is_relative_to(root) or path == root or not path.exists():
                raise missing
        except (OSError, ValueError, RuntimeError):
            # The name is too long, contains NUL, or is a loop of links.
            raise missing from None
        return str(path)
