"""The assets of a source, and the selection of assets, times and bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from ga.errors import InputError
from ga.market import Market, Series, align
from ga.sources.resample import parse_timeframe, resample

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER: Final = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class Part:
    """One asset of a source."""

    asset: str
    read: Callable[[], Series]
    """Reads and checks the asset; called only for selected assets."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A market that has not been read yet."""

    name: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Selected assets, times and bars; by default all."""

    assets: tuple[str, ...] | None = None
    start: int | None = None
    """Nanoseconds since the epoch, inclusive."""
    end: int | None = None
    """Nanoseconds since the epoch, exclusive."""
    step: int | None = None
    """Nanoseconds of a bar."""
    label: str = ""
    """The options as text."""

    def name(self, source: str) -> str:
        """The market's name: that of the source, and the selection if there is one."""
        return f"{source}[{self.label}]" if self.label else source

    def market(self, source: Source) -> Market:
        """Read, select and align a source.

        Raises:
            InputError: see ``series`` and ``align``.
        """
        return align(self.name(source.name), self.series(source))

    def series(self, source: Source) -> list[Series]:
        """Read the selected assets and cut them to the selected bars.

        Raises:
            InputError: an asset is unknown, or has no bar in the selection.
        """
        parts = source.parts
        if self.assets is not None:
            have = sorted({part.asset for part in parts})
            lacking = [asset for asset in self.assets if asset not in have]
            if lacking:
                raise InputError(
                    f"--assets {','.join(self.assets)}: market {source.name} has no"
                    f" {', '.join(lacking)}; it has {_listed(have)}"
                )
            parts = tuple(part for part in parts if part.asset in self.assets)
        cut = [self._cut(part.read()) for part in parts]
        return cut if self.step is None else [resample(series, self.step) for series in cut]

    def _cut(self, series: Series) -> Series:
        low, high = 0, int(series.times.size)
        if self.start is not None:
            low = int(np.searchsorted(series.times, np.int64(self.start)))
        if self.end is not None:
            high = int(np.searchsorted(series.times, np.int64(self.end)))
        if low == 0 and high == series.times.size:
            return series
        if low >= high:
            raise InputError(
                f"--start, --end: {series.asset} has no bar in the range requested; its bars are"
                f" from {_text(int(series.times[0]))} to {_text(int(series.times[-1]))} (UTC)"
            )
        cut = slice(low, high)
        return replace(
            series,
            times=series.times[cut],
            open=series.open[cut],
            high=series.high[cut],
            low=series.low[cut],
            close=series.close[cut],
            volume=series.volume[cut],
            funding=None if series.funding is None else series.funding[cut],
        )


def parse_selection(
    *,
    assets: Sequence[str] | None,
    start: str | None,
    end: str | None,
    timeframe: str | None,
) -> Selection:
    """Parse and check the options of a selection.

    Raises:
        InputError: the message names the option and a valid value.
    """
    wanted = None if assets is None else tuple(dict.fromkeys(a.strip() for a in assets))
    if wanted is not None and (not wanted or "" in wanted):
        raise InputError("--assets: a name is empty; give names such as BTC,ETH or leave it out")
    first = None if start is None else parse_time(start, option="--start")
    stop = None if end is None else parse_time(end, option="--end")
    if first is not None and stop is not None and first >= stop:
        raise InputError(f"--start {start}: is not before --end {end}; give an earlier time")
    typed = {
        "assets": "+".join(sorted(wanted)) if wanted else None,
        "start": start,
        "end": end,
        "timeframe": timeframe,
    }
    return Selection(
        assets=wanted,
        start=first,
        end=stop,
        step=None if timeframe is None else parse_timeframe(timeframe),
        label=",".join(f"{key}={text.strip()}" for key, text in typed.items() if text is not None),
    )


def parse_time(text: str, *, option: str) -> int:
    """Nanoseconds since the epoch of an ISO 8601 time; UTC if it has no offset.

    Raises:
        InputError: not such a time.
    """
    try:
        stamp = datetime.fromisoformat(text.strip())
        if stamp.tzinfo is None:
            stamp = stamp.replace(tzinfo=UTC)
        nanoseconds = (stamp - _EPOCH) // timedelta(microseconds=1) * 1000
    except (ValueError, OverflowError):
        raise InputError(
            f"{option} {text}: not an ISO 8601 time; give one such as 2024-01-31 or"
            " 2024-01-31T12:00:00+00:00"
        ) from None
    return max(-_NEVER, min(nanoseconds, _NEVER))


def _text(nanoseconds: int) -> str:
    stamp = _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    return stamp.strftime("%Y-%m-%dT%H:%M:%S")


def _listed(names: Sequence[str], *, most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
