"""Records of the network, of listening sockets, and of a node that is removed with notice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt

from validation.evidence.base import Record
from validation.evidence.schema import Facts

Via = Literal["tcp", "ray"]
Reach = Literal["loopback", "stack", "outside"]
Access = Literal["refused", "metrics", "open", "unknown", "not tried"]


@dataclass(frozen=True, kw_only=True)
class RoundTrips(Record):
    """Round trips of small messages from one node to another, one after the other."""

    KIND = "round_trips"
    source: str
    target: str
    via: Via
    """``tcp``: between network namespaces; ``ray``: between actors."""
    source_network: str
    """Identity of the source's network namespace; empty without a separate one."""
    target_network: str
    seconds: tuple[NonNegativeFloat, ...]
    """Duration of every completed round trip."""
    lost: NonNegativeInt
    """Round trips without an answer in time."""
    detail: str
    """Why there are no round trips; empty when there are."""


@dataclass(frozen=True, kw_only=True)
class Listener(Record):
    """One TCP socket that a process of the stack listens on, and what an unauthenticated client
    gets from it.
    """

    KIND = "listener"
    service: str
    """Purpose of the socket where it is known, else the program."""
    network: str
    """``host``, or the name of the node whose namespace it is in."""
    address: str
    """``host:port`` that it is bound to."""
    reach: Reach
    """``loopback``: only from within its namespace. ``stack``: from nodes of the stack and this
    machine. ``outside``: from wherever this machine can be reached."""
    access: Access
    """Result of attempts without credentials; ``metrics``: only metrics are served."""
    attempt: str
    """The attempt and its answer."""
    at_work: bool = False
    """Whether it was found while an evolution ran on the cluster."""


@dataclass(frozen=True, kw_only=True)
class Survey(Record):
    """A complete survey of the stack's sockets."""

    KIND = "survey"
    processes: NonNegativeInt
    listeners: NonNegativeInt
    unreadable: NonNegativeInt
    """Processes whose sockets could not be read."""
    credentials: Facts
    """Service with a secret to whether it accepts that secret. Only then does a refusal without the
    secret prove something.
    """
    at_work: bool = False
    """Whether an evolution ran on the cluster."""
    evaluating: NonNegativeInt = 0
    """Processes that evaluated, at its beginning or at its end; the smaller number."""


@dataclass(frozen=True, kw_only=True)
class Search(Record):
    """A search for the stack's secrets in the run's folder, the stack's logs and the history of its
    images.
    """

    KIND = "search"
    files: NonNegativeInt
    secrets: NonNegativeInt


@dataclass(frozen=True, kw_only=True)
class Leak(Record):
    """A secret of the stack is in a file of the run's folder, a log, or an image's history."""

    KIND = "leak"
    secret: str
    """Owner of the secret; not the secret itself."""
    file: str


@dataclass(frozen=True, kw_only=True)
class Drain(Record):
    """A node is drained: it is notified that it will be removed."""

    KIND = "drain"
    workload: str
    target: str
    requested_at: NonNegativeFloat
    deadline_s: NonNegativeFloat
    """Seconds of notice."""
    accepted: bool
    """Whether the command reported success."""
    confirmed: bool
    """The control service reported the node as draining, or gone, before the deadline."""
    detail: str
