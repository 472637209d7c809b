"""Grafana's provisioning: ``python -m tools.generate_dashboards`` rewrites ``deploy/grafana/``.

Queries have no variables, so that the gate can send them to Prometheus unchanged. YAML files are
written as JSON, which is valid YAML.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import alerting, dashboard, expr, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.alerting import RelativeTimeRange
from grafana_foundation_sdk.models.dashboard import DataSourceRef

FOLDER: Final = Path(__file__).resolve().parents[1] / "deploy" / "grafana"
_SOURCE: Final = "prometheus"
_WEBHOOK: Final = "$__file{/run/secrets/alert_webhook_url}"
_WIDTH: Final = 24


@dataclass(frozen=True)
class _Panel:
    title: str
    queries: Sequence[tuple[str, str]]
    """PromQL and legend."""
    unit: str = "short"
    number: bool = False
    """Show one number instead of a curve."""


def _panel(title: str, *queries: tuple[str, str], unit: str = "short") -> _Panel:
    return _Panel(title, queries, unit)


def _number(title: str, query: str, unit: str = "short") -> _Panel:
    return _Panel(title, [(query, "")], unit, number=True)


_CLUSTER: Final = (
    _number("Workers", "ray:workers:count"),
    _number("Available", "ray:available:bool", "bool_on_off"),
    _number("Slots in use", "ray:slots_used:ratio", "percentunit"),
    _number("Drivers", "sum(ray_running_jobs)"),
    _panel("Targets up", ('min by (node) (up{job="ray"})', "{{node}}")),
    _panel("Slots in use over time", ("ray:slots_used:ratio", "in use"), unit="percentunit"),
    _panel("CPU of each node's machine", ("max by (node) (ray_node_cpu_utilization)", "{{node}}"),
           unit="percent"),
    _panel("Memory in use", ("ray:node_memory:ratio", "{{node}}"), unit="percentunit"),
    _panel("Memory by component",
           ("sum by (node, Component) (ray_component_uss_bytes)", "{{node}} {{Component}}"),
           unit="bytes"),
    _panel("Object store", ("sum by (node) (ray_object_store_used_memory)", "{{node}}"),
           unit="bytes"),
    _panel("Tasks", ("sum by (State) (ray_tasks)", "{{State}}")),
    _panel("Network", ("sum by (node) (ray_node_network_receive_speed)", "{{node}} in"),
           ("sum by (node) (ray_node_network_send_speed)", "{{node}} out"), unit="Bps"),
    _panel("Disk in use", ("max by (node) (ray_node_disk_utilization_percentage)", "{{node}}"),
           unit="percent"),
    _panel("Starts in ten minutes",
           ('max by (node) (changes(process_start_time_seconds{job="ray"}[10m]))', "{{node}}")),
)  # fmt: skip

_EVOLUTION: Final = (
    _number("Runs", "count(ga_build_info)"),
    _number("Best fitness", "max(ga_best_fitness)"),
    _number("Failed evaluations", "max(ga:evaluations_failed:ratio)", "percentunit"),
    _number("Fall-backs", "sum(ga_fallbacks_total)"),
    _panel("Generations", ("max by (run) (ga_generations_total)", "{{run}}")),
    _panel("Generations a minute", ("60 * ga:generations:rate1m", "{{run}}")),
    _panel("Evaluations a second", ("ga:evaluations:rate1m", "{{run}} {{outcome}}")),
    _panel("Evaluations a second by family",
           ("sum by (family) (rate(ga_evaluations_total[1m]))", "{{family}}")),
    _panel("Best fitness over time", ("max by (run) (ga_best_fitness)", "{{run}}")),
    _panel("Evaluations in flight", ("max by (run) (ga_in_flight)", "{{run}}")),
    _panel("Time of a batch",
           ("histogram_quantile(0.5, sum by (le) (rate(ga_batch_seconds_bucket[1m])))", "p50"),
           ("histogram_quantile(0.95, sum by (le) (rate(ga_batch_seconds_bucket[1m])))", "p95"),
           unit="s"),
    _panel("Mode", ("max by (run, mode) (ga_mode)", "{{run}} {{mode}}")),
    _panel("Attempts per evaluation",
           ("sum by (run) (ga_attempts_total) / sum by (run) (ga_evaluations_total)", "{{run}}")),
    _panel("Cache", ("sum by (run) (rate(ga_cache_hits_total[1m]))", "{{run}} hits"),
           ("sum by (run) (rate(ga_cache_misses_total[1m]))", "{{run}} misses")),
    _panel("Database and cache reachable",
           ("min by (run, service) (ga_reachable)", "{{run}} {{service}}")),
)  # fmt: skip

_GATE: Final = (
    _number("Alerts firing", 'count(ALERTS{alertstate="firing"}) or vector(0)'),
    _number("Budget of 48 hours left", "1 - (1 - avg_over_time(ray:available:bool[48h])) / 0.01",
            "percentunit"),
    _number("Out-of-memory evictions", "sum(ray_memory_manager_worker_eviction_total) or "
    "vector(0)"),
    _number("Workers that died",
            'sum(ray_node_manager_unexpected_worker_failure_total{Type!~".*Driver.*"}) '
            "or vector(0)"),
    _panel("Alerts",
           ('count by (alertname) (ALERTS{alertstate="firing"}) or vector(0)', "{{alertname}}")),
    _panel("Burn rate of the error budget (1: 99 % availability)", ("ray:unavailable:ratio1h / "
    "0.01", "1 h"),
           ("ray:unavailable:ratio6h / 0.01", "6 h")),
    _panel("Nodes", ("sum(ray_cluster_active_nodes)", "known to Ray"),
           ('count(up{job="ray",node!~"head-.+"} == 1)', "scraped")),
    _panel("Time of a scrape", ('max by (node) (scrape_duration_seconds{job="ray"})', "{{node}}"),
           unit="s"),
    _panel("Samples a scrape", ('sum by (node) (scrape_samples_scraped{job="ray"})', "{{node}}")),
    _panel("Requests to Ray's dashboard a second",
           ("sum(rate(ray_dashboard_api_requests_count_requests_total[1m]))", "all")),
    _panel("Time of a request to Ray's dashboard",
           ("histogram_quantile(0.95, "
            "sum by (le) (rate(ray_dashboard_api_requests_duration_seconds_bucket[1m])))", "p95"),
           unit="s"),
    _panel("Time of a health check",
           ("sum(rate(ray_health_check_rpc_latency_ms_sum[1m])) "
            "/ sum(rate(ray_health_check_rpc_latency_ms_count[1m]))", "mean"), unit="ms"),
)  # fmt: skip

DASHBOARDS: Final = {"cluster": _CLUSTER, "evolution": _EVOLUTION, "gate": _GATE}


def files() -> dict[str, str]:
    """Every generated file: its path below ``deploy/grafana`` and its text."""
    provisioning = {
        "datasources/prometheus.yml": _data_sources(),
        "dashboards/dashboards.yml": _providers(),
        "alerting/alerting.yml": _alerting(),
    }
    found = {f"provisioning/{path}": _text(content) for path, content in provisioning.items()}
    for name, panels in DASHBOARDS.items():
        found[f"dashboards/{name}.json"] = _text(_dashboard(name, panels).build())
    return found


def write(folder: Path) -> list[Path]:
    """Write every generated file below a folder."""
    written = []
    for path, text in files().items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        written.append(target)
    return written


def _text(content: object) -> str:
    return json.dumps(content, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _dashboard(name: str, panels: Sequence[_Panel]) -> dashboard.Dashboard:
    made = (
        dashboard.Dashboard(name.capitalize())
        .uid(f"ga-{name}")
        .tags(["evolution-gate"])
        .time("now-1h", "now")
        .refresh("15s")
        .readonly()
    )
    source = DataSourceRef(type_val="prometheus", uid=_SOURCE)
    numbers = sum(panel.number for panel in panels)
    for panel in panels:
        drawn = stat.Panel() if panel.number else timeseries.Panel()
        drawn.title(panel.title).unit(panel.unit).datasource(source)
        drawn.span(_WIDTH // numbers if panel.number else _WIDTH // 2)
        drawn.height(4 if panel.number else 8)
        for index, (query, legend) in enumerate(panel.queries):
            target = prometheus.Dataquery().ref_id("ABC"[index]).expr(query).datasource(source)
            drawn.with_target(target.legend_format(legend).range())
        made.with_panel(drawn)
    return made


def _data_sources() -> object:
    def source(name: str, kind: str, url: str, settings: dict[str, object]) -> dict[str, object]:
        return {
            "name": name, "uid": kind, "type": kind, "access": "proxy", "url": url,
            "isDefault": kind == _SOURCE, "editable": False, "jsonData": settings,
            "basicAuth": True, "basicAuthUser": "ga",
            "secureJsonData": {"basicAuthPassword": "$__file{/run/secrets/monitoring_password}"},
        }  # fmt: skip

    return {
        "apiVersion": 1,
        "datasources": [
            # Grafana shows the rules of Prometheus with its own, and the state of Alertmanager.
            source("Prometheus", _SOURCE, "http://prometheus:9090",
                   {"timeInterval": "5s", "httpMethod": "POST", "manageAlerts": True,
                    "alertmanagerUid": "alertmanager"}),
            source("Alertmanager", "alertmanager", "http://alertmanager:9093",
                   {"implementation": "prometheus", "handleGrafanaManagedAlerts": False}),
        ],
    }  # fmt: skip


def _providers() -> object:
    options = {"path": "/var/lib/grafana/dashboards", "foldersFromFilesStructure": False}
    provider = {
        "name": "evolution-gate", "folder": "evolution-gate", "type": "file",
        "disableDeletion": True, "allowUiUpdates": False, "options": options,
    }  # fmt: skip
    return {"apiVersion": 1, "providers": [provider]}


def _alerting() -> object:
    """The one alert that Prometheus cannot send: that Prometheus itself is down.

    Prometheus sends all others; Grafana would send them a second time.
    """
    seen = prometheus.Dataquery().ref_id("A").expr("count(up)").instant()
    evaluator = expr.ExprTypeThresholdConditionsEvaluator().type("lt").params([1.0])
    below = (
        expr.TypeThreshold()
        .ref_id("B")
        .expression("A")
        .datasource(DataSourceRef(type_val="__expr__", uid="__expr__"))
        .conditions([expr.ExprTypeThresholdConditions().evaluator(evaluator)])
    )
    window = RelativeTimeRange(from_val=300, to=0)
    data = [
        alerting.Query("A").datasource_uid(_SOURCE).model(seen).relative_time_range(window),
        alerting.Query("B").datasource_uid("__expr__").model(below).relative_time_range(window),
    ]
    rule = {
        "uid": "ga-prometheus-gone", "title": "PrometheusGone", "condition": "B",
        "data": [query.build() for query in data], "for": "1m",
        "noDataState": "Alerting", "execErrState": "Alerting",
        "labels": {"severity": "critical"},
        "annotations": {"summary": "Prometheus does not answer; no other alert can be sent"},
    }  # fmt: skip
    group = {
        "orgId": 1, "name": "monitoring", "folder": "evolution-gate", "interval": "30s",
        "rules": [rule],
    }  # fmt: skip
    receiver = {"uid": "ga-webhook", "type": "webhook", "settings": {"url": _WEBHOOK}}
    return {
        "apiVersion": 1,
        "groups": [group],
        "contactPoints": [{"orgId": 1, "name": "webhook", "receivers": [receiver]}],
        "policies": [{"orgId": 1, "receiver": "webhook", "group_by": ["alertname"]}],
    }


if __name__ == "__main__":
    for path in write(FOLDER):
        print(path)
