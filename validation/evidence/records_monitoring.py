"""Records of what was asked of the cluster and its monitoring from outside, and the answers."""

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
    GCS answers and has a worker node alive."""
    ok: bool
    latency_s: NonNegativeFloat
    detail: str
    excused: bool
    """Inside an announced outage of that very service."""


@dataclass(frozen=True, kw_only=True)
class Scrape(Record):
    """What Prometheus knew about one target at one moment."""

    KIND = "scrape"
    target: str
    """Name of a node as in ``usage``, or ``head``."""
    up: bool
    age_s: NonNegativeFloat | None
    """Age of its newest sample; ``None``: it has none."""
    excused: bool
    """The node was down by a receipt of ours."""


@dataclass(frozen=True, kw_only=True)
class Notification(Record):
    """One alert in a message that Alertmanager posted to the gate's webhook."""

    KIND = "notification"
    alert: str
    target: str
    """Its label ``node``; empty when it has none."""
    firing: bool
    """False: it is resolved."""
    received_at: NonNegativeFloat


@dataclass(frozen=True, kw_only=True)
class AlertWatch(Record):
    """A node was killed to see its alert fire, and started again to see it clear."""

    KIND = "alert_watch"
    alert: str
    target: str
    fault_at: NonNegativeFloat
    until: NonNegativeFloat
    """When the gate stopped waiting."""


@dataclass(frozen=True, kw_only=True)
class Panel(Record):
    """One query of a dashboard's panel, asked over the time of the gate's work."""

    KIND = "panel"
    dashboard: str
    panel: str
    query: str
    via: Via
    """Who was asked."""
    points: NonNegativeInt
    """Finite values in the answer; 0 when there was none."""
    detail: str
    """Why there is no answer; empty when there is."""
    of: NonNegativeInt
    """Queries of all panels of all dashboards together."""
