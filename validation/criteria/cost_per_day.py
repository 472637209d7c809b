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
from validation.evidence.records import CpuWindow, NodePrice, Workload
from validation.evidence.records_ledger import Generation
from validation.mutation.patches import patch
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

DOLLARS: Final = 30.0


PRICE_DAYS: Final = 400.0
"""An older price is not accepted."""


_COVERED: Final = 0.9
"""Part of the generations' time in the ledger that the nodes' readings must span."""


def cost_per_day(records: Records) -> Verdict:
    """Cost of a day in which 500 individuals are evolved every 300 s: below 30 dollars.

    The core-seconds of an individual are quota times time of all nodes in the distributed speed-up
    workloads, so idle time is paid for too. Times 500, they give the number of nodes (at least one)
    that finish a generation in 300 s. These nodes and the coordinator's machine run all day at the
    on-demand price. The interval is that of the workloads' mean (t bounds), times the assumed range
    of a vCPU's speed relative to a core here.
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
    low, point, high = (
        _dollars(price, GENERATION_POPULATION * max(seconds, 0.0) * factor)
        for seconds, factor in (
            (mean.lower, price.factor_low),
            (mean.point, price.factor),
            (mean.upper, price.factor_high),
        )
    )
    work = GENERATION_POPULATION * mean.point
    most = GENERATION_POPULATION * mean.upper * price.factor_high
    nodes = _nodes(price, most)
    measured = f"${point:.2f} on demand"
    budget = (
        f"${DOLLARS:g} pays {_affordable(price)} worker nodes; {plural(nodes, 'is', 'are')} needed"
        f" at most, busy {most / (nodes * price.vcpus * GENERATION_S):.0%}"
    )
    reason = (
        f"{GENERATION_POPULATION} individuals like those on {', '.join(sorted(markets))} hold cores"
        f" for {work:.0f} s a generation; {plural(nodes, 'worker node')} at most and"
        f" {price.heads} for the coordinator, {price.instance} at ${price.on_demand:g} an hour"
        f" ({price.as_of}); a vCPU taken as {price.factor_low:g} to {price.factor_high:g} times a"
        " core here"
    )
    if low >= DOLLARS:
        return Verdict(
            status=Status.FAIL,
            measured=measured,
            interval=(low, high),
            reason=f"not below ${DOLLARS:g}; {reason}",
            budget=budget,
        )
    if high >= DOLLARS:
        return inconclusive(
            f"may be up to ${high:.2f}; {reason}",
            needs="more distributed speed-up workloads, or a measurement on the machine itself",
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


def _dollars(price: NodePrice, core_s: float) -> float:
    return 24 * price.on_demand * (_nodes(price, core_s) + price.heads)


def _affordable(price: NodePrice) -> int:
    """Worker nodes that cost less than the budget."""
    return max(0, math.ceil(DOLLARS / (24 * price.on_demand)) - 1 - price.heads)


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="cost_per_day",
            statement="A day in the cloud, 500 individuals evolved every 300 s, stays within the "
            "budget",
            target="< $30",
            unit="$",
            clause=f'{GO}: "Resource utilization within expected parameters (< $30/day if cloud)"',
            evidence_needed="node-seconds of 3 or more distributed speed-up workloads, and a dated "
            "price",
            passes=(
                "500 individuals every 300 s cost less than $30 a day on demand, at the upper 95 "
                "% t bound of the node-seconds of three or more distributed speed-up workloads "
                "and a vCPU half as fast as a core here"
            ),
            fails="they cost $30 or more at the lower bound, a vCPU twice as fast as a core here",
            verdict=cost_per_day,
            trusts=(
                HARNESS_CPU,
                CLOCK,
            ),
            timed=True,
            position=130,
        ),
    ),
    mutants=(
        Mutant(
            name="nodes at ten times the price",
            criterion="cost_per_day",
            stages=("speedup",),
            patches=patch("ga/capacity/prices.py", "    on_demand=0.34,", "    on_demand=3.4,"),
        ),
    ),
)
