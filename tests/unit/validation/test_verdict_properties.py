"""What holds for every verdict function: NaN, missing readings and missing evidence never pass."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.evidence_builders import NEEDED, evidence, healthy, passing
from tests.support.evidence_records import T0, Timed
from validation.criteria.registry import CRITERIA
from validation.evidence.base import Record
from validation.evidence.records import Note, Services, Usage
from validation.evidence.records_monitoring import Job, Probe, Scrape
from validation.verdict import Status, Verdict, judge

HEALTHY = passing()
FUNCTIONS = {criterion.id: criterion.verdict for criterion in CRITERIA}
OBSERVED = frozenset({"container_stability"})
"""Criteria of what was observed while the campaign ran; they claim nothing of longer times."""
YES_OR_NO = frozenset(
    {
        "grafana_functional",
        "alerting",
        "rollback",
        "backup_restore",
        "bad_input",
        "exposure",
        "autoscaling",
        "preemption",
        "population_load",
    }
)
"""Drills, whose verdicts name what was tried instead of an interval."""
KINDS = sorted({kind for kinds in NEEDED.values() for kind in kinds}, key=lambda kind: kind.KIND)
WATCHED = {
    "uptime": (Job,),
    "dashboard": ("dashboard",),
    "prometheus_collection": (Scrape,),
    "memory_stability": (Usage,),
    "container_stability": (Services,),
}
"""Criteria that must see the work from its beginning to its end, and by what they see it."""


def verdict(criterion: str, events: Sequence[Timed]) -> Verdict:
    return judge(FUNCTIONS[criterion], [evidence(events)])


def verdicts(events: Sequence[Timed], criteria: Iterable[str] = FUNCTIONS) -> dict[str, Verdict]:
    """Those of one record: to make it costs more than all verdicts on it."""
    records = [evidence(events)]
    return {criterion: judge(FUNCTIONS[criterion], records) for criterion in criteria}


def numbers(record: Record) -> list[str]:
    values = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    return [
        name
        for name, value in values.items()
        if (isinstance(value, int | float) and not isinstance(value, bool))
        or (isinstance(value, tuple) and value and isinstance(value[0], float))
    ]


COUNTED = [k for k in KINDS if any(isinstance(r, k) and numbers(r) for _, r in HEALTHY)]
"""What criteria need that holds numbers."""


@given(data=st.data())
@settings(max_examples=50)
def test_nan_never_passes(data: st.DataObject) -> None:
    """A file cannot hold NaN; even in memory one NaN leaves every criterion open."""
    kind = data.draw(st.sampled_from(COUNTED))
    places = [n for n, (_, r) in enumerate(HEALTHY) if isinstance(r, kind)]
    place = data.draw(st.sampled_from(places))
    at, record = HEALTHY[place]
    name = data.draw(st.sampled_from(numbers(record)))
    value = data.draw(st.sampled_from([math.nan, math.inf, -math.inf]))
    old = getattr(record, name)
    new = (*old[1:], value) if isinstance(old, tuple) else value
    events = list(HEALTHY)
    events[place] = (at, dataclasses.replace(record, **{name: new}))
    for criterion, said in verdicts(events).items():
        assert said.status is Status.INCONCLUSIVE, (criterion, said)


@given(kinds=st.sets(st.sampled_from(KINDS)), share=st.floats(0, 1), seed=st.integers(0, 10**6))
@settings(max_examples=40)
def test_missing_evidence_neither_passes_nor_fails(
    kinds: set[type[Record]], share: float, seed: int
) -> None:
    """Dropping readings at random gives PASS or INCONCLUSIVE, unless work itself is missing."""
    dice = random.Random(seed)
    kept = [(at, r) for at, r in HEALTHY if type(r) not in kinds or dice.random() < share]
    kept.append((T0 + 200_000, Note(text="end")))
    left = {type(r) for _, r in kept}
    for criterion, said in verdicts(kept).items():
        if criterion != "cycle_completion":
            assert said.status is not Status.FAIL, (criterion, said)
        if said.status is Status.PASS:
            assert set(NEEDED[criterion]) <= left, criterion


@pytest.mark.parametrize("criterion", WATCHED)
@given(after=st.floats(5, 450))
@settings(max_examples=10)
def test_records_that_stop_early_never_pass(criterion: str, after: float) -> None:
    """A watcher that falls silent while work goes on saw nothing of the rest."""
    by = WATCHED[criterion][0]
    stop = T0 + after

    def seen(record: Record) -> bool:
        if isinstance(by, str):
            return isinstance(record, Probe) and record.probe == by
        return isinstance(record, by)

    kept = [(at, r) for at, r in HEALTHY if at < stop or not seen(r)]
    said = verdict(criterion, kept)
    assert said.status is not Status.PASS, said


@pytest.mark.parametrize("criterion", [c.id for c in CRITERIA])
def test_pass_prints_interval_and_budget(criterion: str) -> None:
    said = judge(FUNCTIONS[criterion], [healthy()])
    assert said.status is Status.PASS, said
    if criterion in OBSERVED:
        assert said.interval is None, "a bound that the target does not meet contradicts a PASS"
        assert said.budget
    elif criterion not in YES_OR_NO:
        assert said.interval is not None
        assert said.interval[0] <= said.interval[1]
        assert said.budget


@given(share=st.floats(0, 1), seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_every_verdict_prints_needs_and_measurement(share: float, seed: int) -> None:
    dice = random.Random(seed)
    kept = [e for e in HEALTHY if dice.random() < share]
    for criterion, said in verdicts([*kept, (T0 + 200_000, Note(text="end"))]).items():
        assert said.reason
        assert (said.status is Status.INCONCLUSIVE) == bool(said.needs)
        bounded = criterion not in OBSERVED or said.status is Status.FAIL
        if said.measured and said.status is not Status.INCONCLUSIVE and criterion not in YES_OR_NO:
            assert (said.interval is not None) is bounded
            assert said.budget


def test_error_budget_texts() -> None:
    """The operator's terms: what the target allows, and what was used of it."""
    found = {criterion: judge(FUNCTIONS[criterion], [healthy()]) for criterion in NEEDED}
    said = {criterion: verdict.budget for criterion, verdict in found.items()}
    assert "99 % allows a lost node every" in said["worker_recovery"]
    assert "95 % allows 5 failed of 116; 0 failed" in said["cycle_completion"]
    assert "2× allows the cluster 50 % of one node's time" in said["speedup"]
    assert "70 % allows nodes to idle 30 %" in said["cpu_efficiency"]
    more = "54 more recoveries, about 25 min, would show 95 %"
    assert more in found["worker_recovery"].reason
