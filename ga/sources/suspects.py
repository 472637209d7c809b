"""Bars that may be wrong: flat stretches, spikes, splits, other bar lengths, odd funding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ga.market import Floats, Series
from ga.sources.epochs import stamp
from ga.sources.resample import format_timeframe

_DAY: Final = 86_400 * 10**9
_FEWEST_FLAT: Final = 10
"""Bars of a flat stretch."""
_SPLITS: Final = (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 50, 100)
_SPLIT_ERROR: Final = 0.04
_MUCH_FUNDING: Final = 1e-3
"""Median rate of a bar: 0.1 % in an hour would be 876 % a year."""


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A bar, or a stretch of bars, that may be wrong."""

    kind: str
    """``flat``, ``spike``, ``split`` or ``year``."""
    first: int
    """Time of the first bar, nanoseconds since the epoch, UTC."""
    bars: int
    detail: str


def find_suspects(series: Series) -> list[Suspect]:
    """All suspicious bars, by time."""
    found = [*_flat(series), *_jumps(series), *_years(series)]
    return sorted(found, key=lambda suspect: suspect.first)


def warnings_of(series: Series, *, placed: bool) -> tuple[str, ...]:
    """What a user should know before believing a result; one line each.

    Args:
        placed: the times have no offset, so their zone was assumed.
    """
    found = find_suspects(series)
    notes = []
    for kind, text in (
        ("split", "bars where the price jumps like a share split"),
        ("spike", "bars with a price far from both neighbours"),
        ("year", "bars outside the years 1900 to 2100"),
    ):
        these = [s for s in found if s.kind == kind]
        if these:
            notes.append(f"{len(these)} {text}: first {stamp(these[0].first)} ({these[0].detail})")
    weekend = _flat_weekends(series)
    if weekend:
        notes.append(
            f"{weekend:,} bars at weekends without volume or a move: they count as trading bars;"
            " remove them if the market was closed"
        )
    stretches = [s for s in found if s.kind == "flat"]
    flat = sum(s.bars for s in stretches) - weekend
    if stretches and flat > 0.05 * series.times.size:
        notes.append(f"{flat:,} bars stand in flat stretches: all four prices stay equal")
    return (
        *notes,
        *_lengths(series),
        *_funding(series),
        *(_clock_change(series) if placed else ()),
    )


def _still(series: Series) -> NDArray[np.bool_]:
    """Bars without a move, also from the bar before."""
    still = (series.high == series.low) & (series.open == series.close)
    still[1:] &= series.close[1:] == series.close[:-1]
    return np.asarray(still, dtype=np.bool_)


def _flat(series: Series) -> list[Suspect]:
    still = _still(series)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    long = ends - starts >= _FEWEST_FLAT
    return [
        Suspect(kind="flat", first=int(series.times[a]), bars=int(b - a), detail="no move")
        for a, b in zip(starts[long], ends[long], strict=True)
    ]


def _flat_weekends(series: Series) -> int:
    """Still bars without volume on Saturdays and Sundays, if most of those days' bars are still."""
    weekend = (series.times // _DAY + 3) % 7 >= 5
    still = _still(series) & weekend & (series.volume == 0)
    moving = ~_still(series) & ~weekend
    count = int(still.sum())
    return count if count > 0.5 * weekend.sum() and moving.sum() > 0.5 * (~weekend).sum() else 0


def _jumps(series: Series) -> list[Suspect]:
    """Moves between closes that are far larger than others: splits stay, spikes return."""
    close = series.close
    moves = _apart(close[1:], close[:-1])
    usual = float(np.median(moves)) if moves.size else 0.0
    found = []
    after = -1
    for i in np.flatnonzero(moves > max(25 * usual, 0.25)).tolist():
        if i <= after:
            continue
        first = int(series.times[i + 1])
        ratio = float(close[i + 1] / close[i])
        back = i + 2 < close.size and float(_apart(close[i + 2 :][:1], close[i:][:1])[0])
        if back is not False and back < 0.2 * moves[i]:
            found.append(Suspect(kind="spike", first=first, bars=1, detail=f"x {ratio:.4g}"))
            after = i + 1
        elif (split := _split(ratio)) is not None:
            found.append(Suspect(kind="split", first=first, bars=1, detail=split))
    return found + _wicks(series, usual)


def _apart(one: Floats, other: Floats) -> Floats:
    """Relative distance of prices, equal in both directions: 1 is twice or half."""
    return np.asarray(np.maximum(one / other, other / one) - 1)


def _split(ratio: float) -> str | None:
    for whole in _SPLITS:
        if abs(ratio * whole - 1) < _SPLIT_ERROR:
            return f"{whole}:1"
        if abs(ratio / whole - 1) < _SPLIT_ERROR:
            return f"1:{whole}"
    return None


def _wicks(series: Series, usual: float) -> list[Suspect]:
    """Highs and lows far from open and close."""
    top = series.high / np.maximum(series.open, series.close)
    bottom = np.minimum(series.open, series.close) / series.low
    limit = 1 + max(50 * usual, 0.25)
    return [
        Suspect(
            kind="spike",
            first=int(series.times[i]),
            bars=1,
            detail=f"{name} is {values[i]:.4g} times away",
        )
        for values, name in ((top, "high"), (bottom, "low"))
        for i in np.flatnonzero(values > limit).tolist()
    ]


def _years(series: Series) -> list[Suspect]:
    years = series.times.astype("datetime64[ns]").astype("datetime64[Y]").astype(np.int64) + 1970
    outside = np.flatnonzero((years < 1900) | (years > 2100))
    return [
        Suspect(kind="year", first=int(series.times[i]), bars=1, detail=f"year {years[i]}")
        for i in outside.tolist()
    ]


def _lengths(series: Series) -> tuple[str, ...]:
    """Whether one part of the file has bars of another length than the rest."""
    steps = np.diff(series.times)
    step = int(np.median(steps))
    quarters = [np.median(part) for part in np.array_split(steps, 4) if part.size]
    if max(quarters) > 1.5 * min(quarters):
        longest, shortest = int(max(quarters)), int(min(quarters))
        return (
            f"bars of {format_timeframe(longest)} and of {format_timeframe(shortest)} in one file:"
            " no number of bars a year fits both; give --timeframe, --start or --end",
        )
    if step % 10**9 == 0 and 2 * np.count_nonzero(steps % step) > steps.size:
        return ("more than half of the bars are not a multiple of the median bar length apart",)
    return ()


def _funding(series: Series) -> tuple[str, ...]:
    if series.funding is None:
        return ()
    due = np.abs(series.funding[series.funding != 0])
    if due.size and float(np.median(due)) > _MUCH_FUNDING:
        return (
            f"funding of {float(np.median(due)):.4g} in the median bar that has any: it is read as"
            " a fraction, not per cent",
        )
    return ()


def _clock_change(series: Series) -> tuple[str, ...]:
    """An hour that is missing on the night of a clock change shows that times are local."""
    steps = np.diff(series.times)
    if int(np.median(steps)) > 3600 * 10**9:
        return ()
    changes = 0
    for i in np.flatnonzero(steps == np.median(steps) + 3600 * 10**9).tolist():
        day = (int(series.times[i]) // _DAY + 3) % 7
        month = (
            int(series.times[i].astype("datetime64[ns]").astype("datetime64[M]").astype(int)) % 12
        )
        hour = int(series.times[i + 1]) % _DAY // (3600 * 10**9)
        if day == 6 and month in (2, 3) and hour in (2, 3, 4):
            changes += 1
    if changes:
        return (
            "an hour is missing in the night when clocks change: the times seem to be local; give"
            " their zone with --timezone",
        )
    return ()
