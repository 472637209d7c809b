"""Evictions that Ray counted reach the record, and the verdict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.evidence_builders import evidence, passing
from tests.support.evidence_records import T0
from validation.criteria.memory_stability import memory_stability
from validation.evidence.base import Record
from validation.evidence.records import MemoryFailure, Note
from validation.stages.ray_evictions import evictions
from validation.verdict import Status, judge


class _Prometheus(BaseHTTPRequestHandler):
    counts: ClassVar[dict[str, float]] = {}
    queries: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.queries.append(parse_qs(urlsplit(self.path).query)["query"][0])
        rows = [{"metric": {"node": n}, "value": [0, str(v)]} for n, v in self.counts.items()]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"data": {"result": rows}}).encode())

    def log_message(self, format: str, *args: object) -> None: ...


class _Written(list[Record]):
    def add(self, record: Record) -> None:
        self.append(record)


@pytest.fixture
def prometheus() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Prometheus) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_evictions_are_recorded_and_fail(prometheus: str) -> None:
    _Prometheus.counts = {"n1": 0.0, "n2": 3.0}
    written = _Written()
    evictions(prometheus, written, since=0.0)
    assert "ray_memory_manager_worker_eviction_total[" in _Prometheus.queries[-1]
    (failure,) = written
    assert isinstance(failure, MemoryFailure)
    assert failure.detail == "Ray evicted 3 workers on n2 for lack of memory"
    said = judge(memory_stability, [evidence([*passing(), (T0 + 500, failure)])])
    assert said.status is Status.FAIL
    assert failure.detail in said.reason


def test_missing_prometheus_is_recorded_as_note(prometheus: str) -> None:
    written = _Written()
    _Prometheus.counts = {"n1": 0.0}
    evictions(prometheus, written, since=0.0)
    assert written == []
    for away in (None, "http://127.0.0.1:9"):
        evictions(away, written, since=0.0)
        assert isinstance(written.pop(), Note)
