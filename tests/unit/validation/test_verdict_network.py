"""How close the nodes are, and what an unauthenticated client can read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import pytest

from tests.support.evidence_builders import change, evidence, passing
from tests.support.evidence_records import NODES, T0, Timed, listener
from validation import statistics
from validation.criteria.exposure import exposure
from validation.criteria.network_latency import network_latency
from validation.evidence.base import Record
from validation.evidence.records_network import (
    Leak,
    Listener,
    RoundTrips,
    Search,
    Survey,
)
from validation.verdict import Status, Verdict, judge

HEALTHY = passing()


def latency(edit: Callable[[RoundTrips], RoundTrips | None], *, via: str = "tcp") -> Verdict:
    def kept(record: Record) -> Record | None:
        assert isinstance(record, RoundTrips)
        first = (record.source, record.target, record.via) == (NODES[0], NODES[1], via)
        return edit(record) if first else record

    return judge(network_latency, [evidence(change(HEALTHY, RoundTrips, kept))])


def exposed(events: Sequence[Timed]) -> Verdict:
    return judge(exposure, [evidence(events)])


def with_listener(one: Listener) -> list[Timed]:
    """The healthy record with one more socket."""
    more = change(
        HEALTHY,
        Survey,
        lambda s: (
            dataclasses.replace(s, listeners=s.listeners + 1)
            if isinstance(s, Survey) and s.at_work == one.at_work
            else s
        ),
    )
    return [*more, (T0 + 500, one)]


def test_one_slow_pair_fails() -> None:
    said = latency(lambda r: dataclasses.replace(r, seconds=(0.015,) * 400))
    assert said.status is Status.FAIL
    assert f"{NODES[0]} to {NODES[1]}: p99 at least 15 ms" in said.reason


def test_slow_calls_between_actors_fail() -> None:
    """One slow pair of 12 is 8 % of all calls."""
    said = latency(lambda r: dataclasses.replace(r, seconds=(0.02,) * 100), via="ray")
    assert said.status is Status.FAIL
    assert "calls between Ray actors: p99 at least" in said.reason
    said = latency(lambda r: dataclasses.replace(r, seconds=r.seconds[:60], lost=40), via="ray")
    assert said.status is Status.FAIL


def test_some_slow_calls_are_inconclusive() -> None:
    """12 of 1,200 are 1 %."""
    said = latency(
        lambda r: dataclasses.replace(r, seconds=(*r.seconds[:-12], *[0.02] * 12)), via="ray"
    )
    assert said.status is Status.INCONCLUSIVE
    assert "calls between Ray actors: p99 may be 20 ms after 1200 round trips" in said.reason


def test_missing_calls_are_inconclusive() -> None:
    for lost in (lambda _: None, lambda r: dataclasses.replace(r, seconds=())):
        said = latency(lost, via="ray")
        assert said.status is Status.INCONCLUSIVE
        assert "11 of 12 pairs of actors measured" in said.reason


def test_few_slow_are_inconclusive_many_lost_fail() -> None:
    few = latency(lambda r: dataclasses.replace(r, seconds=(*r.seconds[:-3], 0.5, 0.5, 0.5)))
    assert few.status is Status.INCONCLUSIVE
    assert "p99 may be 500 ms" in few.reason
    lost = latency(lambda r: dataclasses.replace(r, seconds=r.seconds[:300], lost=100))
    assert lost.status is Status.FAIL
    assert "endless" in lost.reason


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda _: None, "11 of 12 pairs measured"),
        (lambda r: dataclasses.replace(r, seconds=r.seconds[:298]), "after 298 round trips"),
        (lambda r: dataclasses.replace(r, seconds=(), detail="no answer"), "no answer"),
        (lambda r: dataclasses.replace(r, source_network=""), "both are in one network"),
        (lambda r: dataclasses.replace(r, target_network=r.source_network), "in one network"),
    ],
)
def test_too_few_round_trips_are_inconclusive(
    edit: Callable[[RoundTrips], RoundTrips | None], words: str
) -> None:
    said = latency(edit)
    assert said.status is Status.INCONCLUSIVE
    assert words in said.reason


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (listener(service="http", access="open", attempt="GET /: HTTP 200"), "HTTP 200"),
        (listener(service="dashboard", reach="outside", access="open"), "accepts unauthenticated"),
        (listener(reach="outside", access="metrics"), "accepts unauthenticated"),
        (listener(service="redis", reach="loopback", access="open", attempt="PING"), "redis"),
        (
            listener(service="python", reach="outside", access="metrics", at_work=True),
            "while an evolution ran) accepts unauthenticated",
        ),
    ],
)
def test_open_socket_fails(one: Listener, words: str) -> None:
    said = exposed(with_listener(one))
    assert said.status is Status.FAIL
    assert words in said.reason


@pytest.mark.parametrize(
    "one",
    [
        listener(access="unknown", attempt="no answer"),
        listener(reach="outside", access="not tried", attempt=""),
        listener(service="postgres", reach="loopback", access="unknown", attempt="no answer"),
    ],
)
def test_unjudged_socket_is_inconclusive(one: Listener) -> None:
    assert exposed(with_listener(one)).status is Status.INCONCLUSIVE


def test_open_loopback_socket_is_reported_as_local() -> None:
    assert exposed(with_listener(listener(reach="loopback", access="open"))).status is Status.PASS


def test_secret_in_a_file_fails() -> None:
    said = exposed([*HEALTHY, (T0 + 500, Leak(secret="Ray's token", file="evidence.jsonl"))])
    assert said.status is Status.FAIL
    assert said.reason == "Ray's token is written in evidence.jsonl"


@pytest.mark.parametrize(
    ("kind", "edit", "words"),
    [
        (Survey, lambda _: None, "0 surveys"),
        (Survey, lambda s: dataclasses.replace(s, listeners=99), "of 99 sockets"),
        (Survey, lambda s: dataclasses.replace(s, unreadable=1), "could not be read"),
        (
            Survey,
            lambda s: dataclasses.replace(s, credentials={**s.credentials, "redis": False}),
            "redis refuses the right credentials",
        ),
        (Survey, lambda s: dataclasses.replace(s, credentials={}), "the dashboard was not tried"),
        (Survey, lambda s: None if s.at_work else s, "not looked at while an evolution ran"),
        (Survey, lambda s: dataclasses.replace(s, evaluating=0), "nothing was evaluated"),
        (Survey, lambda s: dataclasses.replace(s, at_work=False), "2 surveys, not one"),
        (Survey, lambda s: dataclasses.replace(s, at_work=True), "0 surveys, not one"),
        (Search, lambda _: None, "not searched"),
        (Search, lambda s: dataclasses.replace(s, secrets=0), "not searched"),
    ],
)
def test_incomplete_survey_is_inconclusive(
    kind: type[Record], edit: Callable[[Record], Record | None], words: str
) -> None:
    said = exposed(change(HEALTHY, kind, edit))
    assert said.status is Status.INCONCLUSIVE
    assert words in said.reason


def test_survey_without_a_service_is_inconclusive() -> None:
    events = change(HEALTHY, Listener, lambda one: None if one.service == "redis" else one)
    events = change(events, Survey, lambda s: dataclasses.replace(s, listeners=s.listeners - 1))
    assert "no socket of redis" in exposed(events).reason


def test_299_values_bound_the_99th_percentile() -> None:
    assert statistics.samples_for_quantile(0.99) == 299
    assert statistics.quantile_bounds([1.0] * 298, 0.99).upper == math.inf
    assert statistics.quantile_bounds([1.0] * 299, 0.99).upper == 1.0


@pytest.mark.parametrize("values", [[], [math.nan], [-1.0]])
def test_negative_or_nan_values_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="values of at least 0"):
        statistics.quantile_bounds(values, 0.99)
