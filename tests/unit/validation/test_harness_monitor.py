"""What the harness monitor writes of Prometheus, of its process and of its clocks."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest

from evolution_gate.fixtures.protocols import Endpoints
from evolution_gate.fixtures.system.http_client import JsonHttpClient
from validation.evidence.base import Record
from validation.evidence.records_self_check import HarnessReading
from validation.monitors.harness import HarnessMonitor


class Kept:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def add(self, record: Record) -> None:
        self.records.append(record)


def observing(
    monkeypatch: pytest.MonkeyPatch, answers: list[dict[str, list[float]]]
) -> list[dict[str, float]]:
    """What an observer wrote of the silence, asked at 100, 105 ... of a Prometheus that answers."""
    kept = Kept()
    ends = Endpoints(ray="", dashboard="", prometheus="http://127.0.0.1:9")
    one = HarnessMonitor(SimpleNamespace(endpoints=ends, scrape_targets={}, marks=()), kept)  # type: ignore[arg-type]
    for number, answer in enumerate(answers):
        rows = [
            {"metric": {"node": name}, "values": [[at, "1"] for at in times]}
            for name, times in answer.items()
        ]
        said = {"data": {"result": rows}}
        with monkeypatch.context() as now:
            now.setattr(JsonHttpClient, "get", lambda *_, said=said, **__: (200, said))
            now.setattr("time.time", lambda number=number: 100.0 + 5 * number)
            one.read()
    return [r.silence_s for r in kept.records if isinstance(r, HarnessReading)]


def test_silence_is_the_longest_sample_gap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = observing(
        monkeypatch,
        [
            {},
            {"head": [93.0, 98.0]},
            {"head": [98.0, 103.0, 108.0]},
            {},
            {"head": [103.0, 108.0, 118.0]},
        ],
    )
    assert found == [{}, {"head": 7.0}, {"head": 5.0}, {"head": 7.0}, {"head": 10.0}]


def test_reading_measures_this_process_and_clocks() -> None:
    kept = Kept()
    ends = Endpoints(ray="", dashboard="")
    with HarnessMonitor(
        SimpleNamespace(endpoints=ends, scrape_targets={}, marks=()), kept, period=0.01
    ):  # type: ignore[arg-type]
        while len(kept.records) < 3:
            sum(range(10_000))
    found = [r for r in kept.records if isinstance(r, HarnessReading)]
    assert found[0].harness_cpu_s > 0
    assert found[0].silence_s == {}
    for a, b in pairwise(found):
        assert abs((b.at - a.at) - (b.monotonic_s - a.monotonic_s)) < 0.5
