"""What the coordinator and its driver process say to each other."""

from __future__ import annotations

from dataclasses import dataclass

from ga.evaluation.settings import Settings
from ga.execution.protocol import (
    PATIENCE_SECONDS,
)
from ga.market import Market


@dataclass(frozen=True, kw_only=True)
class DriverSpec:
    """What the driver needs to know."""

    address: str | None
    """``host:port`` of a cluster, or None to start one on this machine."""
    workers: int | None
    market: Market
    settings: Settings
    families: tuple[str, ...]
    patience: float = PATIENCE_SECONDS
    """Wall seconds that any batch may take before its worker counts as hung."""


@dataclass(frozen=True)
class Ready:
    """Connected and warmed up; ``slots`` evaluations can run at once."""

    slots: int
    pid: int


@dataclass(frozen=True)
class Heartbeat:
    """Still alive."""

    slots: int


@dataclass(frozen=True)
class Dispatched:
    """A batch was started on a node."""

    indices: tuple[int, ...]
    node: str


@dataclass(frozen=True)
class Done:
    """All genomes of the last request are answered."""

    slots: int


@dataclass(frozen=True)
class ClusterLost:
    """The cluster cannot go on; nothing more will come."""

    reason: str


@dataclass(frozen=True)
class AuthRejected:
    """The cluster does not take our token. Not a loss: it would be refused on the next try too."""
