"""The webhook, and the questions to Prometheus and Grafana, against servers that answer alike."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from validation.consistency.coverage import RULES
from validation.evidence.log import EvidenceWriter, read_evidence
from validation.evidence.records_monitoring import Panel, Probe
from validation.evidence.records_target import NotRun
from validation.monitors.alert_webhook import Webhook
from validation.monitors.dashboards import Query, ask_all, checked_in, queries
from validation.monitors.panel_expectations import EXPECTATIONS

WANTED = checked_in()


def message(*alerts: tuple[str, str, str]) -> dict[str, Any]:
    return {
        "version": "4",
        "alerts": [
            {"status": status, "labels": {"alertname": name, **({"node": node} if node else {})}}
            for name, node, status in alerts
        ],
    }


def test_webhook_keeps_its_notifications() -> None:
    with Webhook() as webhook:
        told = message(("NodeLost", "n1", "firing"), ("HeadLost", "", "resolved"))
        assert requests.post(webhook.url, json=told, timeout=5).status_code == 200
        found = [(n.alert, n.target, n.firing) for n in webhook.notifications]
        assert found == [("NodeLost", "n1", True), ("HeadLost", "", False)]
        for bad in (b"no json", b"[]", b"{}", b'{"alerts": [{"status": "firing"}]}'):
            assert requests.post(webhook.url, data=bad, timeout=5).status_code == 400
        assert len(webhook.notifications) == 2
    with pytest.raises(requests.ConnectionError):
        requests.post(webhook.url, json=told, timeout=5)


def test_webhook_translates_labels_of_nodes() -> None:
    names = {"10.0.0.3": "worker-1"}
    with Webhook() as webhook:
        webhook.take(json.dumps(message(("NodeLost", "10.0.0.3", "firing"))).encode())
        webhook.translate(lambda label: names.get(label, label))
        told = message(("NodeLost", "10.0.0.3", "firing"), ("NodeLost", "10.0.0.4", "firing"))
        webhook.take(json.dumps(told).encode())
    assert [n.target for n in webhook.notifications] == ["10.0.0.3", "worker-1", "10.0.0.4"]


def test_wait_matches_alert_and_node() -> None:
    with Webhook() as webhook:

        def tell(*alerts: tuple[str, str, str]) -> None:
            webhook.take(json.dumps(message(*alerts)).encode())

        assert webhook.wait("NodeLost", "n1", firing=False, seconds=0)
        tell(("NodeLost", "n2", "firing"), ("NodeRestarted", "n1", "firing"))
        assert webhook.wait("NodeLost", "n1", firing=False, seconds=0)
        assert not webhook.wait("NodeLost", "n1", firing=True, seconds=0.05)
        later = threading.Timer(0.1, tell, [("NodeLost", "n1", "firing")])
        later.start()
        assert webhook.wait("NodeLost", "n1", firing=True, seconds=5)
        later.join()
        tell(("NodeLost", "n1", "resolved"))
        assert webhook.wait("NodeLost", "n1", firing=False, seconds=0)


@pytest.mark.parametrize(
    ("labels", "target"),
    [
        ({"service": "database", "run": "r"}, "postgres"),
        ({"service": "cache", "run": "r"}, "redis"),
        ({"service": "other"}, "other"),
        ({"node": "n1", "service": "cache"}, "n1"),
        ({}, ""),
    ],
)
def test_alert_names_node_or_service(labels: dict[str, str], target: str) -> None:
    webhook = Webhook()
    told = {"alerts": [{"labels": {"alertname": "A", **labels}, "status": "firing"}]}
    webhook.take(json.dumps(told).encode())
    (found,) = webhook.notifications
    assert found.target == target
    with webhook:
        pass


class Servers:
    """A Prometheus at ``/api/v1`` and a Grafana before it, that know some of the panels."""

    def __init__(self) -> None:
        self.empty: set[str] = set()
        self.refused: set[str] = set()
        self.well = True
        self.missing = ""
        self.through_grafana: list[str] = []
        self.asked: list[str] = []

    def rows(self, query: str) -> list[Any]:
        return [] if query in self.empty else [["5", "NaN"], ["10", "1.5"], ["15", "+Inf"]]

    def get(self, path: str, asked: dict[str, str]) -> tuple[int, Any]:
        if path == "/api/v1/query_range":
            assert float(asked["start"]) < float(asked["end"])
            self.asked.append(asked["query"])
            if asked["query"] in self.refused:
                return 400, {"status": "error", "error": "parse error"}
            rows = self.rows(asked["query"])
            series = [{"metric": {}, "values": rows}] if rows else []
            return 200, {"status": "success", "data": {"result": series}}
        if path == "/api/health":
            return (200, {"database": "ok"}) if self.well else (503, {"database": "failing"})
        if path == "/api/search":
            return 200, [{"title": t, "uid": t} for t in ("Cluster", "Evolution", "Gate", "Other")]
        title = path.rpartition("/")[2]
        panels = [
            {
                "title": query.panel,
                "targets": [{"datasource": {"uid": query.source}, "expr": query.query}],
            }
            for query in WANTED
            if query.dashboard == title and query.panel != self.missing
        ]
        # Half of them in a row that is folded up.
        half = len(panels) // 2
        row = {"title": "row", "panels": panels[half:]}
        return 200, {"dashboard": {"title": title, "panels": [*panels[:half], row]}}

    def post(self, body: Any) -> tuple[int, Any]:
        (query,) = body["queries"]
        assert query["datasource"] == {"type": "prometheus", "uid": "prometheus"}
        assert int(body["from"]) < int(body["to"])
        self.through_grafana.append(query["expr"])
        if query["expr"] in self.refused:
            return 400, {"results": {"A": {"error": "parse error", "status": 400}}}
        rows = self.rows(query["expr"])
        values = [[row[0] for row in rows], [None, 1.5, None][: len(rows)]] if rows else []
        return 200, {"results": {"A": {"status": 200, "frames": [{"data": {"values": values}}]}}}


@pytest.fixture
def servers() -> Iterator[tuple[Servers, str]]:
    state = Servers()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            self.answer(*state.get(parts.path, {k: v[0] for k, v in parse_qs(parts.query).items()}))

        def do_POST(self) -> None:
            self.answer(
                *state.post(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            )

        def answer(self, status: int, content: Any) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield state, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def asked(
    folder: Path,
    *,
    prometheus: str,
    grafana: str | None,
    nodes: int | None = None,
    engine: bool = True,
) -> tuple[list[Panel], list[Probe]]:
    with EvidenceWriter(
        folder / "e.jsonl",
        run="x",
        seed=1,
        backend="processes",
        nodes=1,
        cpus_per_node=1,
        replay="x",
    ) as writer:
        ask_all(
            writer, prometheus=prometheus, grafana=grafana, since=1.0, nodes=nodes, engine=engine
        )
    evidence = read_evidence(folder / "e.jsonl")
    return list(evidence.all(Panel)), list(evidence.all(Probe))


def test_panels_of_unscraped_engines_are_left_out(
    servers: tuple[Servers, str], tmp_path: Path
) -> None:
    panels, _ = asked(tmp_path, prometheus=servers[1], grafana=None, engine=False)
    assert 20 < len(panels) < len(WANTED)
    assert not [panel for panel in panels if re.search("ga[_:]", panel.query)]
    record = read_evidence(tmp_path / "e.jsonl")
    (said,) = record.all(NotRun)
    assert said.criteria == ("grafana_functional",)
    (rule,) = (rule for rule in RULES if rule.name == "all shipped panels are asked")
    assert list(rule.check(record)) == []


def test_prometheus_gets_every_query(servers: tuple[Servers, str], tmp_path: Path) -> None:
    state, url = servers
    state.empty, state.refused = {WANTED[3].query}, {WANTED[7].query}
    panels, probes = asked(tmp_path, prometheus=url, grafana=None)
    assert [(p.dashboard, p.panel, p.query) for p in panels] == [
        (w.dashboard, w.panel, w.query) for w in WANTED
    ]
    assert {(p.via, p.of) for p in panels} == {("prometheus", len(WANTED))}
    # NaN and infinity are no data.
    for panel in panels:
        bad = panel.query in state.empty | state.refused
        assert panel.points == (0 if bad else 1)
        assert bool(panel.detail) == (panel.query in state.refused)
    assert not probes


def test_grafana_gets_its_own_queries(servers: tuple[Servers, str], tmp_path: Path) -> None:
    state, url = servers
    state.empty, state.refused = {WANTED[3].query}, {WANTED[7].query}
    state.missing = WANTED[9].panel
    panels, probes = asked(tmp_path, prometheus="http://127.0.0.1:1", grafana=url)
    assert [(p.probe, p.ok) for p in probes] == [("grafana", True)]
    assert {(p.via, p.of) for p in panels} == {("grafana", len(WANTED))}
    assert len(panels) == len(WANTED)
    for panel in panels:
        gone = panel.panel == state.missing
        bad = panel.query in state.empty | state.refused or gone
        assert panel.points == (0 if bad else 1)
        assert ("does not have" in panel.detail) == gone
    assert len(state.through_grafana) == sum("does not" not in p.detail for p in panels)


def test_second_query_says_what_panels_show(servers: tuple[Servers, str], tmp_path: Path) -> None:
    state, url = servers
    second = {
        (dashboard, panel, number): one
        for (dashboard, panel), found in EXPECTATIONS.items()
        for number, one in enumerate(found)
    }
    # Each query has one of its own, which is not the panel's.
    assert second.keys() == {(w.dashboard, w.panel, w.number) for w in WANTED}
    assert all(second[w.dashboard, w.panel, w.number].query != w.query for w in WANTED)
    state.empty = {second["Cluster", "Tasks", 0].query}
    panels, _ = asked(tmp_path, prometheus=url, grafana=None, nodes=4)
    for panel, wanted in zip(panels, WANTED, strict=True):
        expected = second[wanted.dashboard, wanted.panel, wanted.number]
        assert {wanted.query, expected.query} <= set(state.asked)
        assert (panel.unit, panel.expected_unit) == (wanted.unit, expected.unit)
        assert panel.mean == panel.last == 1.5
        assert panel.expected_mean == (None if wanted.panel == "Tasks" else 1.5)
        assert panel.tolerance == expected.tolerance
        assert panel.own == {"Workers": 4, "Available": 1}.get(panel.panel)


def test_unhealthy_grafana_is_recorded(servers: tuple[Servers, str], tmp_path: Path) -> None:
    state, url = servers
    state.well = False
    _, probes = asked(tmp_path, prometheus=url, grafana=url)
    assert [(p.probe, p.ok, p.detail) for p in probes] == [("grafana", False, "HTTP 503")]


def test_unreachable_services_reveal_no_password(tmp_path: Path) -> None:
    panels, probes = asked(
        tmp_path, prometheus="http://127.0.0.1:1", grafana="http://me:hush@127.0.0.1:1"
    )
    assert [probe.ok for probe in probes] == [False]
    assert len(panels) == len(WANTED)
    assert {panel.points for panel in panels} == {0}
    assert "hush" not in (tmp_path / "e.jsonl").read_text()


def test_queries_in_collapsed_rows_are_found() -> None:
    target = {"datasource": {"uid": "p"}, "expr": "up"}
    board = {
        "title": "T",
        "panels": [{"title": "row", "panels": [{"title": "P", "targets": [target]}]}],
    }
    assert list(queries(board)) == [Query(dashboard="T", panel="P", source="p", query="up")]
