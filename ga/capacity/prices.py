"""Prices of nodes: a table with its date and source. Prices change: check them before you buy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HOURS_A_DAY: Final = 24.0


@dataclass(frozen=True, kw_only=True)
class Price:
    """Price of one kind of cloud machine, in US dollars an hour, without disks and traffic."""

    instance: str
    region: str
    vcpus: int
    memory_gib: float
    on_demand: float
    spot: tuple[float, float]
    """Lowest and highest of the region's zones."""
    as_of: str
    """ISO date at which the source was read."""
    source: str


NODE: Final = Price(
    instance="c5.2xlarge",
    region="us-east-1",
    vcpus=8,
    memory_gib=16.0,
    on_demand=0.34,
    spot=(0.170, 0.191),
    as_of="2026-11-23",
    source="https://docs.aws.amazon.com/autoscaling/ec2/userguide/"
    "weights-spot-price-per-unit-hour-example.html",
)
"""The node that the phase 1 plan names. AWS calls the prices there examples, not current ones."""


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What a machine costs besides its instance, in US dollars, and how its price is bounded."""

    spot_cap: float
    """Most that is paid for a spot machine an hour; above it the machine is not kept."""
    disk_gb: float
    """Disk of each machine."""
    disk_gb_month: float
    """Price of a gigabyte of it for a month."""
    address_hour: float
    """Price of the public address of each machine for an hour."""
    traffic_gb_day: float
    """Assumed traffic between zones, of all machines together."""
    traffic_gb: float
    """Price of a gigabyte of it, both directions."""
    as_of: str
    """ISO date at which the sources were read."""
    source: str


EXTRAS: Final = Extras(
    spot_cap=0.2,
    disk_gb=50.0,
    disk_gb_month=0.08,
    address_hour=0.005,
    traffic_gb_day=10.0,
    traffic_gb=0.02,
    as_of="2026-11-29",
    source="https://aws.amazon.com/ebs/pricing/ https://aws.amazon.com/vpc/pricing/",
)
"""Disk and cap are those of ``deploy/aws/cluster.yaml``."""

HEADS: Final = 1
"""Machines in addition to the worker nodes: coordinator, Ray's head and the databases share one."""

VCPU_FACTOR: Final = (0.5, 1.0, 2.0)
"""Assumed vCPU seconds for one second of a core here (lowest, estimate, highest).

A vCPU is one of two threads of a core, and a busy pair does about 1.3 times the work of one thread,
so about 1.5 is expected if a core was measured alone, and about 1 if the core here is itself a
vCPU. The interval is wider than both.
"""
