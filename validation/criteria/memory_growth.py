"""Stretches of memory readings between two starts, and growth that is continued for 48 hours."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from validation import statistics
from validation.evidence.log import Evidence
from validation.evidence.queries import HEAD
from validation.evidence.records import Environment, Fault, Usage, Workload
from validation.verdict import span

MB: Final = 1e6


FEWEST_READINGS: Final = 20


STRETCH_S: Final = 60.0
"""Least time after its warm-up that a node must be watched."""


WARM_UP_S: Final = 30.0
"""After its start a node loads libraries and fills pools: that growth is no leak."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Readings of one node between two starts, its warm-up left out."""

    node: str
    times: Sequence[float]
    memory: Sequence[float]
    limit: float | None

    @property
    def span(self) -> float:
        """Seconds from the first reading to the last one."""
        return self.times[-1] - self.times[0] if self.times else 0.0

    @property
    def enough(self) -> bool:
        """Whether it is long enough to judge its growth."""
        return len(self.times) >= FEWEST_READINGS and self.span >= STRETCH_S

    @property
    def second_half(self) -> Stretch:
        """The part after the middle of its time."""
        middle = bisect_left(self.times, (self.times[0] + self.times[-1]) / 2)
        return Stretch(
            node=self.node,
            times=self.times[middle:],
            memory=self.memory[middle:],
            limit=self.limit,
        )


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Growth of one part, continued for 48 hours."""

    part: str
    timed: bool
    """Whether a step is a second; otherwise it is a generation."""
    slope: statistics.Estimate
    """Bytes per step."""
    steps: float
    """Steps in 48 hours."""
    seen: float
    """Steps that were observed."""
    level: float
    """Median, bytes."""
    peak: float
    limit: float

    @property
    def most(self) -> float:
        """Bytes after 48 hours at the upper bound."""
        return self.peak + max(self.slope.upper, 0.0) * self.steps

    @property
    def least(self) -> float:
        """Bytes after 48 hours at the lower bound."""
        return self.level + self.slope.lower * self.steps

    @property
    def words(self) -> str:
        """A sentence for the reason of the verdict."""
        most = f"{self.most / MB:,.0f} MB" if math.isfinite(self.most) else "any amount"
        return (
            f"{self.part} holds {self.peak / MB:.0f} MB, and {most} at most after 48 h, of "
            f"{self.limit / MB:,.0f} MB"
        )

    @property
    def missing(self) -> float | None:
        """Further steps after which noise like this would no longer hide a leak; ``None``: it grew,
        and no number of steps makes that harmless.
        """
        proven = self.slope.point if self.slope.lower > 0 else 0.0
        margin = (self.limit - self.peak) / self.steps - proven
        width = self.slope.upper - self.slope.point
        if margin <= 0 or not math.isfinite(width):
            return None
        # The error of a slope falls with the length of the record to the power of 1.5.
        return self.seen * max(math.pow(width / margin, 2 / 3) * 1.1 - 1, 0.1)

    @property
    def certain(self) -> bool:
        """Whether even the lower bound reaches the limit."""
        return self.slope.lower > 0 and self.least >= self.limit


def missing_seconds(open_ones: Sequence[Growth]) -> float | None:
    """Seconds of steady load after which none of these parts is open; None: not known."""
    seconds = [one.missing for one in open_ones if one.timed]
    known = [s for s in seconds if s is not None]
    return max(known) if known and len(known) == len(open_ones) else None


def missing(open_ones: Sequence[Growth]) -> str:
    """What is missing to exclude that these parts grow beyond their limits."""
    seconds = [one.missing for one in open_ones if one.timed]
    generations = [one.missing for one in open_ones if not one.timed]
    parts = []
    if seconds:
        known = [s for s in seconds if s is not None]
        parts.append(
            f"about {span(max(known))} more of steady load on every node"
            if len(known) == len(seconds)
            else "a longer record of a steady load"
        )
    if generations:
        count = [g for g in generations if g is not None]
        parts.append(
            f"about {math.ceil(max(count))} more generations of one workload"
            if len(count) == len(generations)
            else "workloads of more generations"
        )
    words = " and ".join(parts) or "memory readings of every part, with a known limit"
    return f"{words} (python -m validation soak gathers both)"


def cut_at_starts(record: Evidence, node: str, usages: Sequence[Usage]) -> list[Stretch]:
    """Split a node's readings at its kills and starts; drop those while it was down."""
    cuts = sorted(
        (fault.confirmed_at if fault.fault == "start" else fault.requested_at, fault.fault)
        for fault in record.all(Fault)
        if fault.target == node and fault.fault in ("kill", "drain", "start")
    )
    # An idle node is no baseline: its first work would look like a leak.
    work = [w.started_at for w in record.all(Workload) if w.arm == "distributed"]
    first = max([usages[0].at, *([min(work)] if work else [])])
    begins = [first] + [at for at, fault in cuts if fault == "start" and at > first]
    limit = _limit(record, node, usages)
    times = [u.at for u in usages]
    found = []
    for begin in begins:
        end = min((at for at, _ in cuts if at > begin), default=float("inf"))
        kept = usages[bisect_left(times, begin + WARM_UP_S) : bisect_left(times, end)]
        found.append(
            Stretch(
                node=node,
                times=[u.at for u in kept],
                memory=[float(u.memory_bytes) for u in kept],
                limit=limit,
            )
        )
    return found


def _limit(record: Evidence, node: str, usages: Sequence[Usage]) -> float | None:
    """The smallest limit that was read. The head, when it has none, may use the machine."""
    limits = [u.limit_bytes for u in usages if u.limit_bytes]
    if limits:
        return float(min(limits))
    if node == HEAD:
        for environment in record.all(Environment):
            machine = environment.values.get("memory_bytes")
            if isinstance(machine, int | float) and machine > 0:
                return float(machine)
    return None
