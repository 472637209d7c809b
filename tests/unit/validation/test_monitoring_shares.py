"""The shares of good answers of the dashboard and of Prometheus, against exact binomial tails."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.support.evidence_builders import evidence, passing
from tests.support.evidence_records import T0, Timed, answered
from validation.criteria.dashboard import dashboard
from validation.criteria.prometheus_collection import prometheus_collection
from validation.evidence.records_monitoring import Probe, Scrape
from validation.verdict import Status, Verdict, judge

SHARE, DOUBT = 0.99, 0.05
TARGETS = 5
HEALTHY = passing()


def expected(good: int, count: int, doubt: float = DOUBT) -> Status:
    """By the tails themselves, not by the inverse that the product uses."""
    if stats.binom.cdf(good, count, SHARE) < doubt:
        return Status.FAIL
    if stats.binom.sf(good - 1, count, SHARE) <= doubt:
        return Status.PASS
    return Status.INCONCLUSIVE


def requests(count: int, failing: set[int], slow: float | None = None) -> list[Timed]:
    """Requests half a second apart, some of which fail, or are answered late."""
    found: list[Timed] = []
    for number in range(count):
        probe = answered("dashboard", ok=slow is not None or number not in failing)
        late = slow if slow is not None and number in failing else 0.01
        found.append((T0 + number / 2, dataclasses.replace(probe, latency_s=late)))
    return found


def said(events: list[Timed], *more: list[Timed]) -> Verdict:
    return judge(dashboard, [evidence(one, run=f"r{n}") for n, one in enumerate((events, *more))])


@given(count=st.integers(61, 1500), bad=st.integers(0, 40), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_exact_bound_decides_on_the_dashboard(count: int, bad: int, seed: int) -> None:
    failing = set(random.Random(seed).sample(range(count), min(bad, count)))
    verdict = said(requests(count, failing))
    assert verdict.status is expected(count - len(failing), count), verdict
    assert verdict.interval is not None
    if verdict.status is Status.PASS:
        assert verdict.interval[0] >= 100 * SHARE
    if verdict.status is Status.FAIL:
        assert verdict.interval[1] < 100 * SHARE


def test_one_time_out_in_two_days_passes() -> None:
    two_days = 3840
    assert said(requests(two_days, {1000})).status is Status.PASS


@pytest.mark.parametrize(
    ("latency", "good"), [(4.9, True), (5.1, False), (49, False), (1000, False)]
)
def test_late_answer_is_no_answer(latency: float, good: bool) -> None:
    """Consistency of the times is not tried here."""
    verdict = said(requests(400, set(range(0, 400, 8)), slow=latency))
    assert verdict.status is (Status.PASS if good else Status.FAIL)
    if not good:
        assert f"an answer took {latency:.0f} s" in verdict.reason


def test_good_run_hides_no_bad_one() -> None:
    bad, good = requests(100, set(range(30))), requests(20_000, set())
    assert said(bad, good).status is Status.FAIL


def scraped(bad: Callable[[Scrape], bool], count: int, **changes: object) -> Verdict:
    """The verdict on the healthy run with the first matching readings changed."""
    left, events = count, []
    for at, record in HEALTHY:
        if left and isinstance(record, Scrape) and not record.excused and bad(record):
            left -= 1
            record = dataclasses.replace(record, **changes)
        events.append((at, record))
    assert not left
    return judge(prometheus_collection, [evidence(events)])


@given(bad=st.integers(0, 30), stale=st.booleans())
@settings(max_examples=25, deadline=None)
def test_exact_bound_decides_on_a_target(bad: int, stale: bool) -> None:
    changes: dict[str, object] = {"age_s": 15.4} if stale else {"up": False}
    verdict = scraped(lambda r: r.target == "head", bad, **changes)
    judged = [r for _, r in HEALTHY if isinstance(r, Scrape) and not r.excused]
    own = sum(r.target == "head" for r in judged)
    # The error probability is shared among the targets and the whole.
    failed = expected(own - bad, own, DOUBT / (TARGETS + 1)) is Status.FAIL
    whole = expected(len(judged) - bad, len(judged))
    assert verdict.status is (Status.FAIL if failed else whole), verdict


def test_one_stale_sample_passes() -> None:
    assert scraped(lambda _: True, 1, age_s=15.4).status is Status.PASS


def test_dead_target_among_many_fails() -> None:
    """One of five targets that is never up fails, however good the others are."""
    count = sum(isinstance(r, Scrape) and r.target == "head" and not r.excused for _, r in HEALTHY)
    verdict = scraped(lambda r: r.target == "head", count, up=False)
    assert verdict.status is Status.FAIL
    assert "head" in verdict.reason


def test_few_answers_decide_nothing() -> None:
    assert said(requests(200, set())).status is Status.INCONCLUSIVE
    assert "99 more requests" in said(requests(200, set())).needs
    none = [event for event in HEALTHY if not isinstance(event[1], Probe)]
    assert said(none).status is Status.INCONCLUSIVE
