"""Records of the gate itself: its CPU time, its clocks, and missing samples of its Prometheus."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import NonNegativeFloat, NonNegativeInt

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


@dataclass(frozen=True, kw_only=True)
class MachineReading(Record):
    """CPU time of the machine that the gate runs on, all since its boot unless said otherwise."""

    KIND = "machine"
    at: NonNegativeFloat
    cores: NonNegativeInt
    busy_s: NonNegativeFloat
    """User and system time of all programs. Without interrupts, which belong to nobody."""
    idle_s: NonNegativeFloat
    """Idle cores, including those that wait for a disk."""
    steal_s: NonNegativeFloat
    """Time that the hypervisor gave to other machines."""
    own_s: NonNegativeFloat
    """Part of ``busy_s`` that the gate, the stack, and the kernel's threads used since the monitor
    began.
    """
    throttled_s: NonNegativeFloat
    """Time for which a quota on the gate itself stopped it. A node's own quota does not count."""
    throttled: NonNegativeInt
    """Periods in which it did."""
    pressure_s: NonNegativeFloat | None
    """Time for which some program waited for a core, by the kernel; None: it does not say."""
