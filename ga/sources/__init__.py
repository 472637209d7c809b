"""Sources of markets: files, exchanges, generators.

``load_market`` turns what a user typed into a Market; ``ga/market.py`` aligns assets, finds gaps.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from ga.errors import InputError
from ga.market import Market
from ga.sources.files import file_source, load_files
from ga.sources.frames import Frames, frame_source
from ga.sources.hyperliquid import PREFIX, hyperliquid_source
from ga.sources.reading import ReadOptions, parse_options
from ga.sources.samples import SAMPLES, load_sample, sample_source
from ga.sources.selection import Selection, Source, parse_selection
from ga.sources.synthetic import parse_synthetic, synthetic, synthetic_source

_DEFAULT = ReadOptions()

__all__ = ["MarketSpec", "load_files", "load_frames", "load_market", "load_sample", "synthetic"]


@dataclass(frozen=True, kw_only=True)
class MarketSpec:
    """The requested market: enough to load the same market again."""

    spec: str
    assets: tuple[str, ...] | None = None
    start: str | None = None
    end: str | None = None
    timeframe: str | None = None
    time_format: str | None = None
    columns: str | None = None
    timezone: str | None = None
    symbol: str | None = None
    decimal: str | None = None

    def load(self) -> Market:
        """See ``load_market``."""
        return load_market(
            self.spec,
            assets=self.assets,
            start=self.start,
            end=self.end,
            timeframe=self.timeframe,
            options=parse_options(
                time_format=self.time_format,
                columns=self.columns,
                timezone=self.timezone,
                symbol=self.symbol,
                decimal=self.decimal,
            ),
        )

    def pinned(self, market: Market) -> MarketSpec:
        """A spec with the same meaning from another folder and at a later time."""
        path = Path(self.spec)
        spec = str(path.resolve()) if path.exists() and self.spec not in SAMPLES else self.spec
        pinned = replace(self, spec=spec)
        if self.spec.startswith(PREFIX):
            # An exchange's history grows, so the spec gets the times of the loaded bars.
            first, after = int(market.times[0]), int(market.times[-1]) + market.step
            pinned = replace(pinned, start=_iso(first), end=_iso(after))
        return pinned


def _iso(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat()


def load_market(
    spec: str,
    *,
    assets: Sequence[str] | None = None,
    start: str | None = None,
    end: str | None = None,
    timeframe: str | None = None,
    options: ReadOptions = _DEFAULT,
) -> Market:
    """Load a market, or the part of it that the options select.

    Args:
        spec: ``eurusd``, ``goog``, ``synthetic[:key=value,...]``,
            ``hyperliquid:COIN[+COIN...][,interval=1h]``, a file, or a folder of files.
        assets: Names of assets; all if None.
        start: ISO 8601 time of the first bar, UTC if it has no offset.
        end: ISO 8601 time that the last bar opens before.
        timeframe: Coarser bars to make of the source's: ``4h``, ``1d``.
        options: How to read files, where their content leaves it open.

    Raises:
        InputError: it does not exist, its content is invalid (the message names file, row and
            column), or an option is invalid or leaves no bar.
    """
    selection = parse_selection(assets=assets, start=start, end=end, timeframe=timeframe)
    return selection.market(_source(spec, selection, options))


def load_frames(
    frames: Frames,
    *,
    name: str | None = None,
    assets: Sequence[str] | None = None,
    start: str | None = None,
    end: str | None = None,
    timeframe: str | None = None,
    options: ReadOptions = _DEFAULT,
) -> Market:
    """Make a market of data frames, with the checks that files get.

    Args:
        frames: Bars of one asset, or of each asset by its name.
        name: Name of the market; if it has one frame, also of its asset.
        assets, start, end, timeframe, options: See ``load_market``.

    Raises:
        InputError: a frame's content or an option is invalid, or leaves no bar.
    """
    selection = parse_selection(assets=assets, start=start, end=end, timeframe=timeframe)
    return selection.market(frame_source(frames, options, name=name))


def _source(spec: str, selection: Selection, options: ReadOptions) -> Source:
    built_in = spec in SAMPLES or spec.split(":")[0] in ("synthetic", "hyperliquid")
    if built_in and options.given:
        raise InputError(
            f"{options.given[0]}: applies to market files only; leave it out for --market {spec}"
        )
    if spec in SAMPLES:
        return sample_source(spec)
    if spec == "synthetic" or spec.startswith("synthetic:"):
        return synthetic_source(**parse_synthetic(spec))
    if spec == "hyperliquid" or spec.startswith(PREFIX):
        return hyperliquid_source(spec, start=selection.start, end=selection.end)
    path = Path(spec)
    try:
        os.stat(path)
    except PermissionError as error:
        raise InputError(
            f"--market {spec}: cannot be read ({error.strerror}); check its rights, and those of"
            " the folders above it"
        ) from None
    except (OSError, ValueError):
        # Any other name does not exist.
        known = ", ".join([*SAMPLES, "synthetic", f"{PREFIX}BTC"])
        raise InputError(
            f"--market {spec}: no such file or folder; give a path or one of {known}"
        ) from None
    return file_source(path, options)
