"""Market: aligned, checked OHLCV (and funding) arrays of one or more assets."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ga.errors import InputError

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

NANOSECONDS_PER_YEAR: Final = 365.25 * 86_400 * 1e9
_DAY: Final = 86_400 * 10**9


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Missing bars between two bars of one asset."""

    asset: str
    after: int
    """Time of the last bar before the gap, nanoseconds since the epoch, UTC."""
    before: int
    """Time of the first bar after it."""
    missing: int
    """Number of missing bars."""


@dataclass(frozen=True, kw_only=True)
class GapReport:
    """Missing data of a market, found while it was loaded."""

    gaps: tuple[Gap, ...] = ()
    closures: int = 0
    """Weekend closures of a market that never trades on a Saturday; not counted as gaps."""
    unshared: int = 0
    """Bars dropped because not every asset had them."""
    left_out: tuple[str, ...] = ()
    """Assets that were left out because they have too few bars; one line each."""
    notes: tuple[str, ...] = ()
    """Warnings about the data, such as suspicious bars; one line each."""

    @property
    def missing(self) -> int:
        """Bars missing in all gaps."""
        return sum(gap.missing for gap in self.gaps)


@dataclass(frozen=True, kw_only=True, eq=False)
class Market:
    """Prices of ``A`` assets on one shared time axis of ``T`` bars. Immutable.

    All assets have all bars; no price is invented. Arrays are read-only, C-ordered.
    """

    name: str
    assets: tuple[str, ...]
    times: Times
    """(T,) bar open times, nanoseconds since the epoch, UTC, strictly increasing."""
    open: Floats
    """(A, T) prices in quote currency, > 0; likewise high, low and close."""
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    """(A, T) traded volume in the source's unit, >= 0; all zero if the source has none."""
    funding: Floats | None = None
    """(A, T) funding rate paid by longs to shorts over the bar, as a fraction; None: no data."""
    report: GapReport = field(default_factory=GapReport)

    def __post_init__(self) -> None:
        arrays = [self.times, self.open, self.high, self.low, self.close, self.volume]
        if self.funding is not None:
            arrays.append(self.funding)
        shape = (len(self.assets), self.times.size)
        for array in arrays[1:]:
            if array.shape != shape or array.dtype != np.float64:
                raise ValueError(f"market arrays must be float64 of shape {shape}")
        for array in arrays:
            array.flags.writeable = False

    @property
    def bars(self) -> int:
        """Number of bars ``T``."""
        return int(self.times.size)

    @cached_property
    def step(self) -> int:
        """Median distance between two bars in nanoseconds."""
        return int(np.median(np.diff(self.times)))

    @cached_property
    def bars_per_year(self) -> float:
        """Bars per year, from the data: 252 for daily shares, 8 766 for hourly crypto."""
        span = float(self.times[-1] - self.times[0])
        return (self.bars - 1) / span * NANOSECONDS_PER_YEAR

    @cached_property
    def hash(self) -> str:
        """SHA-256 of assets, times and all prices; equal hashes give equal evaluations."""
        digest = hashlib.sha256()
        digest.update("\x00".join(self.assets).encode())
        for array in (self.times, self.open, self.high, self.low, self.close, self.volume):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(b"none" if self.funding is None else self.funding.tobytes())
        return digest.hexdigest()

    def head(self, bars: int) -> Market:
        """A market of the first ``bars`` bars."""
        cut = slice(0, bars)
        return Market(
            name=self.name,
            assets=self.assets,
            times=self.times[cut].copy(),
            open=self.open[:, cut].copy(),
            high=self.high[:, cut].copy(),
            low=self.low[:, cut].copy(),
            close=self.close[:, cut].copy(),
            volume=self.volume[:, cut].copy(),
            funding=None if self.funding is None else self.funding[:, cut].copy(),
            report=self.report,
        )


@dataclass(frozen=True, kw_only=True)
class Series:
    """One asset, read and checked by its source: arrays of shape (T,)."""

    asset: str
    times: Times
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    funding: Floats | None = None
    notes: tuple[str, ...] = ()
    """Warnings of the source, one line each."""


_HOLE: Final = 30 * _DAY


def _require_dense(series: Series) -> None:
    """Refuse a history that is mostly one hole: a wrong time, or two histories in one.

    The number of bars a year would be that of the hole.
    """
    steps = np.diff(series.times)
    if steps.size < 2:
        return
    widest = int(np.argmax(steps))
    hole = int(steps[widest])
    if hole > _HOLE and hole > 20 * int(np.median(steps)) and 2 * hole > int(steps.sum()):
        before, after = _text(int(series.times[widest])), _text(int(series.times[widest + 1]))
        raise InputError(
            f"asset {series.asset}: no bar from {before} to {after}, which is most of its history;"
            f" correct a wrong time, or leave one side out: --end {after} or --start {after}"
        )


def _require_equal_steps(series: list[Series]) -> None:
    """Refuse assets whose bars have different lengths: shared times would hide it."""
    steps = {s.asset: int(np.median(np.diff(s.times))) for s in series if s.times.size > 1}
    if steps and 2 * max(steps.values()) > 3 * min(steps.values()):
        longest, shortest = max(steps, key=lambda a: steps[a]), min(steps, key=lambda a: steps[a])
        raise InputError(
            f"bars of different lengths: {steps[longest] / 6e10:g} minutes in {longest},"
            f" {steps[shortest] / 6e10:g} in {shortest}; choose with --assets, or make them equal"
            " with --timeframe"
        )


def _spans(series: list[Series]) -> str:
    """Remedies, with the times of the assets."""
    spans = [
        f"{s.asset} {_text(int(s.times[0]))} to {_text(int(s.times[-1]))}"
        for s in series[:5]
        if s.times.size
    ]
    return " or fewer assets (--assets): " + ", ".join(spans)


def _text(nanoseconds: int) -> str:
    return str(np.datetime64(nanoseconds, "ns").astype("datetime64[s]"))


def find_gaps(series: Series) -> tuple[list[Gap], int]:
    """Gaps of one asset, and the number of its weekend closures."""
    steps = np.diff(series.times)
    step = int(np.median(steps))
    days = (series.times // _DAY + 3) % 7  # 0 is Monday: the epoch was a Thursday
    closes_on_weekends = not bool(np.any(days == 5))
    gaps: list[Gap] = []
    closures = 0
    for i in np.flatnonzero(steps > 1.5 * step):
        after, before = int(series.times[i]), int(series.times[i + 1])
        spans_saturday = any((d + 3) % 7 == 5 for d in range(after // _DAY, before // _DAY + 1))
        if closes_on_weekends and spans_saturday and before - after <= 3 * _DAY:
            closures += 1
            continue
        missing = max(1, round((before - after) / step) - 1)
        gaps.append(Gap(asset=series.asset, after=after, before=before, missing=missing))
    return gaps, closures


def _fundings(name: str, series: list[Series]) -> list[Floats]:
    """The funding of every asset, or of none."""
    funding = [s.funding for s in series if s.funding is not None]
    if funding and len(funding) < len(series):
        lacking = [s.asset for s in series if s.funding is None]
        raise InputError(
            f"market {name}: {', '.join(lacking)} has no funding column but others have;"
            " add it or leave it out everywhere"
        )
    return funding


ENOUGH_BARS: Final = 1250
"""Number of bars that is enough for the longest gene of every family (``usable_families``)."""


def align(name: str, series: list[Series], *, min_bars: int = 200) -> Market:
    """Align assets on one time axis of the bars that all of them have; detects and reports gaps.

    An asset with fewer than ``ENOUGH_BARS`` is left out if another one has enough, because it would
    shorten the history of all.

    Raises:
        InputError: two assets have the same name, fewer than ``min_bars`` bars are shared, bars
            have different lengths, or a history is mostly one hole.
    """
    if not series:
        raise InputError(f"market {name}: no asset found; give a CSV or Parquet file or a folder")
    _require_equal_steps(series)
    most = max(s.times.size for s in series)
    short = [s for s in series if s.times.size < ENOUGH_BARS <= most]
    if short:
        series = [s for s in series if s.times.size >= ENOUGH_BARS]
    left_out = tuple(
        f"asset {s.asset} left out: {s.times.size:,} bars, {ENOUGH_BARS:,} are needed with other "
        "assets"
        for s in short
    )
    names = [s.asset for s in series]
    for asset in names:
        if names.count(asset) > 1:
            raise InputError(f"market {name}: two files hold asset {asset}; rename or remove one")
    ordered = sorted(series, key=lambda s: s.asset)
    for one in ordered:
        _require_dense(one)
    times = ordered[0].times
    for other in ordered[1:]:
        if not np.array_equal(times, other.times):
            times = np.intersect1d(times, other.times, assume_unique=True)
    if times.size < min_bars:
        detail = "" if len(series) == 1 else " shared by all its assets"
        raise InputError(
            f"market {name}: {times.size} bars{detail}, at least {min_bars} are needed;"
            " give a longer history" + ("" if len(series) == 1 else _spans(ordered))
        )
    gaps: list[Gap] = []
    closures = unshared = 0
    for s in ordered:
        own, closed = find_gaps(s)
        gaps += own
        closures += closed
        unshared += int(s.times.size - times.size)

    # The shared times are in every asset, so an asset with the same number of bars has the same
    # times.
    shared = [
        slice(None) if s.times.size == times.size else np.isin(s.times, times) for s in ordered
    ]

    def pick(values: list[Floats]) -> Floats:
        rows = [v[keep] for v, keep in zip(values, shared, strict=True)]
        if len(rows) == 1:
            # One asset keeps its arrays: a copy of millions of bars is large.
            return np.ascontiguousarray(rows[0])[np.newaxis]
        return np.ascontiguousarray(np.stack(rows))

    funding = _fundings(name, ordered)
    return Market(
        name=name,
        assets=tuple(s.asset for s in ordered),
        times=times.copy(),
        open=pick([s.open for s in ordered]),
        high=pick([s.high for s in ordered]),
        low=pick([s.low for s in ordered]),
        close=pick([s.close for s in ordered]),
        volume=pick([s.volume for s in ordered]),
        funding=pick(funding) if funding else None,
        report=GapReport(
            gaps=tuple(gaps),
            closures=closures,
            unshared=unshared,
            left_out=left_out,
            notes=tuple(f"{s.asset}: {note}" for s in ordered for note in s.notes),
        ),
    )
