"""Messages between the coordinator and its driver process."""

from __future__ import annotations

from dataclasses import dataclass

from ga.evaluation.settings import Settings
from ga.execution.protocol import (
    PATIENCE_SECONDS,
)
from ga.market import Market


@dataclass(frozen=True, kw_only=True)
class DriverSpec:
    """Configuration of the driver."""

    address: str | None
    """``host:port`` of a cluster, or None to start one on this machine."""
    workers: int | None
    market: Market
    settings: Settings
    families: tuple[str, ...]
    patience: float = PATIENCE_SECONDS
    """Wall seconds after which the worker of any batch counts as hung."""


@dataclass(frozen=True)
class Ready:
    """Connected and warmed up; ``slots`` evaluations can run at once."""

    slots: int
    pid: int


@dataclass(frozen=True)
class Heartbeat:
    """The driver is alive."""

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
    """The cluster failed; no further message follows."""

    reason: str


@dataclass(frozen=True)
class AuthRejected:
    """The cluster rejects our token. This is not a loss, because the next attempt would be rejected
    too.
    """
