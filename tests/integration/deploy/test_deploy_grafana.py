"""Grafana's files: what the code generates is what is checked in, and every panel has data."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.promtools import metrics, series, with_data
from tools import generate_dashboards
from validation.monitors.dashboards import checked_in


def test_dashboards_are_up_to_date() -> None:
    generated = generate_dashboards.files()
    there = {
        str(path.relative_to(generate_dashboards.FOLDER)): path.read_text()
        for path in generate_dashboards.FOLDER.rglob("*")
        if path.is_file()
    }
    assert there.keys() == generated.keys()
    differing = [path for path, text in generated.items() if there[path] != text]
    assert not differing, "run `python -m tools.generate_dashboards` and look at what it changes"


def test_command_writes_the_dashboards(tmp_path: Path) -> None:
    written = generate_dashboards.write(tmp_path)
    found = {str(path.relative_to(tmp_path)): path.read_text() for path in written}
    assert found == generate_dashboards.files()


def test_every_panel_query_has_data(tmp_path: Path) -> None:
    queries = checked_in()
    assert {query.dashboard for query in queries} == {"Cluster", "Evolution", "Gate"}
    assert len(queries) > 40
    assert not with_data([query.query for query in queries], series(), tmp_path)


def test_queries_name_only_existing_series() -> None:
    # `or vector(0)` answers for a series that is misspelt, too.
    known = {one.partition("{")[0] for one in series()}
    known |= {"ALERTS", "ray_memory_manager_worker_eviction_total"}
    unknown = {
        name
        for query in checked_in()
        for name in metrics(query.query)
        if not name.startswith(("ray:", "ga:"))
    } - known
    assert not unknown


@pytest.mark.parametrize("name", list(generate_dashboards.DASHBOARDS))
def test_dashboard_layout_is_valid(name: str) -> None:
    board = json.loads((generate_dashboards.FOLDER / "dashboards" / f"{name}.json").read_text())
    assert board["uid"] == f"ga-{name}"
    titles = [panel["title"] for panel in board["panels"]]
    assert len(set(titles)) == len(titles)
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["datasource"]["uid"] == "prometheus"
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        # No variables: the gate puts the queries to Prometheus as they stand.
        assert not [t for t in panel["targets"] if re.search(r"\$", t["expr"])]


def test_data_sources_match_the_alert_routes() -> None:
    files = {
        Path(path).stem: json.loads(text) for path, text in generate_dashboards.files().items()
    }
    uids = {source["uid"] for source in files["prometheus"]["datasources"]}
    (rule,) = files["alerting"]["groups"][0]["rules"]
    assert {data["datasourceUid"] for data in rule["data"]} <= uids | {"__expr__"}
    assert rule["condition"] in {data["refId"] for data in rule["data"]}
    # That nothing is heard of Prometheus is the alarm.
    assert rule["noDataState"] == rule["execErrState"] == "Alerting"
    receivers = {point["name"] for point in files["alerting"]["contactPoints"]}
    assert {policy["receiver"] for policy in files["alerting"]["policies"]} <= receivers
