"""What a service accepts: sizes, numbers, and where market files may be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ga.errors import InputError
from ga.sources.hyperliquid import PREFIX
from ga.sources.samples import SAMPLES
from ga.sources.synthetic import parse_synthetic

TOKEN_VARIABLE: Final = "GA_SERVICE_TOKEN"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that one request, and all of them together, may ask for."""

    population_size: int = 10_000
    generations: int = 1_000
    cells: int = 5_000_000
    """Bars x assets of a market."""
    queued: int = 100
    """Accepted evolutions that have not ended."""
    body_bytes: int = 65_536
    watchers: int = 200
    """Open streams of events."""
    concurrent: int = 1
    """Evolutions at a time."""
    markets: Path | None = None
    """Folder of the market files that may be named; None: none may."""

    def __post_init__(self) -> None:
        for name in (
            "population_size",
            "generations",
            "cells",
            "queued",
            "body_bytes",
            "watchers",
            "concurrent",
        ):
            if getattr(self, name) < 1:
                option = f"--max-{name.replace('_', '-')}"
                raise InputError(f"{option} must be 1 or more, not {getattr(self, name)}")
        if self.markets is not None and not self.markets.is_dir():
            raise InputError(f"--markets {self.markets}: no such folder; make it, or leave it out")

    def market(self, spec: str) -> str:
        """The market that ``spec`` may mean here, as ``evolve --market`` takes it.

        Raises:
            InputError: too large, or a file that is not in the folder of markets.
        """
        if spec in SAMPLES or spec == "hyperliquid" or spec.startswith(PREFIX):
            return spec
        if spec == "synthetic" or spec.startswith("synthetic:"):
            asked = parse_synthetic(spec)
            if asked["assets"] * asked["bars"] > self.cells:
                raise InputError(f"market {spec}: assets x bars is over {self.cells:,}")
            return spec
        # One answer for what is outside and for what is missing: neither tells what there is.
        missing = InputError(f"market {spec}: no such market, and no such file among the markets")
        if self.markets is None:
            raise missing
        root = self.markets.resolve()
        try:
            path = (root / spec).resolve()
            if not path.is_relative_to(root) or path == root or not path.exists():
                raise missing
        except (OSError, ValueError, RuntimeError):
            # A name too long, with a NUL, or a loop of links.
            raise missing from None
        return str(path)
