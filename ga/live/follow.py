"""Follows a market that grows: the positions of strategies on each bar, once it has closed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from ga.analysis.holdout import positions
from ga.errors import InputError
from ga.exported import Exported
from ga.live.check import check_bars, holds
from ga.live.growing import Reading
from ga.live.record import Header, Line, Record, bar_digest, iso, require_same
from ga.market import Market


class Source(Protocol):
    """A market that grows; see ``ga.live.growing.GrowingFiles``."""

    def read(self) -> Reading | None:
        """The present market; None if it cannot be read now."""

    def accept(self) -> None:
        """The last reading continues those before."""

    def refuse(self, error: InputError) -> None:
        """It does not; raises ``error`` if that stays so."""


class Follower:
    """Gives each closed bar once, in order of time.

    A bar is closed when the market has a later one; the last one when its length and ``delay`` have
    passed, and its line in the file is complete. The positions on a bar are computed from that bar
    and those before it. Without a record it begins with the last closed bar, and with one after the
    last recorded bar.

    Args:
        strategies: with different keys. name: the source of the market, for the record.
        record: where positions are recorded, and continued from; None: nowhere.
        path: that of the record, for messages. clock: gives Unix seconds. delay: seconds.
        emit: takes each line before it is recorded. So a crash between the two repeats a line, and
            never leaves one out.

    Raises:
        InputError: the record has other strategies.
    """

    def __init__(
        self,
        strategies: Sequence[Exported],
        source: Source,
        *,
        name: str,
        record: Record | None,
        path: Path | None,
        clock: Callable[[], float],
        delay: float,
        emit: Callable[[Line], None],
    ) -> None:
        if record is not None and record.header is not None and path is not None:
            require_same(path, record.header, strategies)
        self._strategies, self._source, self._name = tuple(strategies), source, name
        self._record, self._clock, self._delay, self._emit = record, clock, delay, emit
        self._bars, self._history = 0, ""
        self._last: Reading | None = None

    def step(self) -> int:
        """Read the market, and emit the bars that have closed since; returns their number.

        Raises:
            InputError: the market cannot be read, is too short for a strategy, or its bars up to
                the last emitted one are no longer the same.
        """
        reading = self._source.read()
        if reading is None:
            return 0
        market = reading.market
        if reading is not self._last:
            error = self._discontinued(market)
            if error is not None:
                self._source.refuse(error)
                return 0
            self._source.accept()
            self._last = reading
        closed = self._closed(reading)
        if not self._bars:
            self._begin(market, closed)
        for bar in range(self._bars, closed):
            line = self._line(market, bar)
            self._emit(line)
            if self._record is not None:
                self._record.append(line)
        emitted = max(closed - self._bars, 0)
        if emitted:
            self._bars, self._history = closed, market.head(closed).hash
        return emitted

    def _closed(self, reading: Reading) -> int:
        market = reading.market
        end = (int(market.times[-1]) + market.step) / 1e9
        over = reading.whole and end + self._delay <= self._clock()
        return market.bars if over else market.bars - 1

    def _begin(self, market: Market, closed: int) -> None:
        """Begin before the last closed bar."""
        bars = closed - 1
        history = market.head(bars).hash
        if self._record is not None:
            self._record.begin(
                Header(strategies=self._strategies, market=self._name, bars=bars, history=history)
            )
        self._bars, self._history = bars, history

    def _discontinued(self, market: Market) -> InputError | None:
        """Why the market does not continue what was emitted; also continues a record."""
        if self._bars:
            if holds(market, self._bars, self._history):
                return None
            return _changed(f"the first {self._bars} bars of {self._name} are no longer the same")
        if self._record is None or self._record.header is None:
            return None
        header, lines = self._record.header, self._record.lines
        first = check_bars(header, lines, market).first
        if first is not None:
            return _changed(f"{first.kind} {iso(first.time)}: {first.detail}")
        self._bars = header.bars + len(lines)
        self._history = market.head(self._bars).hash
        return None

    def _line(self, market: Market, bar: int) -> Line:
        seen = market.head(bar + 1)
        targets = {
            one.key: dict(zip(market.assets, positions(seen, one.genome)[-1].tolist(), strict=True))
            for one in self._strategies
        }
        return Line(time=int(market.times[bar]), bar=bar_digest(market, bar), positions=targets)


def _changed(what: str) -> InputError:
    return InputError(
        f"{what}: positions before may be wrong; compare with `signals --check`, and begin a new"
        " --state"
    )
