"""Grafana's provisioning: ``python -m tools.generate_dashboards`` rewrites ``deploy/grafana/``.

A variable of a dashboard is used only as the matcher ``NAME=~"$NAME"``, which selects everything
while it is on All. The gate sends the queries without it (``validation/monitors/dashboards.py``).
YAML files are written as JSON, which is valid YAML.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import (
    alerting,
    common,
    dashboard,
    expr,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.alerting import RelativeTimeRange
from grafana_foundation_sdk.models.common import GraphThresholdsStyleMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
)

FOLDER: Final = Path(__file__).resolve().parents[1] / "deploy" / "grafana"
_SOURCE: Final = "prometheus"
_PROMETHEUS: Final = DataSourceRef(type_val="prometheus", uid=_SOURCE)
_WEBHOOK: Final = "$__file{/run/secrets/alert_webhook_url}"
_WIDTH: Final = 24
_CURVE: Final = "curve"
_NUMBER: Final = "number"
_STATES: Final = "states"
_UP: Final = ((1.0, "green"),)
_FULL: Final = ((0.8, "orange"), (0.95, "red"))
_NONE: Final = ((1.0, "red"),)
"""None is good, any is not."""


@dataclass(frozen=True)
class _Panel:
    title: str
    queries: Sequence[tuple[str, str]]
    """PromQL and legend."""
    unit: str = "short"
    kind: str = _CURVE
    steps: Sequence[tuple[float, str]] = ()
    """Thresholds: from this value on, this colour; below the first one, ``base``."""
    base: str = "green"


def _panel(
    title: str,
    *queries: tuple[str, str],
    unit: str = "short",
    steps: Sequence[tuple[float, str]] = (),
) -> _Panel:
    return _Panel(title, queries, unit, steps=steps)


def _number(
    title: str,
    query: str,
    unit: str = "short",
    steps: Sequence[tuple[float, str]] = (),
    base: str = "green",
) -> _Panel:
    return _Panel(title, [(query, "")], unit, _NUMBER, steps, base)


def _states(
    title: str, query: str, legend: str, *, steps: Sequence[tuple[float, str]], base: str = "red"
) -> _Panel:
    """A band of colours for each series: what was up, and when."""
    return _Panel(title, [(query, legend)], "short", _STATES, steps, base)


_CLUSTER: Final = (
    _number("Workers", "ray:workers:count", steps=_UP, base="red"),
    _number("Available", "ray:available:bool", "bool_on_off", _UP, "red"),
    _number("Slots in use", "ray:slots_used:ratio", "percentunit"),
    _number("Drivers", "sum(ray_running_jobs)"),
    _states("Targets up", 'min by (node) (up{job="ray",node=~"$node"})', "{{node}}", steps=_UP),
    _panel("Slots in use over time", ("ray:slots_used:ratio", "in use"), unit="percentunit"),
    _panel("CPU of each node's machine",
           ('max by (node) (ray_node_cpu_utilization{node=~"$node"})', "{{node}}"),
           unit="percent"),
    _panel("Memory in use", ('ray:node_memory:ratio{node=~"$node"}', "{{node}}"),
           unit="percentunit", steps=_FULL),
    _panel("Memory by component",
           ('sum by (node, Component) (ray_component_uss_bytes{node=~"$node"})',
            "{{node}} {{Component}}"),
           unit="bytes"),
    _panel("Object store",
           ('sum by (node) (ray_object_store_used_memory{node=~"$node"})', "{{node}}"),
           unit="bytes"),
    _panel("Tasks", ("sum by (State) (ray_tasks)", "{{State}}")),
    _panel("Network",
           ('sum by (node) (ray_node_network_receive_speed{node=~"$node"})', "{{node}} in"),
           ('sum by (node) (ray_node_network_send_speed{node=~"$node"})', "{{node}} out"),
           unit="Bps"),
    _panel("Disk in use",
           ('max by (node) (ray_node_disk_utilization_percentage{node=~"$node"})', "{{node}}"),
           unit="percent", steps=((80.0, "orange"), (95.0, "red"))),
    _panel("Starts in ten minutes",
           ('max by (node) (changes(process_start_time_seconds{job="ray",node=~"$node"}[10m]))',
            "{{node}}"), steps=_NONE),
)  # fmt: skip

_EVOLUTION: Final = (
    _number("Runs", "count(ga_build_info)"),
    _number("Best fitness", "max(ga_best_fitness)"),
    _number("Failed evaluations", "max(ga:evaluations_failed:ratio)", "percentunit",
            ((0.01, "orange"), (0.05, "red"))),
    _number("Fall-backs", "sum(ga_fallbacks_total)", steps=((1.0, "orange"),)),
    _panel("Generations", ('max by (run) (ga_generations_total{run=~"$run"})', "{{run}}")),
    _panel("Generations a minute", ('60 * ga:generations:rate1m{run=~"$run"}', "{{run}}")),
    _panel("Evaluations a second",
           ('ga:evaluations:rate1m{run=~"$run"}', "{{run}} {{outcome}}")),
    _panel("Evaluations a second by family",
           ('sum by (family) (rate(ga_evaluations_total{run=~"$run"}[1m]))', "{{family}}")),
    _panel("Families over nodes, answers a second",
           ('sum by (node, family) (rate(ga_answered_total{run=~"$run"}[1m]))',
            "{{node}} {{family}}")),
    _panel("Best fitness over time", ('max by (run) (ga_best_fitness{run=~"$run"})', "{{run}}")),
    _panel("Evaluations in flight", ('max by (run) (ga_in_flight{run=~"$run"})', "{{run}}")),
    _panel("Time of a batch",
           ("histogram_quantile(0.5, sum by (le) (rate(ga_batch_seconds_bucket[1m])))", "p50"),
           ("histogram_quantile(0.95, sum by (le) (rate(ga_batch_seconds_bucket[1m])))", "p95"),
           unit="s"),
    _states("Mode", 'max by (run, mode) (ga_mode{run=~"$run"})', "{{run}} {{mode}}",
            steps=_UP, base="text"),
    _panel("Attempts per evaluation",
           ('sum by (run) (ga_attempts_total{run=~"$run"})'
            ' / sum by (run) (ga_evaluations_total{run=~"$run"})', "{{run}}")),
    _panel("Cache",
           ('sum by (run) (rate(ga_cache_hits_total{run=~"$run"}[1m]))', "{{run}} hits"),
           ('sum by (run) (rate(ga_cache_misses_total{run=~"$run"}[1m]))', "{{run}} misses")),
    _states("Database and cache reachable",
            'min by (run, service) (ga_reachable{run=~"$run"})', "{{run}} {{service}}",
            steps=_UP),
)  # fmt: skip

_GATE: Final = (
    _number("Alerts firing", 'count(ALERTS{alertstate="firing"}) or vector(0)', steps=_NONE),
    _number("Budget of 48 hours left", "1 - (1 - avg_over_time(ray:available:bool[48h])) / 0.01",
            "percentunit", ((0.0, "orange"), (0.5, "green")), "red"),
    _number("Out-of-memory evictions", "sum(ray_memory_manager_worker_eviction_total) or "
    "vector(0)", steps=_NONE),
    _number("Workers that died",
            'sum(ray_node_manager_unexpected_worker_failure_total{Type!~".*Driver.*"}) '
            "or vector(0)", steps=_NONE),
    _panel("Alerts",
           ('count by (alertname) (ALERTS{alertstate="firing"}) or vector(0)', "{{alertname}}"),
           steps=_NONE),
    _panel("Burn rate of the error budget (1: 99 % availability)", ("ray:unavailable:ratio1h / "
    "0.01", "1 h"),
           ("ray:unavailable:ratio6h / 0.01", "6 h"), steps=((2.0, "orange"), (10.0, "red"))),
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
_VARIABLES: Final = {
    "cluster": ("node", 'label_values(up{job="ray"}, node)'),
    "evolution": ("run", "label_values(ga_build_info, run)"),
}
"""Dashboard -> the label that its variable selects, and where Grafana reads its values."""
_ANNOTATIONS: Final = {
    "Alerts": ('ALERTS{alertstate="firing"}', "red"),
    "Restarts": ('changes(process_start_time_seconds{job="ray"}[1m]) > 0', "orange"),
    "Fall-backs": ("changes(ga_fallbacks_total[1m]) > 0", "purple"),
}
"""Faults, marked in all panels: name -> PromQL and colour."""


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
    if name in _VARIABLES:
        made.with_variable(_variable(*_VARIABLES[name]))
    others = dashboard.DashboardLink("Dashboards").type(DashboardLinkType.DASHBOARDS)
    made.link(others.tags(["evolution-gate"]).keep_time(True).include_vars(True))
    for title, (query, color) in _ANNOTATIONS.items():
        mark = dashboard.AnnotationQuery().name(title).datasource(_PROMETHEUS)
        made.annotation(mark.enable(True).icon_color(color).expr(query))
    numbers = [panel for panel in panels if panel.kind == _NUMBER]
    for row, part, width, height in (
        ("Now", numbers, _WIDTH // len(numbers), 4),
        ("Over time", [panel for panel in panels if panel.kind != _NUMBER], _WIDTH // 2, 8),
    ):
        made.with_row(dashboard.Row(row))
        for panel in part:
            made.with_panel(_drawn(panel).span(width).height(height))
    return made


def _variable(label: str, values: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(label)
        .label(label.capitalize())
        .datasource(_PROMETHEUS)
        .query(values)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(text="All", value="$__all", selected=True))
    )


def _drawn(panel: _Panel) -> stat.Panel | timeseries.Panel | statetimeline.Panel:
    drawn: stat.Panel | timeseries.Panel | statetimeline.Panel
    if panel.kind == _NUMBER:
        drawn = stat.Panel()
    elif panel.kind == _STATES:
        drawn = statetimeline.Panel()
    else:
        drawn = timeseries.Panel()
        if panel.steps:
            style = common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
            drawn.thresholds_style(style)
    drawn.title(panel.title).unit(panel.unit).datasource(_PROMETHEUS)
    steps = [Threshold(value=None, color=panel.base)]
    steps += [Threshold(value=value, color=color) for value, color in panel.steps]
    limits = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
    drawn.thresholds(limits)
    for index, (query, legend) in enumerate(panel.queries):
        target = prometheus.Dataquery().ref_id("ABC"[index]).expr(query).datasource(_PROMETHEUS)
        drawn.with_target(target.legend_format(legend).range())
    return drawn


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
