"""Convert probes to outages: watched time, down time, and unwatched time.

Probes of one service are correlated: in an outage all of them fail. So outages are counted, not
probes. Time between two probes counts as watched only if they are close together; unwatched time
is neither up nor down.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

LONGEST_GAP_S: Final = 60.0
"""Two probes further apart than this leave the time between them unwatched."""


@dataclass(frozen=True, kw_only=True)
class Outage:
    """From the last good probe before it to the first good one after it: its longest possible
    duration.
    """

    begin: float
    end: float
    over: bool
    """False: probes ended before the outage did."""

    @property
    def seconds(self) -> float:
        """Its duration as far as it was observed."""
        return self.end - self.begin


@dataclass(kw_only=True)
class UptimeTracker:
    """Takes probes one by one in the order of time; its results are valid at any moment."""

    watched_s: float = 0.0
    """Time between probes, outages included."""
    outages: list[Outage] = field(default_factory=list)
    """Outages, including those whose end was not observed."""
    watched: list[tuple[float, float]] = field(default_factory=list)
    """Begin and end of every stretch of probes close together, in the order of time."""
    unwatched: list[tuple[float, float]] = field(default_factory=list)
    """Begin and end of every stretch without a probe."""
    probes: int = 0
    _last: float | None = None
    _down_since: float | None = None

    @property
    def down_s(self) -> float:
        """Time down so far, including a current outage."""
        going = 0.0
        if self._last is not None and self._down_since is not None:
            going = self._last - self._down_since
        return sum(outage.seconds for outage in self.outages) + going

    @property
    def down(self) -> bool:
        """Whether the last probe failed."""
        return self._down_since is not None

    @property
    def last(self) -> float | None:
        """Time of the last probe, Unix seconds."""
        return self._last

    def probe(self, at: float, *, ok: bool) -> None:
        """Add one probe at ``at``, Unix seconds. A clock that goes back leaves time unwatched."""
        before = self._last
        self.probes += 1
        if before is not None and 0 <= at - before <= LONGEST_GAP_S:
            self.watched_s += at - before
            self._extend(before, at)
        else:
            self.pause()
            if before is not None:
                self.unwatched.append((before, max(at, before)))
            before = at
        self._last = at
        if not ok and self._down_since is None:
            self._down_since = before
        elif ok and self._down_since is not None:
            self.outages.append(Outage(begin=self._down_since, end=at, over=True))
            self._down_since = None

    def _extend(self, begin: float, end: float) -> None:
        if self.watched and self.watched[-1][1] == begin:
            begin = self.watched.pop()[0]
        self.watched.append((begin, end))

    def pause(self) -> None:
        """Mark the time from the last probe on as unwatched."""
        if self._down_since is not None and self._last is not None:
            self.outages.append(Outage(begin=self._down_since, end=self._last, over=False))
        self._down_since = self._last = None


def merged(stretches: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Disjoint stretches that cover the same time, in the order of time."""
    found: list[tuple[float, float]] = []
    for begin, end in sorted(stretches):
        if found and begin < found[-1][1]:
            begin, end = found[-1][0], max(found.pop()[1], end)
        found.append((begin, end))
    return found
