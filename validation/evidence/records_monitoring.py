"""Records of requests to the cluster and its monitoring from outside, and of the answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt

from validation.evidence.base import Record

Via = Literal["prometheus", "grafana"]


@dataclass(frozen=True, kw_only=True)
class Probe(Record):
    """One request to a service, made from outside."""

    KIND = "probe"
    probe: str
    """``dashboard``, ``alertmanager``, ``prometheus``, ``grafana``: it answers. ``cluster``: the
    GCS answers and has a worker node alive; no criterion judges it."""
    ok: bool
    latency_s: NonNegativeFloat
    detail: str
    excused: bool
    """Within an announced outage of the same service."""


@dataclass(frozen=True, kw_only=True)
class Job(Record):
    """A tiny job that was submitted to every declared node at once, and its checked answers."""

    KIND = "job"
    asked_at: NonNegativeFloat
    seconds: NonNegativeFloat
    """Until all answers were there, or were given up."""
    right: tuple[str, ...]
    """Nodes that computed the right answer themselves."""
    wrong: tuple[str, ...]
    missing: tuple[str, ...]
    """Nodes without an answer."""
    detail: str
    """Why the job could not be submitted; empty when it could."""


@dataclass(frozen=True, kw_only=True)
class StartUp(Record):
    """A start of the stack, from the first attempt to a steady state."""

    KIND = "start_up"
    asked_at: NonNegativeFloat
    up_at: NonNegativeFloat
    """When the attempt that succeeded had ended."""
    steady_at: NonNegativeFloat | None
    """When a job had ended right on every node; ``None``: not in the waiting time."""
    failed: tuple[str, ...]
    """Why attempts before it failed."""


@dataclass(frozen=True, kw_only=True)
class Scrape(Record):
    """State of one target in Prometheus at one moment."""

    KIND = "scrape"
    target: str
    """Name of a node as in ``usage``, or ``head``."""
    up: bool
    age_s: NonNegativeFloat | None
    """Age of its newest sample; ``None``: no sample."""
    excused: bool
    """A receipt of the gate shows that the node was down."""


@dataclass(frozen=True, kw_only=True)
class Notification(Record):
    """One alert in a message that Alertmanager posted to the gate's webhook."""

    KIND = "notification"
    alert: str
    target: str
    """The node or the service of the stack that its labels name; empty without one."""
    firing: bool
    """False: the alert is resolved."""
    received_at: NonNegativeFloat


@dataclass(frozen=True, kw_only=True)
class AlertWatch(Record):
    """Test of an alert: something is broken until the alert fires, and, where its rule forgets
    within minutes, restored until it clears.
    """

    KIND = "alert_watch"
    alert: str
    target: str
    fault_at: NonNegativeFloat
    until: NonNegativeFloat
    """When the gate stopped waiting."""
    fault: str = "kill"
    """Name of the fault that provokes it, as in its receipt."""
    clears: bool = True
    """Whether the gate waited, after it had undone the fault, until the alert cleared."""


@dataclass(frozen=True, kw_only=True)
class Panel(Record):
    """One query of a dashboard's panel over the time of the gate's work."""

    KIND = "panel"
    dashboard: str
    panel: str
    query: str
    via: Via
    """Service that received the query."""
    points: NonNegativeInt
    """Number of finite values in the answer."""
    detail: str
    """Why there is no answer; empty when there is."""
    of: NonNegativeInt
    """Number of queries of all panels of all dashboards."""
    unit: str = ""
    """Unit that the panel shows; empty: not known."""
    mean: float | None = None
    """Mean of the finite values; ``None``: not known."""
    last: float | None = None
    """The newest value of the first series."""
    expected_unit: str = ""
    expected_mean: float | None = None
    """Of the answer to a second query that was written separately; ``None``: there is none."""
    tolerance: NonNegativeFloat = 0.0
    """Relative difference of the means that is allowed."""
    own: NonNegativeFloat | None = None
    """What the gate counted itself for the newest value; ``None``: it counts no such thing."""
