"""Rules and routes that are deployed: each alert on its fault, and only series that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from evolution_gate.fixtures import SCRAPE_SECONDS as SECONDS
from evolution_gate.fixtures.services import monitoring
from evolution_gate.fixtures.services.monitoring import DEPLOY
from ga.ops import backups
from tests.support.promtools import RULES, metrics, promtool, series, with_data
from tests.support.rule_mutants import (
    EVERYWHERE,
    FILES,
    TESTS,
    RuleMutant,
    mutants_of,
    name_of,
    rules,
    survivors,
    unit_tests_of,
)
from validation.criteria.alerting import ALERT_RULES

ROUTES = (DEPLOY / "alertmanager" / "alertmanager.yml").read_text()
NOT_SEEN = {
    # Only with the autoscaler's second version, and after an eviction: read in Ray 2.60's source
    # (dashboard/modules/reporter, data/_internal/usage), never provoked here.
    "ray_cluster_idle_nodes",
    "ray_memory_manager_worker_eviction_total",
}


@pytest.mark.parametrize("path", TESTS, ids=[path.stem for path in TESTS])
def test_promtool_tests_of_the_rules_pass(path: Path) -> None:
    done = promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "rule",
    [rule for path in FILES for rule in rules(path)],
    ids=[name_of(rule) for path in FILES for rule in rules(path)],
)
def test_each_change_of_a_rule_is_noticed(tmp_path: Path, rule: dict[str, Any]) -> None:
    """Each threshold, window, wait, label and operator, one after the other."""
    tests, changes = unit_tests_of(name_of(rule)), list(mutants_of(rule))
    assert tests
    assert changes
    same = RuleMutant(rule=name_of(rule), what="no change", changed=rule)
    # The rule itself must pass, or the changes would be noticed for nothing.
    assert survivors([same, *changes], tests, tmp_path) == ["no change"]


def test_mutants_change_each_part_of_rules() -> None:
    rule = {
        "alert": "A",
        "expr": 'sum(rate(a{b="c"}[5m])) > 0.1 and on (x) d offset 1h == bool 0',
        "for": "30s",
        "labels": {"severity": "info"},
    }
    found = [one.changed for one in mutants_of(rule)]
    texts = {one["expr"] for one in found} - {rule["expr"]}
    assert texts == {
        'sum(rate(a{b="c"}[5m])) <= 0.1 and on (x) d offset 1h == bool 0',
        'sum(rate(a{b="c"}[5m])) > 0.1 and on (x) d offset 1h != bool 0',
        'sum(rate(a{b="c"}[5m])) > 1 and on (x) d offset 1h == bool 0',
        'sum(rate(a{b="c"}[5m])) > 0.1 and on (x) d offset 1h == bool 10',
        'sum(rate(a{b="c"}[50m])) > 0.1 and on (x) d offset 1h == bool 0',
        'sum(rate(a{b="c"}[5m])) > 0.1 and on (x) d offset 10h == bool 0',
        'sum(rate(a{b="c"}[5m])) > 0.1 or on (x) d offset 1h == bool 0',
        'sum(rate(a{b!="c"}[5m])) > 0.1 and on (x) d offset 1h == bool 0',
    }
    assert {one["for"] for one in found} == {"30s", "90s", "0s"}
    assert {one["labels"]["severity"] for one in found} == {"info", "critical"}


def test_every_alert_fires_in_a_test() -> None:
    tested = {
        name
        for path in TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for claim in test["promql_expr_test"]
        for sample in claim.get("exp_samples", ())
        for name in re.findall(r'alertname="(\w+)"', sample["labels"])
    }
    deployed = {name_of(rule) for path in FILES for rule in rules(path) if "alert" in rule}
    assert tested == deployed
    # The rules that the gate speaks of are those of its own stack.
    ours = {name_of(rule) for rule in rules(RULES / "alerts.yml")}
    assert len(ours) == ALERT_RULES


def test_prometheus_accepts_rules_and_configuration() -> None:
    done = promtool("check", "rules", *FILES)
    assert done.returncode == 0, done.stdout
    # The syntax only: the token's file is mounted by compose.
    done = promtool("check", "config", "--syntax-only", RULES / "prometheus.yml")
    assert done.returncode == 0, done.stdout


def test_rules_name_only_existing_series() -> None:
    every = [rule for path in FILES for rule in rules(path)]
    known = {one.partition("{")[0] for one in series()} | NOT_SEEN
    known |= {rule["record"] for rule in every if "record" in rule}
    known |= {one.name for one in backups.series(RULES).collect()}
    unknown = {name for rule in every for name in metrics(rule["expr"])} - known
    assert not unknown


def test_unknown_series_would_be_found(tmp_path: Path) -> None:
    assert metrics(
        'sum by (node) (rate(ray_nodes{a="b"}[5m])) > 0 and on (run) ga_x offset 1h'
    ) == {
        "ray_nodes",
        "ga_x",
    }
    said = with_data(["ray_tasks", "ray_tsks"], series(), tmp_path)
    assert "ray_tsks" in said
    assert "count(ray_tasks)" not in said


def test_every_recording_rule_has_data(tmp_path: Path) -> None:
    names = [rule["record"] for rule in rules(RULES / "recording.yml")]
    assert not with_data(names, series(), tmp_path)


def test_gate_uses_rules_and_times_of_production() -> None:
    assert monitoring.rules() == {path.name: path.read_text() for path in EVERYWHERE}
    loaded = yaml.safe_load((RULES / "prometheus.yml").read_text())["rule_files"]
    assert loaded == [path.name for path in FILES]
    production = yaml.safe_load((RULES / "prometheus.yml").read_text())["global"]
    text = monitoring.scraping({"n": "h:1"}, alertmanager=None, engine="e:2", seconds=SECONDS)
    gate = yaml.safe_load(text)
    assert gate["global"] == production
    ray = next(job for job in gate["scrape_configs"] if job["job_name"] == "ray")
    assert not {"scrape_interval", "scrape_timeout"} & ray.keys()


def test_gate_routes_contain_the_webhook_url() -> None:
    url = "http://127.0.0.1:9/a#b"
    production = yaml.safe_load(ROUTES)
    gate = yaml.safe_load(monitoring.routes(ROUTES, url))
    (hook,) = gate["receivers"][0]["webhook_configs"]
    assert hook.pop("url") == url
    (file,) = production["receivers"][0]["webhook_configs"]
    assert file.pop("url_file") == "/run/secrets/alert_webhook_url"
    assert gate == production
    silent = yaml.safe_load(monitoring.routes(ROUTES, None))
    assert silent["receivers"] == [{"name": "webhook"}]
