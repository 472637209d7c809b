"""Rules and routes that are deployed: each alert on its fault, and only series that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from evolution_gate.fixtures.services import monitoring
from evolution_gate.fixtures.services.monitoring import DEPLOY
from tests.support.promtools import RULES, metrics, promtool, series, with_data

TESTS = sorted((RULES / "tests").glob("*.yml"))
FILES = [RULES / "recording.yml", RULES / "alerts.yml"]
ROUTES = (DEPLOY / "alertmanager" / "alertmanager.yml").read_text()
NOT_SEEN = {
    # Only with the autoscaler's second version, and after an eviction: read in Ray 2.60's source
    # (dashboard/modules/reporter, data/_internal/usage), never provoked here.
    "ray_cluster_idle_nodes",
    "ray_memory_manager_worker_eviction_total",
}


def rules(path: Path) -> list[dict[str, str]]:
    found = yaml.safe_load(path.read_text())
    return [rule for group in found["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("path", TESTS, ids=[path.stem for path in TESTS])
def test_promtool_tests_of_the_rules_pass(path: Path) -> None:
    done = promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "change", "test"),
    [
        ("CacheDown", {"expr": "vector(1) > 2"}, "evolution"),
        ("CacheDown", {"for": "0s"}, "evolution"),
        ("ray:unavailable:ratio1h", {"expr": "vector(0)"}, "uptime"),
    ],
)
def test_promtool_tests_detect_a_broken_rule(
    tmp_path: Path, name: str, change: dict[str, str], test: str
) -> None:
    """Some of the rules, not to take minutes; each alert's own test must see it fire, see below."""
    broken = 0
    for path in FILES:
        found = yaml.safe_load(path.read_text())
        for rule in (rule for group in found["groups"] for rule in group["rules"]):
            if name in rule.values():
                rule |= change
                broken += 1
        (tmp_path / path.name).write_text(yaml.safe_dump(found))
    assert broken == 1
    (tmp_path / "tests").mkdir()
    copy = tmp_path / "tests" / f"{test}.yml"
    copy.write_text((RULES / "tests" / copy.name).read_text())
    done = promtool("test", "rules", copy)
    assert done.returncode == 1
    assert "FAILED" in done.stdout + done.stderr


def test_every_alert_fires_in_a_test() -> None:
    tested = {
        name
        for path in TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for claim in test["promql_expr_test"]
        for sample in claim.get("exp_samples", ())
        for name in re.findall(r'alertname="(\w+)"', sample["labels"])
    }
    assert tested == {rule["alert"] for rule in rules(RULES / "alerts.yml")}


def test_prometheus_accepts_rules_and_configuration() -> None:
    done = promtool("check", "rules", *FILES)
    assert done.returncode == 0, done.stderr
    # The syntax only: the token's file is mounted by compose.
    done = promtool("check", "config", "--syntax-only", RULES / "prometheus.yml")
    assert done.returncode == 0, done.stderr


def test_rules_name_only_existing_series() -> None:
    every = [rule for path in FILES for rule in rules(path)]
    known = {one.partition("{")[0] for one in series()} | NOT_SEEN
    known |= {rule["record"] for rule in every if "record" in rule}
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


def test_gate_rules_differ_only_in_durations() -> None:
    for path in FILES:
        before, after = rules(path), yaml.safe_load(monitoring.faster(path.read_text()))
        quick = [rule for group in after["groups"] for rule in group["rules"]]
        for slow, fast in zip(before, quick, strict=True):
            waits = [int(rule.pop("for", "0s").rstrip("ms")) for rule in (slow, fast)]
            assert slow == fast
            assert waits[1] in (waits[0] * 1000 / 3, waits[0] * 60_000 / 3)
    scrape = yaml.safe_load((RULES / "prometheus.yml").read_text())["global"]
    assert scrape["scrape_interval"] == scrape["evaluation_interval"] == "15s"
    assert 15 / monitoring.SPEED == 5


def test_gate_routes_contain_the_webhook_url() -> None:
    url = "http://127.0.0.1:9/a#b"
    production = yaml.safe_load(ROUTES)
    gate = yaml.safe_load(monitoring.routes(ROUTES, url))
    (hook,) = gate["receivers"][0]["webhook_configs"]
    assert hook.pop("url") == url
    (file,) = production["receivers"][0]["webhook_configs"]
    assert file.pop("url_file") == "/run/secrets/alert_webhook_url"
    for name, fast in (("group_wait", "3000ms"), ("group_interval", "10000ms")):
        assert gate["route"].pop(name) == fast
        production["route"].pop(name)
    assert gate == production
    silent = yaml.safe_load(monitoring.routes(ROUTES, None))
    assert silent["receivers"] == [{"name": "webhook"}]
