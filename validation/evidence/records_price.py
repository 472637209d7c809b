"""The record of the prices that a day in the cloud is computed from."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import NonNegativeFloat, NonNegativeInt

from validation.evidence.base import Record


@dataclass(frozen=True, kw_only=True)
class NodePrice(Record):
    """Price of a cloud machine in US dollars an hour, and the assumptions about its speed."""

    KIND = "node_price"
    instance: str
    region: str
    vcpus: NonNegativeInt
    on_demand: NonNegativeFloat
    spot: NonNegativeFloat
    """The highest of the region's zones."""
    heads: NonNegativeInt
    """Machines in addition to the worker nodes."""
    factor_low: NonNegativeFloat
    """Assumed minimum of vCPU seconds for one second of a core here."""
    factor: NonNegativeFloat
    """Taken."""
    factor_high: NonNegativeFloat
    """At most."""
    as_of: str
    """ISO date at which the source was read."""
    source: str
    spot_low: NonNegativeFloat | None = None
    """The lowest spot price of the region's zones."""
    spot_cap: NonNegativeFloat | None = None
    """Most that the deployment pays for a spot worker an hour."""
    disk_gb: NonNegativeFloat | None = None
    """Disk of each machine."""
    disk_gb_month: NonNegativeFloat | None = None
    address_hour: NonNegativeFloat | None = None
    """Price of the public address of each machine."""
    traffic_gb_day: NonNegativeFloat | None = None
    """Assumed traffic between zones, of all machines together."""
    traffic_gb: NonNegativeFloat | None = None
