"""Readings of the gate itself that no run can have written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from statistics import median
from typing import Final

from validation.evidence.log import Evidence
from validation.evidence.queries import overlap
from validation.evidence.records import Gap
from validation.evidence.records_self_check import HarnessReading

_MOST_CORES: Final = 256
"""No machine that runs a stack on its own has more."""
_SLACK_S: Final = 0.1
"""Kernels count CPU time in steps of 10 ms, and read several counters one after the other."""
_LATE_S: Final = 1.0
_SHORTEST_S: Final = 0.1
"""Prometheus samples every few seconds, and the gate reads the pauses every few seconds."""
_MANY: Final = 10


def pairs(record: Evidence) -> Iterator[tuple[HarnessReading, HarnessReading]]:
    """Consecutive readings of one process, without pairs that a known gap separates."""
    away = [(absent.begin, absent.end) for absent in record.all(Gap)]
    for a, b in pairwise(record.all(HarnessReading)):
        if not away or not overlap(a.at, b.at, away):
            yield a, b


def impossible_cpu(record: Evidence) -> list[str]:
    """CPU time of a process only rises, and its threads have a part of it."""
    found = []
    for a, b in pairs(record):
        used, passed = b.harness_cpu_s - a.harness_cpu_s, max(b.monotonic_s - a.monotonic_s, 0.0)
        if not -_SLACK_S <= used <= _MOST_CORES * (passed + _LATE_S):
            found.append(f"{used:+.1f} s of CPU time in {passed:.1f} s (run {record.run})")
    found += [
        f"its threads used {one.watch_cpu_s:.1f} s of {one.harness_cpu_s:.1f} s (run {record.run})"
        for one in record.all(HarnessReading)
        if one.watch_cpu_s > one.harness_cpu_s + _LATE_S
    ]
    return found[:1]


def impossible_silence(record: Evidence) -> list[str]:
    """There are pauses between samples."""
    pauses: defaultdict[str, list[float]] = defaultdict(list)
    for reading in record.all(HarnessReading):
        for target, silence in reading.silence_s.items():
            if isinstance(silence, int | float):
                pauses[target].append(silence)
    return [
        f"samples of {target} {median(found):.3f} s apart, and at least {min(found):.3f} s: no"
        f" Prometheus takes them so often (run {record.run})"
        for target, found in pauses.items()
        if min(found) < 0 or (len(found) >= _MANY and median(found) < _SHORTEST_S)
    ]
