"""The criterion of cost: what it passes, what it fails, what leaves it open."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from tests.support.evidence_builders import change, evidence, passing
from tests.support.evidence_records import T0, Timed, price
from validation.criteria.cost_per_day import cost_per_day
from validation.evidence.base import Record
from validation.evidence.records import CpuWindow, Workload, parse
from validation.evidence.records_ledger import Generation
from validation.evidence.records_price import NodePrice
from validation.stages.node_price import node_price
from validation.verdict import Status, Verdict, judge

GOOD = passing()


def said(*records: list[Timed]) -> Verdict:
    runs = [evidence(events, run=f"run-{n}") for n, events in enumerate(records)]
    verdict = judge(cost_per_day, runs)
    assert "the verdict function failed" not in verdict.reason
    return verdict


def priced(**changes: object) -> list[Timed]:
    return change(GOOD, NodePrice, lambda _: price(**changes))


def busier(factor: float) -> list[Timed]:
    """Everything takes ``factor`` times as long."""

    def slower(record: Record) -> Record:
        if isinstance(record, CpuWindow):
            return dataclasses.replace(
                record,
                used_s=factor * record.used_s,
                allotted_s=factor * record.allotted_s,
                useful_s=factor * record.useful_s,
            )
        assert isinstance(record, Generation)
        return dataclasses.replace(record, seconds=factor * record.seconds)

    return change(change(GOOD, CpuWindow, slower), Generation, slower)


def day(nodes: int, spot: float, **changes: float) -> float:
    """Dollars of a day, written out for c5.2xlarge: all that ``price`` states."""
    numbers = {"head": 0.34, "disk": 50.0} | changes
    machines = nodes + 1
    return (
        24 * (numbers["head"] + nodes * spot)
        + 24 * machines * 0.005
        + machines * numbers["disk"] * 0.08 * 12 / 365
        + 10 * 0.02
    )


def test_validated_shape_is_priced_all_day() -> None:
    verdict = said(GOOD)
    assert verdict.status is Status.PASS
    # One node would do the work, but four were validated.
    assert verdict.interval == (pytest.approx(day(4, 0.17)), pytest.approx(day(4, 0.2)))
    assert verdict.measured == "$27.86 for 4 worker nodes and 1 for the coordinator"
    assert 25 < day(4, 0.17) < 26
    assert 28 < day(4, 0.2) < 29
    # 4 nodes of 0.4 cores for about 20 s, of 3,000 individuals; times 500.
    assert "hold cores for 5 s a generation" in verdict.reason
    assert "2025-10-01" in verdict.reason
    assert "$30 pays 4 worker nodes at the cap; the planned work needs 1 at most" in verdict.budget


def test_on_demand_workers_exceed_the_budget() -> None:
    """Four c5.2xlarge and a head on demand: $40.80 without disks."""
    verdict = said(priced(spot=0.34, spot_low=0.34, spot_cap=0.34))
    assert verdict.status is Status.FAIL
    assert verdict.interval == (pytest.approx(day(4, 0.34)), pytest.approx(day(4, 0.34)))
    assert day(4, 0.34) > 40.8
    assert said(priced(spot_cap=0.34)).status is Status.INCONCLUSIVE


def test_work_that_needs_more_nodes_pays_them() -> None:
    # 5.3 core-seconds; a node has 2,400 in a generation's time, the factor is 0.5 to 2.
    assert said(busier(800.0)).status is Status.PASS
    may = said(busier(1400.0))
    assert may.status is Status.INCONCLUSIVE
    assert "may be up to $" in may.reason
    assert may.needs
    assert said(busier(6000.0)).status is Status.FAIL


def test_too_high_price_fails() -> None:
    assert said(priced(on_demand=3.4)).status is Status.FAIL
    assert said(priced(heads=3)).status is Status.FAIL
    assert said(priced(disk_gb=2000.0)).status is Status.FAIL
    assert said(priced(disk_gb=100.0)).status is Status.PASS
    assert said(priced(address_hour=0.1)).status is Status.FAIL
    assert said(priced(traffic_gb_day=500.0)).status is Status.FAIL


@pytest.mark.parametrize(
    "name",
    ["spot_low", "spot_cap", "disk_gb", "disk_gb_month", "address_hour", "traffic_gb_day"],
)
def test_unknown_part_of_the_price_is_inconclusive(name: str) -> None:
    verdict = said(priced(**{name: None}))
    assert verdict.status is Status.INCONCLUSIVE
    assert "lacks disks, addresses, traffic" in verdict.reason


@pytest.mark.parametrize(
    "changes",
    [
        {"as_of": "2024-01-01"},
        {"as_of": "2026-06-01"},
        {"as_of": "lately"},
        {"vcpus": 0},
        {"on_demand": 0.0},
        {"factor_low": 0.0},
        {"factor": 3.0},
        {"factor_high": 0.9},
    ],
)
def test_meaningless_price_is_inconclusive(changes: dict[str, object]) -> None:
    verdict = said(priced(**changes))
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.needs


def test_two_prices_are_inconclusive() -> None:
    assert said([*GOOD, (T0, price())]).status is Status.PASS
    assert said([*GOOD, (T0, price(on_demand=0.35))]).status is Status.INCONCLUSIVE
    assert said(GOOD, GOOD).status is Status.PASS
    assert said(GOOD, priced(on_demand=0.35)).status is Status.INCONCLUSIVE


def only(kind: type[Record], edit: Callable[[Record], Record | None]) -> list[Timed]:
    """One record of the speed-up's second pair is changed; with None, dropped."""
    done: list[Record] = []

    def once(record: Record) -> Record | None:
        name = getattr(record, "id", "") or getattr(record, "workload", "")
        if done or name != "speedup-1-distributed":
            return record
        done.append(record)
        return edit(record)

    return change(GOOD, kind, once)


def replaced(**changes: object) -> Callable[[Record], Record]:
    return lambda record: dataclasses.replace(record, **changes)


@pytest.mark.parametrize(
    "events",
    [
        only(CpuWindow, lambda _: None),
        only(CpuWindow, replaced(allotted_s=0.1, used_s=0.1, useful_s=0.0)),
        only(CpuWindow, replaced(used_s=1e4)),
        only(CpuWindow, replaced(node="node-4")),
        only(Generation, lambda _: None),
        only(Workload, replaced(exit_code=1)),
        only(Workload, replaced(generations=7)),
    ],
    ids=["no reading", "short", "impossible", "twice", "not committed", "failed", "fewer"],
)
def test_uncountable_workload_is_named(events: list[Timed]) -> None:
    verdict = said(events)
    assert verdict.status is Status.INCONCLUSIVE
    assert "speedup-1-distributed" in verdict.reason


def test_two_workloads_are_too_few() -> None:
    few = change(
        GOOD,
        Workload,
        lambda r: None if getattr(r, "id", "") in ("speedup-2-distributed",) else r,
    )
    few = change(few, CpuWindow, lambda r: None if getattr(r, "workload", "")[8:9] == "2" else r)
    few = change(few, Generation, lambda r: None if getattr(r, "workload", "")[8:9] == "2" else r)
    assert said(few).status is Status.PASS
    fewer = [
        (at, r)
        for at, r in few
        if not (getattr(r, "id", "") or getattr(r, "workload", "") or "").startswith(
            ("speedup-3-d", "speedup-1-d")
        )
    ]
    verdict = said(fewer)
    assert verdict.status is Status.INCONCLUSIVE
    assert "1 workload" in verdict.reason
    assert verdict.needs == "2 more distributed speed-up workloads"


def test_node_price_has_date_and_source() -> None:
    record = node_price()
    assert record.source.startswith("https://")
    assert len(record.as_of) == 10
    assert parse(NodePrice.KIND, record.data()) == record
