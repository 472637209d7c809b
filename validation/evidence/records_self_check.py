"""Records of the gate itself: its CPU time, its clocks, and missing samples of its Prometheus."""

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
    """Time according to the engine."""


@dataclass(frozen=True, kw_only=True)
class HarnessReading(Record):
    """One reading of the harness process."""

    KIND = "observer"
    at: NonNegativeFloat
    """Wall-clock time, which dates all evidence."""
    monotonic_s: NonNegativeFloat
    """Monotonic clock, in seconds since the machine's boot."""
    harness_cpu_s: NonNegativeFloat
    """CPU time of the whole process so far, from ``/proc``, without its children."""
    watch_cpu_s: NonNegativeFloat
    """The part of it that the monitoring threads used: the cluster monitor, and this one."""
    silence_s: Facts
    """Prometheus' target to the longest time between samples of ``up`` (by the samples' own times)
    since the previous reading. Empty: there is no Prometheus, or no sample yet.
    """
