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

HEADS: Final = 1
"""Machines in addition to the worker nodes: coordinator, Ray's head and the databases share one."""

VCPU_FACTOR: Final = (0.5, 1.0, 2.0)
"""Assumed vCPU seconds for one second of a core here (lowest, estimate, highest).

A vCPU is one of two threads of a core, and a busy pair does about 1.3 times the work of one thread,
so about 1.5 is expected if a core was measured alone, and about 1 if the core here is itself a
vCPU. The interval is wider than both.
"""
