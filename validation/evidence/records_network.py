"""Records of the network, of what listens on it, and of a node that is taken away with notice."""

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
    """``tcp``: from one network namespace to the other; ``ray``: from one actor to another."""
    source_network: str
    """Identity of the source's network namespace; empty: it has none of its own."""
    target_network: str
    seconds: tuple[NonNegativeFloat, ...]
    """One for every round trip that ended."""
    lost: NonNegativeInt
    """Round trips without an answer in time."""
    detail: str
    """Why there are none; empty when there are."""


@dataclass(frozen=True, kw_only=True)
class Listener(Record):
    """One TCP socket that a process of the stack listens on, and what an unauthenticated client
    gets from it."""

    KIND = "listener"
    service: str
    """Program or, where it is known, what the socket is for."""
    network: str
    """``host``, or the name of the node whose namespace it is in."""
    address: str
    """``host:port`` that it is bound to."""
    reach: Reach
    """``loopback``: only from within its namespace. ``stack``: from nodes of the stack and this
    machine. ``outside``: from wherever this machine can be reached."""
    access: Access
    """What came of attempts without credentials; ``metrics``: nothing but those are to be had."""
    attempt: str
    """Which attempt, and what it was answered."""


@dataclass(frozen=True, kw_only=True)
class Survey(Record):
    """A look at all of the stack's sockets was completed."""

    KIND = "survey"
    processes: NonNegativeInt
    listeners: NonNegativeInt
    unreadable: NonNegativeInt
    """Processes whose sockets could not be read."""
    credentials: Facts
    """Service with a secret to whether one was let in with it: only then a refusal without it says
    something."""


@dataclass(frozen=True, kw_only=True)
class Search(Record):
    """The files of the run's folder, the stack's logs and what its images tell of themselves were
    searched for the stack's secrets."""

    KIND = "search"
    files: NonNegativeInt
    secrets: NonNegativeInt


@dataclass(frozen=True, kw_only=True)
class Leak(Record):
    """A secret of the stack is in a file of the run's folder, a log, or an image's history."""

    KIND = "leak"
    secret: str
    """Whose it is; not the secret itself."""
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
