"""Records the price of a node from the engine's own plan."""

from __future__ import annotations

import json
import sys

from evolution_gate.fixtures.system.launch import run
from validation.evidence.errors import EvidenceError
from validation.evidence.records_price import NodePrice


def node_price() -> NodePrice:
    """Ask ``python -m ga plan --prices``.

    Raises:
        EvidenceError: the plan contains no price.
    """
    argv = [sys.executable, "-m", "ga", "plan", "--prices", "--json"]
    done = run(argv, capture_output=True)
    if done.returncode != 0:
        raise EvidenceError(f"no prices: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    said = json.loads(done.stdout)
    low, point, high = said["vcpu_factor"]
    extras = said["extras"]
    return NodePrice(
        instance=said["instance"],
        region=said["region"],
        vcpus=said["vcpus"],
        on_demand=said["on_demand"],
        spot=max(said["spot"]),
        heads=said["heads"],
        factor_low=low,
        factor=point,
        factor_high=high,
        # The older of two readings.
        as_of=min(said["as_of"], extras["as_of"]),
        source=f"{said['source']} {extras['source']}",
        spot_low=min(said["spot"]),
        spot_cap=extras["spot_cap"],
        disk_gb=extras["disk_gb"],
        disk_gb_month=extras["disk_gb_month"],
        address_hour=extras["address_hour"],
        traffic_gb_day=extras["traffic_gb_day"],
        traffic_gb=extras["traffic_gb"],
    )
