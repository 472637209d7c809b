"""Records of the gate itself: what it costs, its clocks, and what its Prometheus missed."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import NonNegativeFloat

from validation.evidence.base import Record
from validation.evidence.schema import Facts


@dataclass(frozen=True, kw_only=True)
class ContainerExit(Record):
    """The container engine reported the exit of a service's container, for any reason."""

    KIND = "died"
    service: str
    exit_code: int
    at: NonNegativeFloat
    """By the engine."""


@dataclass(frozen=True, kw_only=True)
class HarnessReading(Record):
    """One reading of the process that gathers the evidence."""

    KIND = "observer"
    at: NonNegativeFloat
    """By the wall clock, by which all evidence is dated."""
    monotonic_s: NonNegativeFloat
    """Monotonic clock, in seconds since the machine's boot."""
    harness_cpu_s: NonNegativeFloat
    """CPU time of the whole process so far, from ``/proc``; its children are not in it."""
    watch_cpu_s: NonNegativeFloat
    """Of that, the threads that run now and only look: the watch, and this one."""
    silence_s: Facts
    """Prometheus' target to the longest time without a sample of ``up``, by the samples' own times,
    in what is new since the reading before. Empty: there is no Prometheus, or no sample yet."""
