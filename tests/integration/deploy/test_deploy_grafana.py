"""Grafana's files: what the code generates is what is checked in, and every panel has data."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.promtools import metrics, series, with_data
from tools import generate_dashboards
from validation.monitors.dashboards import checked_in, without_variables


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
    for panel in drawn(board):
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["datasource"]["uid"] == "prometheus"
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        # What the gate sends has no variables.
        assert not [t for t in panel["targets"] if "$" in without_variables(t["expr"])]


def drawn(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Its panels, without the rows between them."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def board_of(name: str) -> dict[str, Any]:
    path = generate_dashboards.FOLDER / "dashboards" / f"{name}.json"
    board: dict[str, Any] = json.loads(path.read_text())
    return board


@pytest.mark.parametrize("name", list(generate_dashboards.DASHBOARDS))
def test_panels_have_units_thresholds_and_rows(name: str) -> None:
    board = board_of(name)
    rows = [panel["title"] for panel in board["panels"] if panel["type"] == "row"]
    assert rows == ["Now", "Over time"]
    for panel in drawn(board):
        shown = panel["fieldConfig"]["defaults"]
        assert shown["unit"], panel["title"]
        first, *steps = shown["thresholds"]["steps"]
        assert first["value"] is None
        limits = [step["value"] for step in steps]
        assert limits == sorted(set(limits)), panel["title"]
    assert any(len(p["fieldConfig"]["defaults"]["thresholds"]["steps"]) > 1 for p in drawn(board))
    timelines = {p["title"] for p in drawn(board) if p["type"] == "state-timeline"}
    assert bool(timelines) == (name != "gate")


@pytest.mark.parametrize(("name", "label"), [("cluster", "node"), ("evolution", "run")])
def test_variable_selects_in_each_panel(name: str, label: str, tmp_path: Path) -> None:
    board = board_of(name)
    (variable,) = board["templating"]["list"]
    assert (variable["name"], variable["allValue"], variable["includeAll"]) == (label, ".*", True)
    series_of = re.fullmatch(rf"label_values\((.+), {label}\)", variable["query"])
    assert series_of
    found = [t["expr"] for panel in drawn(board) for t in panel["targets"]]
    chosen = [query for query in found if f"${label}" in query]
    by_label = [query for query in found if re.search(rf"by \([^)]*\b{label}\b", query)]
    assert set(by_label) <= set(chosen)
    assert len(chosen) >= 7
    # As Grafana sends them, on All and on one value that there is.
    everything = [query.replace(f"${label}", ".*") for query in chosen]
    assert not with_data([*everything, series_of[1]], series(), tmp_path)
    assert with_data([chosen[0].replace(f"${label}", "no such one")], series(), tmp_path)


@pytest.mark.parametrize("name", list(generate_dashboards.DASHBOARDS))
def test_faults_are_annotated_and_dashboards_linked(name: str, tmp_path: Path) -> None:
    board = board_of(name)
    (link,) = board["links"]
    assert (link["type"], link["tags"]) == ("dashboards", board["tags"])
    marks = {mark["name"]: mark for mark in board["annotations"]["list"]}
    assert set(marks) == {"Alerts", "Restarts", "Fall-backs"}
    assert all(m["enable"] and m["datasource"]["uid"] == "prometheus" for m in marks.values())
    # They have data only after a fault: what they are computed from is there.
    sources = [marks[n]["expr"].removesuffix(" > 0") for n in ("Restarts", "Fall-backs")]
    assert not with_data(sources, series(), tmp_path)


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
