"""Records of load: a cluster that grows and shrinks, and a service with users."""

from __future__ import annotations

from dataclasses import dataclass

from validation.evidence.base import Record


@dataclass(frozen=True, kw_only=True)
class Scaling(Record):
    """A cluster under Ray's autoscaler, with one run's load on it and without."""

    KIND = "scaling"
    workload: str
    least: int
    """Nodes that it must have."""
    most: int
    """Nodes that it may have, and that the run asked for."""
    before: int
    """Nodes before the run."""
    peak: int
    """Most nodes that the control service reported."""
    up_s: float | None
    """From the start of the run to ``most`` nodes; None: never seen."""
    down_s: float | None
    """From the end of the run to ``least`` nodes; None: not within the window."""
    window_s: float


@dataclass(frozen=True, kw_only=True)
class Load(Record):
    """Users of the HTTP service for some time, by a load generator in a process of its own."""

    KIND = "load"
    users: int
    seconds: float
    reads: tuple[float, ...]
    """Seconds of every request that reads."""
    submits: tuple[float, ...]
    """Seconds of every request that submits."""
    streams: int
    """Event streams that were read to their end."""
    errors: tuple[str, ...]
    """Answers that were not expected, each once, and how often."""
    generator_share: float
    """CPU time of the generator as a share of one core: near 1 it measures itself."""
    others_cores: float
    """Cores that everything but the service and the generator used, stolen time included."""


@dataclass(frozen=True, kw_only=True)
class ServiceRestart(Record):
    """The service was killed with accepted runs, and started again on the same store."""

    KIND = "service_restart"
    accepted: int
    """Runs that were accepted before, by their ids."""
    open_at_kill: int
    """Of these, the runs that had not ended."""
    finished: int
    """Of these, finished in the end."""
    lost: int
    """Of these, unknown to the service afterwards."""
    failed: int
    killed: bool
    """The process ended by SIGKILL, seen from outside."""
    differing: int
    """Runs of equal requests whose digests differ."""
