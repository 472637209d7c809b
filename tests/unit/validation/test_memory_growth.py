"""Memory passes only if no part can fill its limit in 48 hours, and fails only if one does."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.evidence_builders import change, evidence
from tests.support.evidence_records import LIMIT, NODES, T0, Timed, receipt, workload
from validation.criteria.memory_stability import memory_stability
from validation.evidence.base import Record
from validation.evidence.records import Usage
from validation.evidence.records_ledger import Coordinator
from validation.verdict import Status, Verdict, judge

HOUR, MB, DAYS = 3600.0, 1e6, 48 * 3600.0


def coordinator(per_generation: float, *, count: int = 24, noise: float = 1e5) -> list[Timed]:
    """A workload at the beginning, and the memory of its coordinator."""
    dice, work = random.Random(5), workload("w", 0, 60, generations=count, purpose="recovery")
    held = Coordinator(
        workload="w",
        at=tuple(T0 + 60 * (n + 0.5) / count for n in range(count)),
        memory_bytes=tuple(
            int(2e8 + per_generation * n + abs(dice.gauss(0, noise))) for n in range(count)
        ),
        generations=tuple(range(count)),
    )
    return [(T0 + 60, work), (T0 + 60, held)]


def nodes(
    seconds: float,
    *,
    per_minute: float = 0.0,
    noise: float = 2e6,
    every: float = 10.0,
    shape: Callable[[float], float] = lambda _: 0.0,
) -> list[Timed]:
    """Memory of four nodes; the first of them grows, in bytes a minute, and by a shape."""
    dice = random.Random(9)
    return [
        (
            T0 + n * every,
            Usage(
                node=node,
                at=T0 + n * every,
                cpu_seconds=n * every / 10,
                memory_bytes=int(
                    4e8
                    + dice.gauss(0, noise)
                    + (per_minute * n * every / 60 + shape(n * every) if node == NODES[0] else 0)
                ),
                oom_kills=0,
                limit_bytes=LIMIT,
            ),
        )
        for n in range(int(seconds / every))
        for node in NODES
    ]


def said(*parts: Sequence[Timed]) -> Verdict:
    return judge(memory_stability, [evidence([event for part in parts for event in part])])


def test_flat_memory_of_hours_passes() -> None:
    verdict = said(nodes(3 * HOUR), coordinator(0))
    assert verdict.status is Status.PASS, verdict
    assert "after 48 h" in verdict.measured


@pytest.mark.parametrize("per_minute", [0.8 * MB, 1 * MB, 2 * MB, 20 * MB])
@pytest.mark.parametrize("hours", [0.05, 0.2, 1, 6])
def test_leak_that_fills_the_limit_never_passes(per_minute: float, hours: float) -> None:
    verdict = said(nodes(hours * HOUR, per_minute=per_minute), coordinator(0))
    assert verdict.status is not Status.PASS, verdict
    if hours == 6:
        assert verdict.status is Status.FAIL, verdict


@pytest.mark.parametrize("noise", [2e6, 5e6])
def test_minutes_name_the_time_that_is_missing(noise: float) -> None:
    verdict = said(nodes(240, noise=noise, every=2.0), coordinator(0))
    assert verdict.status is Status.INCONCLUSIVE
    assert "a leak cannot be excluded" in verdict.reason
    assert "more of steady load" in verdict.needs
    assert "python -m validation soak" in verdict.needs


def test_soak_answers_for_a_short_run() -> None:
    short = evidence([*nodes(100, every=2.0), *coordinator(0)], run="a")
    soak = evidence([*nodes(3 * HOUR), *coordinator(0)], run="b")
    assert judge(memory_stability, [short, soak]).status is Status.PASS
    assert judge(memory_stability, [soak, short]).status is Status.PASS
    leaking = evidence([*nodes(3 * HOUR, per_minute=3 * MB), *coordinator(0)], run="c")
    assert judge(memory_stability, [soak, leaking]).status is Status.FAIL


@pytest.mark.parametrize(
    "shape",
    [
        lambda t: 60 * MB * min(t / 300, 1.0),
        lambda t: 150 * MB * (t % 400 > 200),
        lambda t: 60 * MB * (t > 200),
    ],
    ids=["a starting load", "a load that comes and goes", "a step"],
)
@pytest.mark.parametrize("minutes", [4, 8, 20])
def test_changing_load_never_fails(shape: Callable[[float], float], minutes: float) -> None:
    verdict = said(nodes(60 * minutes, shape=shape, every=2.0), coordinator(0))
    assert verdict.status is not Status.FAIL, verdict


def test_restart_is_no_leak() -> None:
    def halve(record: Record) -> Record:
        assert isinstance(record, Usage)
        early = record.at < T0 + 200
        return dataclasses.replace(record, memory_bytes=record.memory_bytes // (20 if early else 1))

    events = change(nodes(3 * HOUR), Usage, halve)
    for node in NODES:
        events.insert(0, (T0, receipt("kill", node, T0 + 10, "w")))
        events.insert(0, (T0, receipt("start", node, T0 + 199, "w")))
    assert said(events, coordinator(0)).status is Status.PASS


@pytest.mark.parametrize(
    ("per_generation", "status"),
    [
        (0.0, "PASS"),
        (1 * MB, "PASS"),
        (5 * MB, "INCONCLUSIVE"),
        (8 * MB, "INCONCLUSIVE"),
        (30 * MB, "FAIL"),
    ],
)
def test_coordinator_is_judged_by_generation(per_generation: float, status: str) -> None:
    verdict = said(nodes(3 * HOUR), coordinator(per_generation))
    assert verdict.status == status, verdict
    if status != "PASS":
        assert "coordinator" in verdict.reason


@pytest.mark.parametrize("count", [0, 10])
def test_unread_coordinator_is_no_pass(count: int) -> None:
    verdict = said(nodes(3 * HOUR), coordinator(0, count=count) if count else [])
    assert verdict.status is Status.INCONCLUSIVE
    assert "no coordinator was read" in verdict.reason


@given(
    per_minute=st.floats(-5 * MB, 5 * MB),
    noise=st.floats(1e5, 2e7),
    hours=st.floats(0.05, 8),
)
@settings(max_examples=60, deadline=None)
def test_bounds_never_contradict_the_verdict(per_minute: float, noise: float, hours: float) -> None:
    verdict = said(
        nodes(hours * HOUR, per_minute=per_minute, noise=noise, every=max(2.0, hours * 15)),
        coordinator(0),
    )
    if verdict.interval is None:
        assert verdict.status is Status.INCONCLUSIVE
        return
    lower, upper = verdict.interval
    after = 4e8 + upper * MB / 60 * DAYS
    if verdict.status is Status.PASS:
        assert after < LIMIT
    elif verdict.status is Status.FAIL:
        assert 4e8 + 10 * noise + 5 * MB * hours * 60 + lower * MB / 60 * DAYS > LIMIT
