"""The memory of a healthy coordinator, the places of individuals, and the prices of a day."""

from __future__ import annotations

import dataclasses
from typing import Any

from validation.evidence.records import Workload
from validation.evidence.records_ledger import Coordinator, Individuals
from validation.evidence.records_price import NodePrice


def coordinator(work: Workload) -> Coordinator:
    """Two readings a generation, of memory that does not grow."""
    count = 2 * work.generations
    return Coordinator(
        workload=work.id,
        at=tuple(work.started_at + (n + 0.5) * work.seconds / count for n in range(count)),
        memory_bytes=tuple(200_000_000 + 1000 * (n % 3) for n in range(count)),
        generations=tuple(n // 2 for n in range(count)),
    )


def places(work: Workload) -> list[Individuals]:
    """Every individual of every generation is there once."""
    return [
        Individuals(
            workload=work.id,
            generation=number,
            acknowledged=True,
            found=f"0-{work.population_size - 1}",
            again="",
        )
        for number in range(work.generations)
    ]


def price(**changes: Any) -> NodePrice:
    """The price of a cloud machine."""
    base = NodePrice(
        instance="c5.2xlarge",
        region="us-east-1",
        vcpus=8,
        on_demand=0.34,
        spot=0.19,
        heads=1,
        factor_low=0.5,
        factor=1.0,
        factor_high=2.0,
        as_of="2025-10-01",
        source="https://example.org/prices",
        spot_low=0.17,
        spot_cap=0.2,
        disk_gb=50.0,
        disk_gb_month=0.08,
        address_hour=0.005,
        traffic_gb_day=10.0,
        traffic_gb=0.02,
    )
    return dataclasses.replace(base, **changes)
