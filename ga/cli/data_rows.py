"""A checked asset, and the rows that show it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ga.market import NANOSECONDS_PER_YEAR, Gap, Series
from ga.sources.epochs import stamp
from ga.sources.reading import Reading
from ga.sources.resample import format_timeframe
from ga.sources.suspects import Suspect


@dataclass(frozen=True, kw_only=True)
class Check:
    """One asset, checked."""

    series: Series
    readings: tuple[Reading, ...]
    gaps: tuple[Gap, ...]
    closures: int
    """Weekend closures, which are no gaps."""
    suspects: tuple[Suspect, ...]

    @property
    def bars_per_year(self) -> float:
        """Bars for each year between the first and the last one."""
        times = self.series.times
        return (times.size - 1) / float(times[-1] - times[0]) * NANOSECONDS_PER_YEAR

    def summary(self) -> dict[str, object]:
        """The asset in one row."""
        series = self.series
        return {
            "asset": series.asset,
            "bars": series.times.size,
            "first": stamp(int(series.times[0])),
            "last": stamp(int(series.times[-1])),
            "bar": format_timeframe(int(np.median(np.diff(series.times)))),
            "bars a year": f"{self.bars_per_year:,.0f}",
            "missing": sum(gap.missing for gap in self.gaps),
            "suspects": len(self.suspects),
        }


def reading_rows(reading: Reading) -> list[dict[str, object]]:
    """The decisions of a reading as rows."""
    lines = f"{reading.header}; {reading.skipped} other lines skipped" if reading.skipped else ""
    rows = {
        "file": reading.path,
        "format": " ".join(filter(None, (reading.kind, reading.encoding))),
        "delimiter": reading.delimiter,
        "header": lines or reading.header,
        "numbers": reading.numbers,
        **dict(reading.columns),
        "not used": ", ".join(reading.unused) or "none",
        "time format": reading.time_format,
        "time zone": reading.timezone,
        "order": reading.order,
    }
    return [{"what": what, "read as": value} for what, value in rows.items() if value]


def gap_rows(check: Check) -> list[dict[str, object]]:
    """Gaps, largest first."""
    return [
        {
            "asset": gap.asset,
            "last bar before": stamp(gap.after),
            "first bar after": stamp(gap.before),
            "missing": gap.missing,
        }
        for gap in sorted(check.gaps, key=lambda g: -g.missing)
    ]


def suspect_rows(check: Check) -> list[dict[str, object]]:
    """Suspicious bars, by time."""
    return [
        {
            "asset": check.series.asset,
            "kind": suspect.kind,
            "first": stamp(suspect.first),
            "bars": suspect.bars,
            "detail": suspect.detail,
        }
        for suspect in check.suspects
    ]
