"""Records of load: a cluster that grows and shrinks, and a service with users."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import NonNegativeFloat, NonNegativeInt

from validation.evidence.base import Record


@dataclass(frozen=True, kw_only=True)
class Scaling(Record):
    """A cluster under Ray's autoscaler, with one run's load on it and without."""

    KIND = "scaling"
    workload: str
    least: NonNegativeInt
    """Nodes that it must have."""
    most: NonNegativeInt
    """Nodes that it may have, and that the run asked for."""
    before: NonNegativeInt
    """Nodes before the run."""
    peak: NonNegativeInt
    """Most nodes that the control service reported."""
    up_s: NonNegativeFloat | None
    """From the start of the run to ``most`` nodes; None: never seen."""
    down_s: NonNegativeFloat | None
    """From the end of the run to ``least`` nodes; None: not within the window."""
    window_s: NonNegativeFloat


@dataclass(frozen=True, kw_only=True)
class Load(Record):
    """Load on the HTTP service, from a load generator in a separate process."""

    KIND = "load"
    users: NonNegativeInt
    seconds: NonNegativeFloat
    reads: tuple[NonNegativeFloat, ...]
    """Seconds of every request that reads."""
    submits: tuple[NonNegativeFloat, ...]
    """Seconds of every request that submits."""
    streams: NonNegativeInt
    """Event streams that were read to their end."""
    errors: tuple[str, ...]
    """Answers that were not expected, each once, and how often."""
    generator_share: NonNegativeFloat
    """CPU time of the generator as a share of one core: near 1 it measures itself."""
    others_cores: NonNegativeFloat
    """Cores that everything but the service and the generator used, stolen time included."""


@dataclass(frozen=True, kw_only=True)
class ServiceRestart(Record):
    """The service was killed with accepted runs, and started again on the same store."""

    KIND = "service_restart"
    accepted: NonNegativeInt
    """Runs that were accepted before, by their ids."""
    open_at_kill: NonNegativeInt
    """Of these, the runs that had not ended."""
    finished: NonNegativeInt
    """Of these, finished in the end."""
    lost: NonNegativeInt
    """Of these, unknown to the service afterwards."""
    failed: NonNegativeInt
    killed: bool
    """The process ended by SIGKILL, seen from outside."""
    differing: NonNegativeInt
    """Runs of equal requests whose digests differ."""
