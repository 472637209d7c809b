"""The soak's loop: workloads, some with a node kill, and monitoring in between."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Final, Protocol

import numpy as np

from validation.evidence.log import read_evidence
from validation.soak.forecast import Live
from validation.soak.segments import EVERY_S, Segments

SEGMENT_S: Final = 3600.0
REST_S: Final = 15.0
"""Seconds between two iterations of the loop."""
LEAST_FREE: Final = 10**9
"""Bytes that must stay free on the disk of the evidence."""
MOST_EVIDENCE: Final = 10**9
"""Maximum bytes of evidence: about thirty times those of two days."""
_FAULTS: Final = 0x50AC


class World(Protocol):
    """The environment of a soak: a stack, or a simulation of one."""

    def now(self) -> float:
        """Unix seconds."""

    def work(self, *, kill: bool) -> None:
        """Run and record one workload, with or without a node kill; probes continue."""

    def rest(self, seconds: float) -> None:
        """Only monitor for this many seconds."""


def due(seed: int, rate: float, watched_s: float) -> int:
    """Number of kills due in the watched time: ``rate`` an hour, at random times."""
    if rate <= 0:
        return 0
    dice = np.random.Generator(np.random.Philox(key=[seed, _FAULTS]))
    at, count = float(dice.exponential(3600 / rate)), 0
    while at <= watched_s:
        at += float(dice.exponential(3600 / rate))
        count += 1
    return count


def run(segments: Segments, world: World, live: Live, report: Callable[[str], None]) -> str:
    """Continue until the hours are watched, the decision is certain, or the disk is full.

    Args:
        report: Receives a line of progress and forecast every few seconds.

    Returns:
        Why it ended.
    """
    plan = segments.folder.plan
    every = plan.every_s or EVERY_S
    began = world.now() - every
    killed = live.kills
    while not (ended := _ended(segments, live)):
        # Counted when requested, so that a kill that fails is not repeated for ever.
        kill = due(plan.seed, plan.faults, live.seen.watched_s) > killed
        if kill or world.now() >= began + every:
            began = world.now()
            world.work(kill=kill)
            killed += kill
        else:
            left = live.wanted_s - live.seen.watched_s
            world.rest(min(REST_S, max(left, 1.0)))
        if world.now() >= segments.began + SEGMENT_S:
            # Between workloads, so that no workload lies in two segments.
            live.judge(read_evidence(segments.rotate()))
        report(live.words(world.now(), evidence_size(segments)))
    return ended


def evidence_size(segments: Segments) -> int:
    """Bytes of all segments."""
    folder = segments.folder
    return sum((folder.path / name).stat().st_size for name, _ in folder.segments)


def _ended(segments: Segments, live: Live) -> str:
    if live.seen.watched_s >= live.wanted_s:
        return f"{live.plan.hours:g} h are watched"
    if why := live.decided():
        return f"decided: {why}"
    if evidence_size(segments) > MOST_EVIDENCE:
        return f"the evidence has reached {MOST_EVIDENCE / 1e9:g} GB"
    if shutil.disk_usage(segments.folder.path).free < LEAST_FREE:
        return f"less than {LEAST_FREE / 1e9:g} GB are free on the disk of the evidence"
    return ""
