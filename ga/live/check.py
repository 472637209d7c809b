"""Compares recorded live positions with those that the backtest gives on the same bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ga.analysis.holdout import positions
from ga.live.record import Header, Line, bar_digest, iso
from ga.market import Market

CHANGED: Final = "changed history"
MISSING: Final = "missing bar"
UNRECORDED: Final = "unrecorded bar"
REPAINTED: Final = "repainting"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first difference between a record and a market, or the backtest on it."""

    kind: str
    """``changed history``: a bar has other values than when it was recorded. ``missing bar``: the
    market lacks a recorded bar. ``unrecorded bar``: the record lacks a bar of the market.
    ``repainting``: the bars are the same, but the strategy's position on one is another now."""
    time: int
    """Opening time of the bar, nanoseconds since the epoch, UTC."""
    detail: str


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A record compared with the backtest."""

    bars: int
    """Recorded bars up to the first difference; all if there is none."""
    first: Difference | None


def check(header: Header, lines: Sequence[Line], market: Market) -> Checked:
    """Compare a record with a market and the backtest on it, exactly, in order of time.

    Args:
        market: the market from its first bar on; it may have bars after the record's last.

    Raises:
        InputError: the market is too short for a strategy.
    """
    bars = check_bars(header, lines, market)
    if market.bars <= header.bars:
        return bars
    targets = {s.key: positions(market, s.genome) for s in header.strategies}
    for number, line in enumerate(lines[: bars.bars]):
        for key, live in line.positions.items():
            now = targets[key][header.bars + number]
            for asset, position in zip(market.assets, now.tolist(), strict=True):
                if live.get(asset) != position:
                    detail = (
                        f"strategy {key[:10]}, asset {asset}: live {live.get(asset)}, backtest"
                        f" {position}"
                    )
                    found = Difference(kind=REPAINTED, time=line.time, detail=detail)
                    return Checked(bars=number, first=found)
    return bars


def check_bars(header: Header, lines: Sequence[Line], market: Market) -> Checked:
    """Compare only the bars of a record with those of a market."""
    known = min(header.bars, market.bars)
    if not holds(market, header.bars, header.history):
        detail = f"the {header.bars} bars before the record are not those that it began after"
        time = int(market.times[known - 1])
        return Checked(bars=0, first=Difference(kind=CHANGED, time=time, detail=detail))
    for number, line in enumerate(lines):
        at = header.bars + number
        found = _bar_differs(line, market, at)
        if found is not None:
            return Checked(bars=number, first=found)
    return Checked(bars=len(lines), first=None)


def _bar_differs(line: Line, market: Market, at: int) -> Difference | None:
    time = int(market.times[at]) if at < market.bars else None
    if time is None or time > line.time:
        if line.time in market.times:
            return _out_of_order(line)
        detail = "was recorded, and the market has no such bar"
        return Difference(kind=MISSING, time=line.time, detail=detail)
    if time < line.time:
        detail = f"the market has it, and the record goes on with {iso(line.time)}"
        return Difference(kind=UNRECORDED, time=time, detail=detail)
    if bar_digest(market, at) != line.bar:
        detail = "has other values than when its positions were recorded"
        return Difference(kind=CHANGED, time=time, detail=detail)
    return None


def _out_of_order(line: Line) -> Difference:
    return Difference(kind=UNRECORDED, time=line.time, detail="is in the record more than once")


def holds(market: Market, bars: int, history: str) -> bool:
    """Whether a market still begins with the bars of that hash."""
    return market.bars >= bars and market.head(bars).hash == history
