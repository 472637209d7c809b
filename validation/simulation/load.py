"""Synthetic records of load: of the service, of scaling and of drained nodes."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

from validation.evidence.base import Record
from validation.evidence.records import Workload
from validation.evidence.records_load import Load, Scaling, ServiceRestart
from validation.evidence.records_network import Drain
from validation.simulation.records import NODES


def load(**changes: Any) -> Load:
    """A load test of the service."""
    dice = random.Random(4)
    base = Load(
        users=50,
        seconds=21.0,
        reads=tuple(dice.uniform(0.002, 0.03) for _ in range(1200)),
        submits=tuple(dice.uniform(0.01, 0.03) for _ in range(20)),
        streams=5,
        errors=(),
        generator_share=0.2,
        others_cores=0.2,
    )
    return dataclasses.replace(base, **changes)


def served() -> list[Record]:
    """A service under load that forgets nothing."""
    restart = ServiceRestart(
        accepted=20, open_at_kill=8, finished=20, lost=0, failed=0, killed=True, differing=0
    )
    return [load(), restart]


def scaling(workload: str, **changes: Any) -> Scaling:
    """Nodes added and removed in time."""
    base = Scaling(
        workload=workload, least=1, most=3, before=1, peak=3, up_s=11.0, down_s=6.0, window_s=120.0
    )
    return dataclasses.replace(base, **changes)


def drain(workload: Workload, **changes: Any) -> Drain:
    """A drained node that ended before its deadline."""
    base = Drain(
        workload=workload.id,
        target=NODES[3],
        requested_at=workload.started_at + 2,
        deadline_s=8.0,
        accepted=True,
        confirmed=True,
        detail="draining",
    )
    return dataclasses.replace(base, **changes)
