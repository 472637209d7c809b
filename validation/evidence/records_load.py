"""Records of load: a cluster that grows and shrinks, and a service with users."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import NonNegativeFloat, NonNegativeInt

from validation.evidence.base import Record


@dataclass(frozen=True, kw_only=True)
class Scaling(Record):
    """A cluster under Ray's autoscaler, before, during and after one run."""

    KIND = "scaling"
    workload: str
    least: NonNegativeInt
    """Minimum number of nodes."""
    most: NonNegativeInt
    """Maximum number of nodes, which the run requested."""
    before: NonNegativeInt
    """Nodes before the run."""
    peak: NonNegativeInt
    """Largest number of nodes that the control service reported."""
    up_s: NonNegativeFloat | None
    """From the start of the run to ``most`` nodes; None: not observed."""
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
    """Duration of every read request, in seconds."""
    submits: tuple[NonNegativeFloat, ...]
    """Duration of every submitting request, in seconds."""
    streams: NonNegativeInt
    """Event streams that were read to their end."""
    errors: tuple[str, ...]
    """Unexpected answers, each once, with its count."""
    generator_share: NonNegativeFloat
    """CPU time of the generator as a share of one core: near 1 it is itself the bottleneck."""
    others_cores: NonNegativeFloat
    """Cores used by everything except the service and the generator, including stolen time."""


@dataclass(frozen=True, kw_only=True)
class ServiceRestart(Record):
    """A kill of the service with accepted runs, and its restart on the same store."""

    KIND = "service_restart"
    accepted: NonNegativeInt
    """Ids of the runs that were accepted before."""
    open_at_kill: NonNegativeInt
    """Of these, the runs that had not ended."""
    finished: NonNegativeInt
    """Of these, finished in the end."""
    lost: NonNegativeInt
    """Of these, unknown to the service afterwards."""
    failed: NonNegativeInt
    killed: bool
    """The process ended by SIGKILL, as observed from outside."""
    differing: NonNegativeInt
    """Runs of equal requests whose digests differ."""
