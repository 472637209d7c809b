"""A day in the cloud, 500 individuals evolved every 300 s, stays within the budget."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

from validation import statistics
from validation.contract import CLOCK, HARNESS_CPU, Criterion, CriterionPlugin, Mutant
from validation.criteria.cpu_efficiency import impossible
from validation.criteria.generation_time import GENERATION_POPULATION, GENERATION_S
from validation.criteria.helpers import FEWEST
from validation.criteria.plan import GO
from validation.evidence.log import Evidence
from validation.evidence.queries import HEAD, workload_of, workloads
from validation.evidence.records import CpuWindow, Workload
from validation.evidence.records_ledger import Generation
from validation.evidence.records_price import NodePrice
from validation.mutation.patches import patch
from validation.thresholds import Threshold
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    downgrade,
    format_list,
    inconclusive,
    plural,
)

DOLLARS: Final = Threshold(
    criterion="cost_per_day", name="dollars", unit="$", stricter="lower", sensible=100.0
)


PRICE_DAYS: Final = 400.0
"""An older price is not accepted."""


_COVERED: Final = 0.9
"""Part of the generations' time in the ledger that the nodes' readings must span."""


def cost_per_day(records: Records) -> Verdict:
    """Cost of a day of the validated cluster, always on, that does the planned work: below $30.

    The cluster has as many worker nodes as were validated, and a machine for the coordinator, all
    of the size that the deployment names, each with its disk and public address; the coordinator
    on demand, the workers as spot machines whose price the deployment caps. Traffic between zones
    is added. The planned work, 500 individuals every 300 s, must fit: its core-seconds are quota
    times time of all nodes in the distributed speed-up workloads, so idle time is paid for too. If
    it needs more nodes than were validated, these are priced.

    The lower bound takes the lowest spot price, and the nodes that the work needs at the lower t
    bound with fast vCPUs; the upper bound takes the cap, and the nodes at the upper t bound with
    slow vCPUs.
    """
    price = _price(records)
    each: list[float] = []
    markets: set[str] = set()
    problems: list[str] = []
    for record in records:
        for workload, windows in _work(record):
            bad = _unusable(record, workload, windows)
            if bad:
                problems.append(f"{workload.id}: {bad}")
                continue
            held = math.fsum(w.allotted_s for w in windows)
            each.append(held / (workload.population_size * workload.generations))
            markets.add(workload.market)
    if len(each) < FEWEST:
        raise InconclusiveError(
            format_list([f"node-seconds of {plural(len(each), 'workload')}", *problems]),
            needs=plural(FEWEST - len(each), "more distributed speed-up workload"),
        )
    mean = statistics.mean(each)
    validated = max(record.opening.nodes for record in records)
    shapes = [
        max(validated, _nodes(price, GENERATION_POPULATION * max(seconds, 0.0) * factor))
        for seconds, factor in (
            (mean.lower, price.factor_low),
            (mean.point, price.factor),
            (mean.upper, price.factor_high),
        )
    ]
    rates = _known(price.spot_low), price.spot, _known(price.spot_cap)
    low, point, high = (
        _dollars(price, nodes, spot) for nodes, spot in zip(shapes, rates, strict=True)
    )
    work = GENERATION_POPULATION * mean.point
    most = GENERATION_POPULATION * mean.upper * price.factor_high
    needed = _nodes(price, most)
    measured = f"${point:.2f} for {validated} worker nodes and {price.heads} for the coordinator"
    budget = (
        f"${DOLLARS.value:g} pays {_affordable(price)} worker nodes at the cap; the planned work "
        f"needs {needed} at most, which it keeps busy {most / _capacity(price, needed):.0%}"
    )
    reason = _reason(price, validated, work, markets)
    if low >= DOLLARS.value:
        return Verdict(
            status=Status.FAIL,
            measured=measured,
            interval=(low, high),
            reason=f"not below ${DOLLARS.value:g}; {reason}",
            budget=budget,
        )
    if high >= DOLLARS.value:
        return inconclusive(
            f"may be up to ${high:.2f}; {reason}",
            needs="fewer or cheaper nodes, a lower cap of the spot price, or a measurement on the "
            "machine itself",
            measured=measured,
            interval=(low, high),
            budget=budget,
        )
    verdict = Verdict(
        status=Status.PASS,
        measured=measured,
        interval=(low, high),
        reason=reason,
        budget=budget,
    )
    return downgrade(verdict, problems, needs="readings of every node of every speed-up workload")


def _reason(price: NodePrice, validated: int, work: float, markets: set[str]) -> str:
    """What is priced, and what the planned work holds."""
    return (
        f"{price.instance}, 24 h: coordinator on demand at ${price.on_demand:g} an hour, "
        f"workers spot at ${price.spot:g}, capped at ${_known(price.spot_cap):g}; "
        f"{validated + price.heads} disks of {_known(price.disk_gb):g} GB and addresses; "
        f"{_known(price.traffic_gb_day):g} GB between zones ({price.as_of}). "
        f"{GENERATION_POPULATION} individuals like those on {', '.join(sorted(markets))} hold cores"
        f" for {work:.0f} s a generation; a vCPU taken as {price.factor_low:g} to "
        f"{price.factor_high:g} times a core here"
    )


def _price(records: Records) -> NodePrice:
    """The price of a node; all records must state the same one.

    Raises:
        InconclusiveError: there is no price or more than one, or it is invalid or too old.
    """
    found = []
    for record in records:
        for price in record.all(NodePrice):
            if price not in found:
                found.append(price)
            _check_date(price, record)
    if len(found) != 1:
        raise InconclusiveError(
            f"{plural(len(found), 'price')} of a node in the records", needs="one dated price"
        )
    price = found[0]
    ordered = 0 < price.factor_low <= price.factor <= price.factor_high
    if price.vcpus < 1 or price.on_demand <= 0 or not ordered:
        raise InconclusiveError(
            f"the price of {price.instance} is invalid", needs="a price and size above zero"
        )
    return price


def _check_date(price: NodePrice, record: Evidence) -> None:
    try:
        at = datetime.fromisoformat(price.as_of).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise InconclusiveError(
            f"the price has no date: {price.as_of!r}", needs="a dated price"
        ) from None
    days = (record.opening.started_at - at) / 86_400
    if not -1.0 <= days <= PRICE_DAYS:
        raise InconclusiveError(
            f"the price is of {price.as_of}, {days:.0f} days before the run",
            needs=f"a price of the last {PRICE_DAYS:.0f} days, from {price.source}",
        )


def _work(record: Evidence) -> list[tuple[Workload, list[CpuWindow]]]:
    """Distributed speed-up workloads and the readings of their worker nodes."""
    known = workloads(record)
    windows: dict[str, list[CpuWindow]] = {}
    for window in record.all(CpuWindow):
        workload_of(known, window.workload, said_by="CPU readings")
        if window.node != HEAD:
            windows.setdefault(window.workload, []).append(window)
    return [
        (workload, windows.get(workload.id, []))
        for workload in known.values()
        if workload.arm == "distributed" and workload.purpose == "speedup"
    ]


def _unusable(record: Evidence, workload: Workload, windows: list[CpuWindow]) -> str:
    """Why the node-seconds of a workload are unknown; empty when they are known."""
    if workload.exit_code != 0:
        return "did not finish"
    nodes = len({window.node for window in windows})
    if nodes != workload.nodes or len(windows) != nodes:
        return f"{len(windows)} readings of {nodes} of {workload.nodes} nodes"
    if bad := impossible(windows):
        return bad
    committed = [g for g in record.all(Generation) if g.workload == workload.id]
    if len(committed) != workload.generations or not workload.population_size:
        return f"{len(committed)} of {workload.generations} generations in the ledger"
    least = math.fsum(g.seconds for g in committed) * record.opening.cpus_per_node * _COVERED
    if min(window.allotted_s for window in windows) < least:
        return "the readings span less than the generations in the ledger"
    return ""


def _nodes(price: NodePrice, core_s: float) -> int:
    """Worker nodes needed to do this many core-seconds within a generation's time."""
    return max(1, math.ceil(core_s / (price.vcpus * GENERATION_S)))


def _dollars(price: NodePrice, nodes: int, spot: float) -> float:
    """A day of ``nodes`` worker nodes at an hourly price, and of everything that they come with."""
    machines = nodes + price.heads
    hourly = nodes * spot + price.heads * price.on_demand + machines * _known(price.address_hour)
    disks = machines * _known(price.disk_gb) * _known(price.disk_gb_month) * 12 / 365
    return 24 * hourly + disks + _known(price.traffic_gb_day) * _known(price.traffic_gb)


def _capacity(price: NodePrice, nodes: int) -> float:
    """Seconds of a vCPU that some nodes have for a generation."""
    return nodes * price.vcpus * GENERATION_S


def _affordable(price: NodePrice) -> int:
    """Worker nodes that cost less than the budget at the cap."""
    cap = _known(price.spot_cap)
    each = _dollars(price, 1, cap) - _dollars(price, 0, cap)
    return max(0, math.ceil((DOLLARS.value - _dollars(price, 0, cap)) / each) - 1)


def _known(value: float | None) -> float:
    """A price of the deployment.

    Raises:
        InconclusiveError: the record, of an earlier version, does not state it.
    """
    if value is None:
        raise InconclusiveError(
            "the price lacks disks, addresses, traffic or the cap of spot prices",
            needs="a run of this version of the gate",
        )
    return value


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="cost_per_day",
            statement="A day of the validated cluster in the cloud, always on, stays within the "
            "budget",
            target="< $30",
            unit="$",
            clause=f'{GO}: "Resource utilization within expected parameters (< $30/day if cloud)"',
            evidence_needed="node-seconds of 3 or more distributed speed-up workloads, and dated "
            "prices",
            passes=(
                "a day of the validated number of worker nodes and a machine for the coordinator "
                "costs less than $30 with disks, addresses and traffic, workers at the cap of the "
                "spot price; and the planned work (500 individuals every 300 s, upper 95 % t bound "
                "of the node-seconds, a vCPU half as fast as a core here) needs no more nodes, or "
                "these are paid, too"
            ),
            fails="it costs $30 or more at the lowest spot price, with the nodes that the work "
            "needs at the lower bound, a vCPU twice as fast as a core here",
            measures="the price of a day of the deployed machines (`deploy/aws/cluster.yaml`) in "
            "the number that was validated; separately, quota times time of all nodes in the "
            "speed-up workloads, for the number of nodes that the planned work needs",
            clock="prices of a dated table; node-seconds by the gate's readings",
            limits="the prices of your day, region and contract (check the table); that a spot "
            "machine can be had below the cap; that a cloud's vCPU is as fast as assumed; traffic "
            "to the internet, backups and support",
            verdict=cost_per_day,
            trusts=(
                HARNESS_CPU,
                CLOCK,
            ),
            timed=True,
            position=130,
            thresholds=(DOLLARS,),
        ),
    ),
    mutants=(
        Mutant(
            name="nodes at ten times the price",
            criterion="cost_per_day",
            stages=("speedup",),
            patches=patch("ga/capacity/prices.py", "    on_demand=0.34,", "    on_demand=3.4,"),
        ),
        Mutant(
            name="disks of 2 TB",
            criterion="cost_per_day",
            stages=("speedup",),
            patches=patch("ga/capacity/prices.py", "    disk_gb=50.0,", "    disk_gb=2000.0,"),
        ),
    ),
)
